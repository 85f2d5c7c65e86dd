"""Which accelerator this machine has, and whether a local port is served from it."""

from __future__ import annotations

import ipaddress
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from giq.catalog import Catalog

LISTENING = "0A"
"""The state of a listening socket in /proc/net/tcp (Linux: include/net/tcp_states.h)."""


@dataclass(frozen=True)
class Hardware:
    """Accelerators seen on this machine: catalog name, how many, and the driver's words."""

    accelerator: str
    count: int
    detail: str


def detect_hardware(catalog: Catalog) -> Hardware:
    """What this machine computes with: its NVIDIA GPUs, else its TPU chips, else the CPU."""
    return _gpus(catalog) or _tpus(catalog) or Hardware("cpu", 1, f"{os.cpu_count()} CPU cores, no GPU or TPU seen")


def _gpus(catalog: Catalog) -> Hardware | None:
    smi = shutil.which("nvidia-smi")
    if smi is None:
        return None
    query = [smi, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603 - fixed words
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


def is_loopback(url: str) -> bool:
    """Whether *url* names this machine by a loopback address or `localhost`."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listener_command(port: int) -> list[str] | None:
    """The command line of the local process that listens on TCP *port*, None where it cannot be seen.

    A loopback port may be a tunnel (kubectl port-forward, ssh) to another machine: only the process tells.
    """
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    if not sockets:
        return None
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(handle) in sockets for handle in (process / "fd").iterdir()):
                return (process / "cmdline").read_bytes().decode(errors="replace").strip("\0").split("\0")
        except OSError:
            continue
    return None


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


def serves_from_here(url: str) -> bool:
    """Whether *url* is answered by a model server that runs on this very machine."""
    parts = urlsplit(url)
    if not is_loopback(url):
        return False
    command = listener_command(parts.port or (443 if parts.scheme == "https" else 80))
    if not command:
        return False
    program = Path(command[0]).name
    return program not in ("kubectl", "ssh", "sshd", "socat", "docker-proxy") and "port-forward" not in command
