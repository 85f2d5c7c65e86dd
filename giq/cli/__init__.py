"""The command line: one file per command; parse, call, show."""

from __future__ import annotations

import os
import sys
import traceback


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code: the only place where errors become words and numbers."""
    # Linear algebra here is small: threads for it cost more than they bring, and take cores from the measured server.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

    from giq.cli.app import application
    from giq.errors import GiqError

    debug = "--debug" in (sys.argv[1:] if arguments is None else arguments)
    try:
        application()(arguments, prog_name="giq")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1 if end.code else 0
    except GiqError as error:
        return _told(str(error), error.exit_code, debug=debug)
    except Exception as error:  # noqa: BLE001 - the last resort: a defect of giq, told without a traceback
        words = f"{type(error).__name__}: {error}\nThis is a defect of giq. Run again with --debug and report it."
        return _told(words, 1, debug=debug)
    return 0


def _told(words: str, code: int, *, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    sys.stdout.flush()
    print(f"Error: {words}", file=sys.stderr)
    return code
