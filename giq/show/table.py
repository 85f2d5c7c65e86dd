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

from giq.curve.point import Estimate
from giq.documents import dump_yaml, encode_json

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


Row = Mapping[str, Any]


def with_bounds(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    """An estimate as three raw values: `name`, `name_lo`, `name_hi`."""
    if estimate is None:
        return {name: None, f"{name}_lo": None, f"{name}_hi": None}
    return {name: estimate.value, f"{name}_lo": estimate.lo, f"{name}_hi": estimate.hi}


def interval(key: str, show: Callable[[Any], str]) -> Callable[[Row], str]:
    """Prints a value of a row with its bounds, like `12.1 [6.20, 13.6]`; without them where it has none."""

    def text(row: Row) -> str:
        value, low, high = row.get(key), row.get(f"{key}_lo"), row.get(f"{key}_hi")
        if value is None or (low is None and high is None):
            return show(value)
        return f"{show(value)} [{'?' if low is None else show(low)}, {'?' if high is None else show(high)}]"

    return text


@dataclass(frozen=True)
class Column:
    """A column: its key in the raw rows (with unit), its title on screen, and how a value, or a row, is printed."""

    key: str
    title: str
    show: Callable[[Any], str] = as_text
    show_row: Callable[[Row], str] | None = None
    right: bool = False
    wide: bool = False
    fold: bool = True

    def cell(self, row: Row) -> str:
        """What stands in this column of *row*."""
        return self.show_row(row) if self.show_row else self.show(row.get(self.key))


@dataclass(frozen=True)
class Table:
    """Rows of raw values by column key; rows may hold keys that no column shows (they go to JSON and YAML)."""

    title: str
    columns: tuple[Column, ...]
    rows: Sequence[Row]


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
    """Every raw value that fits a cell; lists are joined by semicolons, nested values are left to JSON and YAML."""
    rows = [{key: _csv_value(value) for key, value in row.items() if not _is_nested(value)} for row in table.rows]
    keys = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, keys, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _is_nested(value: Any) -> bool:
    items = value if isinstance(value, list | tuple) else (value,)
    return any(not isinstance(item, str | int | float | None) for item in items)


def _csv_value(value: Any) -> Any:
    return ";".join(str(item) for item in value) if isinstance(value, list | tuple) else value


def _rich(table: Table, *, wide: bool) -> RichTable:
    columns = [column for column in table.columns if wide or not column.wide]
    shown = RichTable(title=Text(table.title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        shown.add_column(
            column.title, justify="right" if column.right else "left", overflow="fold", no_wrap=not column.fold
        )
    for row in table.rows:
        # Text, not str: a name like [bold] is a name, not markup.
        shown.add_row(*(Text(column.cell(row)) for column in columns))
    return shown
