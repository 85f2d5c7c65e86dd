"""giq installed from a wheel, and from a wheel built from the sdist, finds what ships with it: from any folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SUPPORTED = ("3.11", "3.12", "3.13")


def interpreters() -> dict[str, str]:
    """The supported Pythons on this machine, by version; this one is always among them."""
    found = {f"{sys.version_info.major}.{sys.version_info.minor}": sys.executable}
    places = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep)]
    places += sorted((Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions").glob("*/bin"))
    for version in SUPPORTED:
        for place in places:
            candidate = place / f"python{version}"
            if version not in found and candidate.is_file() and works(candidate, version):
                found[version] = str(candidate)
    return found


def works(candidate: Path, version: str) -> bool:
    """Whether the interpreter starts and is of that version (a pyenv shim may only complain)."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    answer = subprocess.run([candidate, "-c", code], capture_output=True, text=True, check=False)
    return answer.stdout.strip() == version


def oldest_and_newest() -> list[str]:
    """The two ends of the supported Pythons at hand."""
    versions = sorted(interpreters(), key=lambda version: int(version.split(".")[1]))
    return sorted({versions[0], versions[-1]})


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A wheel of the checkout, and a wheel of the sdist of the checkout."""
    folder = tmp_path_factory.mktemp("dist")
    code = "import sys, hatchling.build as b, os; os.chdir(sys.argv[1]); print(getattr(b, sys.argv[2])(sys.argv[3]))"

    def build(what: str, source: Path, target: Path) -> Path:
        target.mkdir(exist_ok=True)
        command = [str(environment / "bin" / "python"), "-c", code, str(source), f"build_{what}", str(target)]
        name = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]
        return target / name

    environment = folder / "build-env"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    pip_install(environment, "hatchling>=1.25")
    sdist = build("sdist", ROOT, folder / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    unpacked = next((folder / "unpacked").iterdir())
    return {"wheel": build("wheel", ROOT, folder / "wheel"), "sdist": build("wheel", unpacked, folder / "from-sdist")}


def pip_install(environment: Path, *what: str) -> None:
    """Install into a virtual environment."""
    command = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*command, *what], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(600)
@pytest.mark.parametrize("version", oldest_and_newest())
def test_what_ships_is_found_from_another_folder(version: str, built: dict[str, Path], tmp_path: Path) -> None:
    """On the oldest and newest Python at hand, both wheels list the catalog and the curves that ship."""
    environment = tmp_path / "venv"
    subprocess.run([interpreters()[version], "-m", "venv", str(environment)], check=True)
    for kind in ("wheel", "sdist"):
        extra = ["--force-reinstall", "--no-deps"] if kind == "sdist" else []
        pip_install(environment, *extra, str(built[kind]))
        home = {"GIQ_HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"]}
        giq = str(environment / "bin" / "giq")
        listed = subprocess.run(
            [giq, "models", "list", "-o", "json"], cwd=tmp_path, capture_output=True, text=True, check=True, env=home
        )
        shown = subprocess.run(
            [giq, "benchmarks", "list"], cwd=tmp_path, capture_output=True, text=True, check=True, env=home
        )

        assert {"llama-3-8b", "gpt-oss-20b"} <= {row["name"] for row in json.loads(listed.stdout)}
        assert "What ships" in shown.stdout
        assert "llama-3-8b" in shown.stdout


def test_the_wheel_holds_what_ships_and_no_tests(built: dict[str, Path], tmp_path: Path) -> None:
    """Profiles, benchmarks and templates are inside the package; tests and results are not."""
    for kind in ("wheel", "sdist"):
        target = tmp_path / kind
        shutil.unpack_archive(built[kind], target, format="zip")
        shipped = target / "giq" / "_shipped"

        assert (shipped / "profiles" / "models" / "llama-3-8b.yaml").is_file()
        assert list((shipped / "manifests").rglob("*.j2"))
        assert (shipped / "benchmarks" / "README.md").is_file()
        assert (shipped / "benchmarks" / "estimates" / "llama-3-8b.parquet").is_file()
        assert (shipped / "benchmarks" / "published.parquet").is_file()
        assert not (target / "tests").exists()
