"""The house rules that a machine can check: direction of imports, owners of libraries, sizes, names."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "giq"

ROOMS = (
    "errors", "units", "documents", "catalog", "workload", "curve", "store", "load", "engine", "profiling",
    "recommend", "manifest", "show", "cli", "api",
)  # fmt: skip
"""The order of imports: a room imports only rooms before it (DESIGN §2)."""

OWNERS = {
    "msgspec": {"documents"},
    "yaml": {"documents"},
    "pyarrow": {"store"},
    "pandas": {"store"},
    "aiohttp": {"load", "engine"},
    "uvloop": {"load", "engine"},
    "prometheus_client": {"load", "engine"},
    "jinja2": {"manifest"},
    "rich": {"show"},
    "matplotlib": {"show"},
    "typer": {"cli"},
}
"""The rooms that may import an outside library; numpy is free. aiohttp and its like serve two sides."""

FREE = {"numpy", "giq"}
LONGEST_FUNCTION = 60
LONGEST_FILE = 400
VAGUE = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}

FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    """The room that a file belongs to; the package's own two files belong to the whole."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """The full names of all modules that a file imports, at any depth."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """All functions of a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function's body; a docstring and a long list of options are no complexity."""
    first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
    return (node.end_lineno or 0) - first.lineno + 1


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_rooms_before_it(path: Path) -> None:
    """Imports between rooms go one way, so there can be no cycle."""
    room = room_of(path)
    if room in ("__init__", "__main__"):
        return

    targets = {name.split(".")[1] for name in imports(path) if name.startswith("giq.")} - {"__version__"}

    assert targets <= set(ROOMS), f"unknown rooms {targets - set(ROOMS)}"
    assert all(ROOMS.index(target) <= ROOMS.index(room) for target in targets), f"{room} imports {targets}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_an_outside_library_has_one_owner(path: Path) -> None:
    """Each outside library is imported by its owning room alone, and none is imported that has no owner."""
    outside = {name.split(".")[0] for name in imports(path)} - set(sys.stdlib_module_names) - FREE

    assert outside <= set(OWNERS), f"libraries without an owner: {outside - set(OWNERS)}"
    assert all(room_of(path) in OWNERS[library] for library in outside), f"{room_of(path)} imports {outside}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_and_files_are_short(path: Path) -> None:
    """No function body is longer than 60 lines and no file longer than 400."""
    long = {node.name: length(node) for node in functions(path) if length(node) > LONGEST_FUNCTION}

    assert not long
    assert len(path.read_text().splitlines()) <= LONGEST_FILE


def test_most_functions_are_small() -> None:
    """Nine in ten function bodies have at most 30 lines, half of them at most 12."""
    lengths = sorted(length(node) for path in FILES for node in functions(path))

    assert lengths[len(lengths) // 2] <= 12
    assert lengths[len(lengths) * 9 // 10] <= 30


def test_files_are_named_after_nouns_of_the_field() -> None:
    """No file or folder has a name that says nothing."""
    names = {part.removesuffix(".py") for path in FILES for part in path.relative_to(PACKAGE).parts}

    assert not names & VAGUE


def test_every_room_is_known() -> None:
    """The package has exactly the rooms of the design."""
    found = {room_of(path) for path in FILES} - {"__init__", "__main__"}

    assert found == set(ROOMS)


@pytest.mark.parametrize("folder", ["profiles", "benchmarks", "manifests", "results", "tests"])
def test_each_top_level_folder_has_its_readme(folder: str) -> None:
    """A stranger finds a short README in each top-level folder."""
    lines = (ROOT / folder / "README.md").read_text().splitlines()

    assert 1 < len(lines) <= 60


def test_every_test_says_what_holds() -> None:
    """Each test has a docstring of one sentence."""
    silent = [
        f"{path.name}:{node.name}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in functions(path)
        if node.name.startswith("test_") and not ast.get_docstring(node)
    ]

    assert not silent
