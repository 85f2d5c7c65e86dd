"""Kills `giq profile` again and again at random moments: `python tests/crash/loop.py [--kills 30] [--seed 1]`.

Not part of the default suite. Each run is killed until it ends whole: its client, one of its workers or the server, at
a moment drawn from the seed, half of them around the end of a load point, where its journals become Parquet. After
every kill and at every end it is checked what must hold (see `kills.check`); the first that does not ends the script.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.crash.kills import Kill, Scene, check, check_whole, saved_before, scene, settle, strike

REQUESTS = 60
CONCURRENCY = (2, 4, 8)
LONGEST_WAIT_S = 1.5
"""A point's end with two workers: counters settle, the processes end, the files are written."""


def draw(random_: random.Random, play: Scene) -> Kill:
    """The next kill: at a random answer of the run, or in what follows the last one of a point."""
    victim = random_.choices(["client", "worker", "server"], [3, 1 if play.workers > 1 else 0, 1])[0]
    if random_.random() < 0.5:
        return Kill(victim, random_.randrange(1, REQUESTS * len(CONCURRENCY)))  # type: ignore[arg-type]
    points = random_.randrange(1, len(CONCURRENCY) + 1)
    return Kill(victim, REQUESTS * points, random_.uniform(0.0, LONGEST_WAIT_S))  # type: ignore[arg-type]


def one_run(folder: Path, random_: random.Random, left: int, told: Counter[str]) -> int:
    """Kill one run at most *left* times, until it ends whole; returns how many kills there were."""
    kills = 0
    with scene(folder, random_.choice([1, 2]), CONCURRENCY, REQUESTS) as play:
        client = play.begin()
        while kills < left:
            kill = draw(random_, play)
            at_ns = strike(play, client, kill)
            if at_ns is None:
                break
            before = saved_before(play)
            settle(play, client)
            found = check(play, at_ns, before)
            kills += 1
            told[kill.victim] += 1
            print(
                f"{kill.victim:6s} after {kill.after_requests:3d} answers + {kill.wait_s:4.2f} s: {found}", flush=True
            )
            play.revive_server()
            client = play.resume() if play.run_folder() else play.begin()
            if client.poll() is None and play.run_folder() and kills == left:
                break
        settle(play, client)
        if client.returncode != 0:  # the server was killed when nothing was left to send to it: go on once more
            play.revive_server()
            client = play.resume()
            settle(play, client)
        assert client.returncode == 0, play.said[-1]
        check_whole(play)
        print(f"whole after {kills} kill(s), {play.workers} worker(s)", flush=True)
    return kills


def main() -> None:
    """Kill until so many kills were survived."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    random_, told, began = random.Random(asked.seed), Counter[str](), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="giq-crash-") as folder:
        while told.total() < asked.kills:
            scene_folder = Path(folder) / f"{told.total()}"
            scene_folder.mkdir()
            one_run(scene_folder, random_, asked.kills - told.total(), told)
    words = ", ".join(f"{count} × {victim}" for victim, count in sorted(told.items()))
    print(f"{told.total()} kills survived ({words}) in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
