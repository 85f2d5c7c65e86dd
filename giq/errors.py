"""Every error giq raises on purpose, with its exit code and what to do next.

GiqError                     1   failed while running
├── UsageError               2   the command or a value in it is wrong
│   └── UnknownNameError     2   no such model, accelerator, unit, ...
├── UnmetError               3   nothing meets the requirement
├── DataError                4   a file or a row cannot be used
│   ├── CatalogError         4   a wrong field in a profile file
│   ├── IncompatibleError    4   two things that must not be joined
│   ├── NewerFormatError     4   written by a newer giq
│   └── DamagedFileError     4   truncated or not what its name says
├── ServerError              1   the measured server cannot be used
│   └── UnreachableError     1   nobody answers there
├── StorageError             1   results cannot be written
└── Interrupted            130   stopped by the user, what was measured is saved
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GiqError(Exception):
    """An error told to the user as *what* happened, *where*, and what to do (*hint*)."""

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        parts = [self.what if self.where is None else f"{self.where}: {self.what}"]
        if self.hint:
            parts.append(self.hint)
        return "\n".join(parts)


class UsageError(GiqError):
    """The command line, or a value given to a function, is wrong."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name that is not in the catalog; carries the nearest known ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(set(known))
        self.nearest = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.4)
        near = ", ".join(self.nearest or names[:5])
        super().__init__(f"unknown {kind} {name!r}", hint=f"Known ones near it: {near}.")


class UnmetError(GiqError):
    """Nothing meets the requirement; the message names the nearest miss."""

    exit_code = 3


class DataError(GiqError):
    """A file, row or value that cannot be used as it is."""

    exit_code = 4


class CatalogError(DataError):
    """A wrong field in a catalog file: names the file, the field and the value."""

    def __init__(self, file: str, field: str, value: object, problem: str) -> None:
        self.file = file
        self.field = field
        self.value = value
        super().__init__(f"field {field} = {value!r}: {problem}", where=file, hint="Correct the file and run again.")


class IncompatibleError(DataError):
    """Two things that must not be joined; names the field and both values."""

    def __init__(self, field: str, left: object, right: object) -> None:
        self.field = field
        self.left = left
        self.right = right
        super().__init__(
            f"cannot be joined: {field} is {left!r} in one and {right!r} in the other",
            hint="Compare them side by side instead, or choose one.",
        )


class NewerFormatError(DataError):
    """A file written by a newer giq than this one."""

    def __init__(self, file: str, found: int, supported: int) -> None:
        super().__init__(
            f"schema version {found} is newer than this giq understands ({supported})",
            where=file,
            hint="Upgrade giq (pip install --upgrade giq), then run the command again.",
        )


class DamagedFileError(DataError):
    """A file that is truncated or is not what its name says."""


class ServerError(GiqError):
    """The server to be measured cannot be reached, or answers what giq cannot use."""


class UnreachableError(ServerError):
    """Nobody answers at the server's address."""


class StorageError(GiqError):
    """Results cannot be written (disk full, no permission); what was saved before stays."""


class Interrupted(GiqError):
    """Stopped by the user; what was measured until then is saved."""

    exit_code = 130
