"""The two streams: stdout is data, stderr is talk; colour only on a terminal."""

from __future__ import annotations

import shutil
import sys

from rich.console import Console
from rich.text import Text

NARROWEST = 100
"""Columns for a table that goes to a file or a pipe, where nothing wraps it."""

PIPED = 200


def data_console() -> Console:
    """Stdout, for data; wide where it is no terminal, so that pipes get whole lines."""
    return Console(file=sys.stdout, highlight=False, soft_wrap=False, width=_width(sys.stdout.isatty()))


def talk_console() -> Console:
    """Stderr, for talk."""
    return Console(file=sys.stderr, highlight=False, stderr=True, width=_width(sys.stderr.isatty()))


def _width(terminal: bool) -> int:
    return max(shutil.get_terminal_size((NARROWEST, 24)).columns, 60) if terminal else PIPED


def say(text: str, style: str = "") -> None:
    """Print a sentence to stderr, as it is (no markup)."""
    talk_console().print(Text(text, style=style), soft_wrap=True)


def warn(text: str) -> None:
    """Print a warning to stderr."""
    say(f"Warning: {text}", "yellow")


def fail(text: str) -> None:
    """Print an error to stderr."""
    say(f"Error: {text}", "red")
