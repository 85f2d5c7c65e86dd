"""Signal 9 at any moment: the run opens, nothing saved is lost, nothing stays behind, and `--resume` ends it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.kills import Kill, check, check_whole, saved_before, scene, settle, strike

KILLS = (Kill("client", 60), Kill("server", 40), Kill("worker", 30), Kill("client", 80, wait_s=0.05))
"""In the first load; before the first is over again; then in what follows. tests/crash/loop.py has many more."""


@pytest.mark.timeout(600)  # nine processes, one after another, take many times longer on a busy machine
def test_a_run_killed_again_and_again_ends_whole(tmp_path: Path) -> None:
    """Client, server, a worker and the client again are killed; each time the run is sound, and it ends complete."""
    with scene(tmp_path, workers=2) as play:
        client = play.begin()
        for kill in KILLS:
            at_ns = strike(play, client, kill)
            before = saved_before(play)
            settle(play, client)
            assert at_ns is not None, play.said[-1]
            check(play, at_ns, before)
            assert client.returncode == (-9 if kill.victim == "client" else 1), play.said[-1]
            play.revive_server()
            client = play.resume()
        settle(play, client)

        assert client.returncode == 0, play.said[-1]
        check_whole(play)
