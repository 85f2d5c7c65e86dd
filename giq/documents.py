"""YAML and JSON, in and out: the only owner of the YAML and JSON libraries.

Types that are read from files or sent as JSON derive from `Entry`; `read` validates
a file against one and names the file, the field and the value that are wrong.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec
import yaml

from giq.errors import CatalogError, DamagedFileError

T = TypeVar("T")

Positive = Annotated[float, msgspec.Meta(gt=0)]
NonNegative = Annotated[float, msgspec.Meta(ge=0)]
PositiveInt = Annotated[int, msgspec.Meta(gt=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=300)]


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A frozen value with named fields, checked when it is read; unknown fields are errors."""


replace = msgspec.structs.replace
"""A copy of an `Entry` with some fields changed."""


def validate(value: Any, kind: type[T], where: str) -> T:
    """Turn plain YAML/JSON data into *kind*.

    Raises:
        CatalogError: names *where*, the field and the offending value.
    """
    try:
        return msgspec.convert(value, kind, str_keys=True)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at ")
        raise CatalogError(where, *_locate(value, kind, problem, path), problem) from None


def _locate(value: Any, kind: Any, problem: str, path: str) -> tuple[str, Any]:
    """The field that msgspec's path (`` `$.a[0].b` ``) names, and the value found there.

    msgspec does not say which key of a mapping (`[...]`) it means: the one is looked for that fails on its own.
    """
    inside = path.rpartition("`$")[2].rstrip("`")
    steps: list[str | int] = []
    for field, index in re.findall(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]", inside):
        step = field or (int(index) if index.isdigit() else _failing_key(value, kind, problem, steps))
        if step is None:
            break
        steps.append(step)
    if "`key`" in path and (key := _failing_key(value, kind, problem, steps)) is not None:
        return _spelled([*steps, key]), key
    if named := re.search(r"field `(.+)`$", problem):  # unknown, or missing and then without a value
        steps.append(named[1])
        return _spelled(steps), (_at(value, steps[:-1]) or {}).get(named[1])
    return _spelled(steps), _at(value, steps)


def _failing_key(value: Any, kind: Any, problem: str, steps: list[str | int]) -> str | None:
    """The key of the mapping at *steps* whose item alone gives the same *problem*."""
    found = _at(value, steps)
    if not isinstance(found, dict):
        return None
    for key, item in found.items():
        try:
            msgspec.convert(_with(value, steps, {key: item}), kind, str_keys=True)
        except msgspec.ValidationError as error:
            if str(error).startswith(problem):
                return str(key)
    return None


def _at(value: Any, steps: list[str | int]) -> Any:
    found = value
    for step in steps:
        try:
            found = found[step]
        except (KeyError, IndexError, TypeError):
            break
    return found


def _with(value: Any, steps: list[str | int], item: Any) -> Any:
    """A copy of *value* that has *item* at *steps*."""
    if not steps:
        return item
    copy: Any = list(value) if isinstance(value, list) else dict(value)
    copy[steps[0]] = _with(value[steps[0]], steps[1:], item)
    return copy


def _spelled(steps: list[str | int]) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return text.lstrip(".") or "(whole file)"


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The safe loader, in C where it was built, but dates stay text and a key given twice is an error."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {
        first: [item for item in resolvers if item[0] != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def load_yaml(text: str, where: str) -> Any:
    """The one YAML document in *text*, as plain data (safe loader: no objects are made).

    Raises:
        DamagedFileError: the text is not YAML.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506 (a safe loader)
    except yaml.YAMLError as error:
        raise DamagedFileError(f"not valid YAML: {error}", where=where) from None


def load_yaml_all(text: str, where: str) -> list[Any]:
    """All YAML documents in *text*, empty ones left out.

    Raises:
        DamagedFileError: the text is not YAML.
    """
    try:
        return [document for document in yaml.load_all(text, _Loader) if document is not None]
    except yaml.YAMLError as error:
        raise DamagedFileError(f"not valid YAML: {error}", where=where) from None


def dump_yaml(value: Any) -> str:
    """*value* as one YAML document, keys in the order given."""
    return str(yaml.safe_dump(plain(value), sort_keys=False, allow_unicode=True, width=1000))


def read(path: Path, kind: type[T]) -> T:
    """The YAML file at *path*, validated as *kind*.

    Raises:
        CatalogError: a field is wrong.
        DamagedFileError: the file is not YAML, or cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DamagedFileError(f"cannot be read: {error}", where=str(path)) from None
    return validate(load_yaml(text, str(path)), kind, str(path))


def plain(value: Any) -> Any:
    """*value* as dicts, lists, strings, numbers, booleans and None."""
    return msgspec.to_builtins(value)


def encode_json(value: Any, indent: int = 0) -> bytes:
    """*value* as JSON bytes; with *indent* > 0 made for reading."""
    raw = msgspec.json.encode(value)
    return msgspec.json.format(raw, indent=indent) if indent else raw


def decode_json(data: bytes | str, kind: type[T], where: str) -> T:
    """JSON *data* validated as *kind*.

    Raises:
        CatalogError: a field is wrong.
        DamagedFileError: not JSON.
    """
    try:
        loose = msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise DamagedFileError(f"not valid JSON: {error}", where=where) from None
    return validate(loose, kind, where)


def json_decoder(kind: type[T]) -> Callable[[bytes], T]:
    """A fast decoder for many small documents; raises ValueError on anything that is not a *kind*."""
    return msgspec.json.Decoder(kind).decode


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and neither nulls nor defaults nor spaces: equal values give equal text.

    A field is left out where its value equals the default, whichever object holds it. A whole number is written
    as one also where a float holds it: 512 and 512.0 are the same length.
    """
    return msgspec.json.encode(_canonical(value), order="sorted").decode()


def _canonical(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return _canonical_fields(value)
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    return value


def _canonical_fields(value: msgspec.Struct) -> dict[str, Any]:
    """The fields that say something: neither null nor what they are when nothing is said."""
    tag = value.__struct_config__.tag_field
    fields: dict[str, Any] = {tag: value.__struct_config__.tag} if tag else {}
    for field in msgspec.structs.fields(type(value)):
        held = getattr(value, field.name)
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        if held is not None and held != default:
            fields[field.encode_name] = _canonical(held)
    return fields


_EXACT = 2.0**53
"""Below it every whole number is exact as a float (IEEE 754 binary64)."""


def content_id(value: Any) -> str:
    """The first 16 hex digits of the SHA-256 of *value*'s canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]
