"""The wheel: it builds, holds what it needs and nothing else, and works where only it is installed."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*argv: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder, cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel in it; the libraries are borrowed, so that no network is needed."""
    folder = tmp_path_factory.mktemp("venv")
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    run(sys.executable, "-m", "pip", "-qq", "--python", folder, "install", "--no-deps", "--no-index", wheel)
    (site,) = (folder / "lib").glob("python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def test_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """Sample mail, rules of the demo and the type marker are in; tests, docs and benchmarks are not."""
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"mailrules/py.typed", "mailrules/demo/rules.yaml", "mailrules/demo/mail/2-invoice.eml"} <= names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"mailrules"}
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_command_runs_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    """`mailrules --version` and `python -m mailrules --version` say the version of pyproject.toml."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert version in run(installed / "mailrules", "--version", cwd=tmp_path)
    assert version in run(installed / "python", "-m", "mailrules", "--version", cwd=tmp_path)
    where = run(installed / "python", "-c", "import mailrules; print(mailrules.__file__)", cwd=tmp_path)
    assert Path(where).is_relative_to(installed.parent)


def test_locks_name_no_place() -> None:
    """The lock files have hashes for everything, and name no index, host or directory."""
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text()
        assert not [word for word in ("://", "--index-url", "--find-links", "/home") if word in text]
        pinned = [line for line in text.splitlines() if "==" in line and not line.startswith(" ")]
        assert len(pinned) > 20
        assert all(line.endswith("\\") for line in pinned)


def test_runtime_is_part_of_development() -> None:
    """What is tested is what is installed: each runtime pin stands in the development lock too."""
    pins = [
        {line.split()[0] for line in (ROOT / name).read_text().splitlines() if "==" in line}
        for name in ("requirements.lock", "requirements-dev.lock")
    ]
    assert pins[0] <= pins[1]
