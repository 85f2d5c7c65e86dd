"""What this machine computes with, and whether a port is served from it."""

from __future__ import annotations

import socket
import stat
import sys
from pathlib import Path

import pytest

from giq.catalog import load_catalog
from giq.profiling.hardware import detect_hardware, is_loopback, listener_command, serves_from_here


@pytest.mark.parametrize("url", ["http://localhost:8000", "http://127.0.0.1", "http://127.8.1.1:80", "http://[::1]:9"])
def test_loopback_addresses_are_this_machine(url: str) -> None:
    """Names and addresses of the loopback range are this machine."""
    assert is_loopback(url)


@pytest.mark.parametrize("url", ["http://10.0.0.1:8000", "http://example.com", "http://localhost.example.com"])
def test_other_addresses_are_not(url: str) -> None:
    """Private and public addresses are other machines."""
    assert not is_loopback(url)


def test_the_listener_of_a_port_is_found() -> None:
    """The process that listens on a port is found by its socket: here, this very test."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        command = listener_command(port)

        assert command is not None
        assert Path(sys.executable).name in Path(command[0]).name or "pytest" in " ".join(command)
        assert serves_from_here(f"http://127.0.0.1:{port}")


def test_a_port_without_listener_serves_nothing_from_here() -> None:
    """A closed port is not served from this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    assert listener_command(port) is None
    assert not serves_from_here(f"http://127.0.0.1:{port}")


def test_another_machines_server_is_not_served_from_here() -> None:
    """An address of another machine is never taken for this one's hardware."""
    assert not serves_from_here("http://192.0.2.1:8000")


def test_gpus_are_told_by_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver's list gives the catalog's name, the count and the driver's version."""
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 'NVIDIA H100 80GB HBM3, 570.86.15'\necho 'NVIDIA H100 80GB HBM3, 570.86.15'\n")
    smi.chmod(smi.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    found = detect_hardware(load_catalog())

    assert (found.accelerator, found.count) == ("nvidia-h100-80gb", 2)
    assert "570.86.15" in found.detail


def test_without_gpu_and_tpu_it_is_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that shows neither GPU nor TPU computes with its CPU."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("TPU_ACCELERATOR_TYPE", raising=False)

    found = detect_hardware(load_catalog())

    assert (found.accelerator, found.count) == ("cpu", 1)
