"""Which accelerator this machine has, and whether a local port is served from it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from giq.catalog import Catalog
from giq.load.endpoint import Endpoint
from giq.profiling.serving import ServerProcess, server_process

LISTENING = "0A"
"""The state of a listening socket in /proc/net/tcp (Linux: include/net/tcp_states.h)."""


DRIVER_LIMIT_S = 30.0

RANKS = {
    "tp": ("--tensor-parallel-size", "-tp"),
    "pp": ("--pipeline-parallel-size", "-pp"),
    "dp": ("--data-parallel-size", "-dp"),
}
"""vLLM's options that say over how many accelerators it serves (vllm/engine/arg_utils.py); each is 1 by default."""


@dataclass(frozen=True)
class Parallel:
    """Over how many ranks a server splits a model: by tensor, by layers, and in copies."""

    tp: int = 1
    pp: int = 1
    dp: int = 1

    @property
    def ranks(self) -> int:
        """All ranks; each has one accelerator."""
        return self.tp * self.pp * self.dp


@dataclass(frozen=True)
class Hardware:
    """Accelerators seen on this machine: catalog name, how many, the driver's words, and how the server uses them.

    `parallel` is None where the server's command line does not tell; `serving` is the server itself, where it is seen.
    """

    accelerator: str
    count: int
    detail: str
    parallel: Parallel | None = None
    serving: ServerProcess | None = None


def detect_hardware(catalog: Catalog) -> Hardware:
    """What this machine computes with: its NVIDIA GPUs, else its TPU chips, else the CPU."""
    return _gpus(catalog) or _tpus(catalog) or Hardware("cpu", 1, f"{os.cpu_count()} CPU cores, no GPU or TPU seen")


def _gpus(catalog: Catalog) -> Hardware | None:
    smi = shutil.which("nvidia-smi")
    if smi is None:
        return None
    query = [smi, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=DRIVER_LIMIT_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):  # a driver that hangs tells nothing
        return None
    lines = [line.strip() for line in answer.stdout.splitlines() if line.strip()]
    if answer.returncode or not lines:
        return None
    name, _, driver = lines[0].partition(",")
    known = catalog.accelerator_detected_as(name)
    return Hardware(known.name if known else name.strip(), len(lines), f"{name.strip()}, driver {driver.strip()}")


def _tpus(catalog: Catalog) -> Hardware | None:
    kind = os.environ.get("TPU_ACCELERATOR_TYPE", "")
    chips = sorted(Path("/dev").glob("accel[0-9]*")) or sorted(Path("/dev/vfio").glob("[0-9]*"))
    known = catalog.accelerator_detected_as(kind) if kind and chips else None
    return Hardware(known.name, len(chips), f"TPU {kind}") if known else None


def listeners(port: int) -> list[Path]:
    """The local processes (below /proc) that listen on TCP *port*; none where they cannot be seen."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    return [process for process in _processes() if sockets and sockets & set(_open_files(process))]


def _processes() -> list[Path]:
    return list(Path("/proc").glob("[0-9]*"))


def _open_files(process: Path) -> Iterator[str]:
    """What the descriptors of *process* stand for; nothing for another user's process."""
    try:
        handles = list((process / "fd").iterdir())
    except OSError:
        return
    for handle in handles:
        try:
            yield os.readlink(handle)
        except OSError:
            continue


def _command(process: Path) -> list[str]:
    try:
        return (process / "cmdline").read_bytes().decode(errors="replace").strip("\0").split("\0")
    except OSError:
        return []


def _parent(process: Path) -> Path | None:
    try:
        # The name, in brackets, may hold anything; after it come the state and the parent (proc_pid_stat(5)).
        return Path("/proc") / (process / "stat").read_text().rpartition(")")[2].split()[1]
    except (OSError, IndexError):
        return None


def _descendants(ancestors: list[Path]) -> list[Path]:
    children: dict[Path | None, list[Path]] = {}
    for process in _processes():
        children.setdefault(_parent(process), []).append(process)
    found = list(ancestors)
    for process in found:
        found += [child for child in children.get(process, []) if child not in found]
    return found[len(ancestors) :]


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes


def hardware_behind(url: str, catalog: Catalog) -> Hardware | None:
    """The hardware of this machine where a model server on it answers *url*; None where none is seen to.

    A loopback port may be a tunnel or a proxy to another machine (kubectl, ssh, gcloud, nginx and many more), so
    only the process that listens can tell: it, its parent or what it started must be vLLM by name, or it or what it
    started must hold an accelerator open.
    """
    endpoint = Endpoint(url)
    if not endpoint.is_loopback:
        return None
    found = listeners(endpoint.port)
    if not found:
        return None
    below = _descendants(found)
    above = [parent for parent in map(_parent, found) if parent and parent not in found]
    servers = [(process, command) for process in (*found, *above, *below) if _is_vllm(command := _command(process))]
    if not servers and not any(map(_holds_accelerator, [*found, *below])):
        return None
    told = [parallel for _, command in servers if (parallel := parallel_of(command))]
    return replace(
        detect_hardware(catalog),
        parallel=told[0] if told else None,
        serving=server_process(*servers[0]) if servers else None,
    )


def _program(command: list[str]) -> str:
    """What runs: the program, or for a Python interpreter its module or script; arguments may name anything."""
    if not command or not Path(command[0]).name.startswith("python"):
        return Path(command[0]).name if command else ""
    words = iter(command[1:])
    for word in words:
        if word == "-m":
            return next(words, "")
        if word in ("-X", "-W"):
            next(words, "")
        elif word == "-c":
            return ""
        elif not word.startswith("-"):
            return Path(word).name
    return ""


def _is_vllm(command: list[str]) -> bool:
    return _program(command).lower().startswith("vllm")


def _holds_accelerator(process: Path) -> bool:
    return any(name.startswith(("/dev/nvidia", "/dev/accel", "/dev/vfio/")) for name in _open_files(process))


def parallel_of(command: list[str]) -> Parallel | None:
    """The parallelism that a server's command line says; None where it leaves it open.

    vLLM's own command line without such an option says 1, its default, unless it reads a configuration file.
    """
    sizes = {key: size for key, options in RANKS.items() if (size := _option(command, options))}
    serves = _program(command) == "vllm" or _program(command).startswith("vllm.entrypoints")
    if not sizes and not (serves and _option_text(command, ("--config",)) is None):
        return None
    return Parallel(**sizes)


def _option(command: list[str], names: tuple[str, ...]) -> int | None:
    text = _option_text(command, names)
    return int(text) if text and text.isdecimal() and int(text) > 0 else None


def _option_text(command: list[str], names: tuple[str, ...]) -> str | None:
    found = None
    for word, following in zip(command, [*command[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name.replace("_", "-") in names:
            found = value if equals else following
    return found
