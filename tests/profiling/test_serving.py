"""What is told of a server's process."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from giq.profiling.serving import installed_versions, without_secrets


def test_versions_are_read_from_what_is_installed(tmp_path: Path) -> None:
    """Those of the packages that matter for speed, and no others."""
    for name, version in (("torch", "2.11.0+cu130"), ("vllm", "0.24.0"), ("requests", "2.0")):
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")

    assert installed_versions(tmp_path) == {"torch": "2.11.0+cu130", "vllm": "0.24.0"}


@given(st.sampled_from(["--api-key", "--hf-token", "--ssl-keyfile-password"]), st.booleans())
def test_secrets_in_a_command_line_are_never_told(option: str, joined: bool) -> None:
    """Neither behind a blank nor behind `=`, nor a second key of one option; what is no secret stays."""
    words = [f"{option}=hunter2"] if joined else [option, "hunter2", "hunter3"]
    told = without_secrets(["vllm", "serve", *words, "--max-num-batched-tokens", "8192"])

    assert not any("hunter" in word for word in told)
    assert told[-2:] == ("--max-num-batched-tokens", "8192")
