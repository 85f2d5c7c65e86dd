"""A plan becomes YAML: the only owner of the template library."""

from __future__ import annotations

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError, TemplateRuntimeError

from giq.catalog.shipped import shipped
from giq.documents import encode_json
from giq.errors import GiqError
from giq.manifest.check import check
from giq.manifest.plan import Plan

_DEPLOYED = ("deployment.yaml.j2", "service.yaml.j2", "pod-monitoring.yaml.j2")
_SCALED = "horizontal-pod-autoscaler.yaml.j2"

_ESCAPED = re.compile(r"[^\x20-\x7e\U00010000-\U0010ffff]")
"""What YAML would take as a line break, or not at all, among what JSON leaves as it is."""


class Quoted(str):
    """Text that passed the quoting filter."""

    __slots__ = ()


def render(plan: Plan, templates: Path | None = None) -> str:
    """The YAML documents of *plan*: the same bytes for the same plan.

    They are parsed back and compared with the plan before they are returned. *templates* is a folder that
    stands in for the one that ships.

    Raises:
        GiqError: a template lacks a value or leaves one unquoted, or the documents are not what was asked.
    """
    environment = _environment(templates or shipped("manifests"))
    names = _DEPLOYED if plan.hpa is None else (*_DEPLOYED, _SCALED)
    text = "---\n".join(_document(environment, name, plan) for name in names)
    check(text, plan)
    return text


def quote(value: object) -> Quoted:
    """*value* as a scalar that is the same in JSON and YAML, whatever it holds; on one line.

    Raises:
        UndefinedError: the template asked for what does not exist.
        TemplateRuntimeError: not text, a whole number or a truth value; or text that is no Unicode.
    """
    if not isinstance(value, str | int):
        raise TemplateRuntimeError(f"{value} ({type(value).__name__}) is not text, a whole number or a truth value")
    try:
        json = encode_json(value).decode()
    except UnicodeEncodeError:
        raise TemplateRuntimeError(f"{value!r} is not Unicode text") from None
    return Quoted(_ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", json))


def _environment(templates: Path) -> Environment:
    environment = Environment(  # noqa: S701 - YAML, not HTML; `finalize` refuses what is not quoted for YAML
        loader=FileSystemLoader(templates),
        undefined=StrictUndefined,
        finalize=_refuse_unquoted,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["q"] = quote
    return environment


def _refuse_unquoted(value: object) -> Quoted:
    if not isinstance(value, Quoted):
        raise TemplateRuntimeError(f"{value!r} did not pass the filter q")
    return value


def _document(environment: Environment, name: str, plan: Plan) -> str:
    try:
        return environment.get_template(name).render(plan=plan)
    except TemplateError as error:
        raise GiqError(
            f"the template cannot be rendered: {error.message or type(error).__name__}",
            where=name,
            hint="This is a mistake in the template or in the names given; correct it and run again.",
        ) from None
