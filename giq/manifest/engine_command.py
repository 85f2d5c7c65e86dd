"""The server's image, command and arguments, in the words of its version."""

from __future__ import annotations

import re

from giq.catalog.configuration import Component, EngineValue
from giq.catalog.servers import ServerVersion
from giq.errors import IncompatibleError, UsageError

_IMAGE = re.compile(r"(?P<name>.+?)(?::(?P<tag>[\w.-]+))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?")
_SET_BY_MANIFEST = frozenset({"model", "served_model_name", "host", "port"})
_SECRETS = frozenset({"api_key", "hf_token"})
"""Arguments that carry a key; they are refused, since whoever reads the Deployment would read them."""


def pinned_image(version: ServerVersion, kind: str, digest: str | None = None) -> str:
    """The image of *version* for an accelerator of *kind*, by *digest* where the configuration names one.

    Raises:
        UsageError: none is published for that kind, or its tag can come to mean another image.
    """
    image = version.images.get(kind)
    if image is None:
        known = ", ".join(sorted(version.images)) or "none"
        raise UsageError(f"vLLM {version.version} has no image for a {kind.upper()}", hint=f"It has for: {known}.")
    found = _IMAGE.fullmatch(image)
    if found and digest is not None:
        return f"{found['name']}@{digest}"
    if not found or (found["digest"] is None and found["tag"] in (None, "latest", "nightly")):
        raise UsageError(f"the image {image} of vLLM {version.version} is not pinned", hint="Give it a version as tag.")
    return image


def engine_command(
    version: ServerVersion, part: Component, repository: str, extra: dict[str, EngineValue]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Command and arguments that serve *repository* as *part* was measured, and *extra* arguments of the manifest.

    `vllm serve` takes the model as its first argument, the older entry point as `--model`. Arguments are in
    the order of their names. No shell is involved; Kubernetes' own `$(NAME)` is escaped.

    Raises:
        UsageError: the version lacks a flag (named), an argument carries a key, or the name is like a flag.
        IncompatibleError: the configuration says two things of one argument.
    """
    if version.command[-1:] == ("serve",) or "model" not in version.flags:
        if repository.startswith("-"):
            raise UsageError(f"the model {repository[:80]!r} begins like a flag", hint="Give the model another name.")
        model = repository
    else:
        model = f"{version.flags['model']}={repository}"
    arguments = [_argument(version, name, value) for name, value in sorted(_effective(part, extra).items())]
    told = [argument for argument in arguments if argument is not None]
    return tuple(map(escaped, version.command)), tuple(map(escaped, (model, *told)))


def escaped(text: str) -> str:
    """*text* so that Kubernetes passes it on as it is: in commands, arguments and variables `$(X)` means X's value.

    Raises:
        UsageError: it holds a null character, which no process can be given.
    """
    if "\0" in text:
        raise UsageError(f"{text[:80]!r} holds a null character", hint="Remove it.")
    return text.replace("$", "$$")


def _effective(part: Component, extra: dict[str, EngineValue]) -> dict[str, EngineValue]:
    """Every argument to pass: those of the configuration's own fields, its engine arguments, and *extra*."""
    fields: dict[str, EngineValue] = {
        name: size
        for name, size in (
            ("tensor_parallel_size", part.tp),
            ("pipeline_parallel_size", part.pp),
            ("data_parallel_size", part.dp),
        )
        if size > 1
    }
    if part.ep > 1:
        fields["enable_expert_parallel"] = True
    if part.kv_dtype is not None:
        fields["kv_cache_dtype"] = part.kv_dtype
    if part.weights_revision is not None:
        fields["revision"] = part.weights_revision
    given = {name: value for name, value in part.engine_args.items() if name not in _SET_BY_MANIFEST}
    for name in fields.keys() & given.keys():
        if fields[name] != given[name]:
            raise IncompatibleError(name, fields[name], given[name])
    return extra | fields | given


def _argument(version: ServerVersion, name: str, value: EngineValue) -> str | None:
    """One argument; None where it says what the version does anyway (a switch that is off)."""
    if name in _SECRETS:
        raise UsageError(
            f"the engine argument {name} carries a key and is not written into a manifest",
            hint="Keep the key in a Secret.",
        )
    flag = version.flags.get(name)
    if flag is None:
        raise UsageError(
            f"vLLM {version.version} has no flag for the engine argument {name!r}",
            hint=f"Known flags of {version.version}: {', '.join(sorted(version.flags.values()))}.",
        )
    if value is True:
        return flag
    if value is False:
        return None if version.defaults.get(name) is False else f"--no-{flag.removeprefix('--')}"
    return f"{flag}={value}"
