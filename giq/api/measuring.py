"""Profiles from Python: the command itself, in a process of its own, and its curve back."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from giq.curve.curve import Curve
from giq.curve.targets import Target
from giq.documents import decode_json
from giq.errors import GiqError, Interrupted, ServerError, UsageError
from giq.store.at_hand import DEFAULT_RESULTS
from giq.store.database import read_curves
from giq.store.run import FOLDER_PREFIX

_ERRORS: dict[int, type[GiqError]] = {2: UsageError, 130: Interrupted}


def profile(
    endpoint: str | None = None,
    *,
    model: str | None = None,
    accelerator: str | None = None,
    use_case: str | None = None,
    input_tokens: int | str | None = None,
    output_tokens: int | str | None = None,
    targets: Iterable[Target] = (),
    concurrency: Sequence[int] = (),
    request_rate: Sequence[float] = (),
    results_dir: str | Path = DEFAULT_RESULTS,
    simulate: bool = False,
    quiet: bool = False,
    options: Sequence[str] = (),
) -> Curve:
    """Measure how the server at *endpoint* (default http://localhost:8000) saturates, save the run, return its curve.

    With *simulate* the simulated engine is started and measured instead: estimated. *options* are further words of
    the command line, like `["--duration", "30s", "--yes"]`; see `giq profile --help`. It runs as a process of its own,
    so that it measures undisturbed by this one and works inside an event loop (a notebook); progress goes to stderr.

    Raises:
        Interrupted: stopped by the user; what was measured is saved.
        ServerError: no server answers, or it cannot be used.
        UsageError: what is asked for cannot be.
    """
    given = {
        "--endpoint": endpoint,
        "--model": model,
        "--accelerator": accelerator,
        "--use-case": use_case,
        "--input-tokens": input_tokens,
        "--output-tokens": output_tokens,
        "--concurrency": ",".join(map(str, concurrency)) or None,
        "--request-rate": ",".join(map(str, request_rate)) or None,
        "--results-dir": results_dir,
    }
    words = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    words += ["--simulate"] * simulate + ["--quiet"] * quiet + _target_words(tuple(targets))
    rows = _run(["profile", *words, *options, "--output", "json"])
    return read_curves(Path(results_dir) / f"{FOLDER_PREFIX}{rows[0]['run_id']}")[0]


def _target_words(targets: Sequence[Target]) -> list[str]:
    """The targets as options; the command line has one percentile for all.

    Raises:
        UsageError: they have several.
    """
    percentiles = sorted({target.percentile for target in targets})
    if len(percentiles) > 1:
        raise UsageError("a profile has one percentile for all targets", hint=f"Here are {', '.join(percentiles)}.")
    words = [word for item in targets for word in (f"--target-{item.metric}", f"{item.seconds * 1e3:.12g}ms")]
    return [*words, "--percentile", percentiles[0]] if targets else []


def _run(words: Sequence[str]) -> list[dict[str, Any]]:
    """What the command prints as JSON; its talk goes to stderr as it comes, and its last words become the error."""
    talk: list[str] = []
    with tempfile.TemporaryFile() as printed:
        command = [sys.executable, "-m", "giq", *words]
        with subprocess.Popen(command, stdout=printed, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
            for line in process.stderr or ():
                sys.stderr.write(line)
                talk.append(line)
        printed.seek(0)
        answer = printed.read()
    if process.returncode:
        raise _error(process.returncode, "".join(talk))
    rows: list[dict[str, Any]] = decode_json(answer, list, "giq profile")
    return rows


def _error(code: int, talk: str) -> GiqError:
    said = talk.rpartition("Error: ")[2].strip() or f"giq profile ended with {code}"
    what, _, hint = said.partition("\n")
    return _ERRORS.get(code, ServerError)(what, hint=hint or None)
