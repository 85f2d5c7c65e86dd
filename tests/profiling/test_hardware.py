"""What this machine computes with, and whether a port is served from it."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from giq.catalog import load_catalog
from giq.load.endpoint import Endpoint
from giq.profiling.hardware import Parallel, detect_hardware, hardware_behind, listeners, parallel_of


@pytest.mark.parametrize("url", ["http://localhost:8000", "http://127.0.0.1", "http://127.8.1.1:80", "http://[::1]:9"])
def test_loopback_addresses_are_this_machine(url: str) -> None:
    """Names and addresses of the loopback range are this machine."""
    assert Endpoint(url).is_loopback


@pytest.mark.parametrize("url", ["http://10.0.0.1:8000", "http://example.com", "http://localhost.example.com"])
def test_other_addresses_are_not(url: str) -> None:
    """Private and public addresses are other machines."""
    assert not Endpoint(url).is_loopback


CATALOG = load_catalog()

LISTEN = """
import socket, time
with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    time.sleep(600)
"""


@contextlib.contextmanager
def listening(script: Path, *words: str) -> Iterator[str]:
    """A process of a script of that name, started with *words*; the URL where it listens."""
    script.write_text(LISTEN)
    command = [sys.executable, str(script), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


@pytest.fixture
def two_h100(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose driver lists two GPUs."""
    driver(tmp_path, "echo 'NVIDIA H100 80GB HBM3, 570.86.15'\necho 'NVIDIA H100 80GB HBM3, 570.86.15'\n", monkeypatch)


def driver(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put an `nvidia-smi` of that shell script first on the path."""
    smi = folder / "nvidia-smi"
    smi.write_text(f"#!/bin/sh\n{script}")
    smi.chmod(smi.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_the_listener_of_a_port_is_found() -> None:
    """The process that listens on a port is found by its socket: here, this very test, which is no model server."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        assert Path(f"/proc/{os.getpid()}") in listeners(port)


@pytest.mark.usefixtures("two_h100")
def test_a_server_here_has_the_hardware_of_here_and_tells_its_parallelism(tmp_path: Path) -> None:
    """A listener that is vLLM by name is served from here, on as many accelerators as its command line says."""
    with listening(tmp_path / "vllm_stand_in.py", "--tensor-parallel-size", "2") as url:
        found = hardware_behind(url, CATALOG)

    assert found is not None
    assert (found.accelerator, found.count, found.parallel) == ("nvidia-h100-80gb", 2, Parallel(tp=2))


@pytest.mark.usefixtures("two_h100")
def test_a_server_here_tells_its_flags_but_no_secrets(tmp_path: Path) -> None:
    """The command line of a vLLM on this machine is known, its keys are not."""
    words = ("--tensor-parallel-size", "1", "--load-format", "dummy", "--api-key", "hunter2")
    with listening(tmp_path / "vllm_stand_in.py", *words) as url:
        found = hardware_behind(url, CATALOG)

    assert found is not None
    assert found.serving is not None
    assert found.serving.command[-6:] == (*words[:5], "***")


@pytest.mark.parametrize("name", ["gcloud.py", "k9s.py", "envoy.py"])
def test_a_tunnel_is_not_this_machine(tmp_path: Path, name: str) -> None:
    """A listener that is no model server stands for another machine, whatever its arguments name."""
    with listening(tmp_path / name, "compute", "start-iap-tunnel", "vllm", "svc/vllm", "8000") as url:
        assert hardware_behind(url, CATALOG) is None


def test_a_port_without_listener_serves_nothing_from_here() -> None:
    """A closed port is not served from this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    assert listeners(port) == []
    assert hardware_behind(f"http://127.0.0.1:{port}", CATALOG) is None


def test_another_machines_server_is_not_served_from_here() -> None:
    """An address of another machine is never taken for this one's hardware."""
    assert hardware_behind("http://192.0.2.1:8000", CATALOG) is None


@pytest.mark.parametrize(
    ("words", "parallel"),
    [
        ("/opt/bin/python3 -m vllm.entrypoints.openai.api_server --model m -tp 4", Parallel(tp=4)),
        ("/usr/bin/python /usr/local/bin/vllm serve m --tensor_parallel_size=8 -pp 2", Parallel(tp=8, pp=2)),
        ("vllm serve m --data-parallel-size 2", Parallel(dp=2)),
        ("vllm serve m", Parallel()),
        ("vllm serve m --config vllm.yaml", None),
        ("VLLM::APIServer", None),
        ("python -c pass", None),
    ],
)
def test_the_command_line_tells_the_parallelism(words: str, parallel: Parallel | None) -> None:
    """VLLM's options in all their spellings; its default where it has none; None where a file or a title hides them."""
    assert parallel_of(words.split()) == parallel


def test_a_driver_that_hangs_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver query that never ends is given up."""
    driver(tmp_path, "exec sleep 60\n", monkeypatch)
    monkeypatch.setattr("giq.profiling.hardware.DRIVER_LIMIT_S", 0.2)
    monkeypatch.delenv("TPU_ACCELERATOR_TYPE", raising=False)

    assert detect_hardware(CATALOG).accelerator == "cpu"


@pytest.mark.usefixtures("two_h100")
def test_gpus_are_told_by_the_driver() -> None:
    """The driver's list gives the catalog's name, the count and the driver's version."""
    found = detect_hardware(CATALOG)

    assert (found.accelerator, found.count) == ("nvidia-h100-80gb", 2)
    assert "570.86.15" in found.detail


def test_without_gpu_and_tpu_it_is_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that shows neither GPU nor TPU computes with its CPU."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("TPU_ACCELERATOR_TYPE", raising=False)

    found = detect_hardware(CATALOG)

    assert (found.accelerator, found.count) == ("cpu", 1)
