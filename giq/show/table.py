"""One table, many forms: rows of raw values shown on a terminal or written as JSON, YAML or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from giq.documents import dump_yaml, encode_json, plain

OutputFormat = Literal["table", "wide", "json", "yaml", "csv"]


def as_text(value: Any) -> str:
    """Plain words for a value without a format of its own."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value) or "–"
    return str(value)


@dataclass(frozen=True)
class Column:
    """A column: its key in the raw rows (with unit), its title on screen, and how a value is printed."""

    key: str
    title: str
    show: Callable[[Any], str] = as_text
    right: bool = False
    wide: bool = False
    fold: bool = True


@dataclass(frozen=True)
class Table:
    """Rows of raw values by column key; rows may hold keys that no column shows (they go to JSON and YAML)."""

    title: str
    columns: tuple[Column, ...]
    rows: Sequence[Mapping[str, Any]]


def write(table: Table, form: OutputFormat, console: Console) -> None:
    """Print *table* in the form asked for; JSON, YAML and CSV carry raw values and nothing else."""
    if form == "json":
        console.file.write(encode_json([dict(row) for row in table.rows], indent=2).decode() + "\n")
    elif form == "yaml":
        console.file.write(dump_yaml([dict(row) for row in table.rows]))
    elif form == "csv":
        console.file.write(_csv(table))
    else:
        console.print(_rich(table, wide=form == "wide"))


def _csv(table: Table) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.key for column in table.columns])
    for row in table.rows:
        writer.writerow([_csv_value(row.get(column.key)) for column in table.columns])
    return text.getvalue()


def _csv_value(value: Any) -> Any:
    value = plain(value)
    if isinstance(value, list):
        return ";".join(str(item) for item in value)
    return encode_json(value).decode() if isinstance(value, dict) else value


def _rich(table: Table, *, wide: bool) -> RichTable:
    columns = [column for column in table.columns if wide or not column.wide]
    shown = RichTable(title=Text(table.title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        shown.add_column(
            column.title, justify="right" if column.right else "left", overflow="fold", no_wrap=not column.fold
        )
    for row in table.rows:
        # Text, not str: a name like [bold] is a name, not markup.
        shown.add_row(*(Text(column.show(row.get(column.key))) for column in columns))
    return shown
