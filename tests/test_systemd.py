"""The systemd unit: what it grants, what it names, and that systemd understands every line."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mailrules.cli.app import build

UNIT = Path(__file__).parent.parent / "systemd" / "mailrules.service"
SCRIPTS = UNIT.with_name("mailrules.service.d") / "scripts.conf"

needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze here")


def settings(path: Path) -> dict[str, list[str]]:
    """Directive -> its values, in order."""
    found: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        if not line.startswith(("#", "[")) and "=" in line:
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def installed(folder: Path, *, scripts: bool = False) -> Path:
    """The unit as it would stand in /etc/systemd/system, with a program that exists."""
    program = folder / "mailrules"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = folder / UNIT.name
    unit.write_text(re.sub(r"(?m)^(Exec\w+)=\S+", rf"\1={program}", UNIT.read_text()))
    if scripts:
        (folder / "mailrules.service.d").mkdir()
        shutil.copy(SCRIPTS, folder / "mailrules.service.d")
    return unit


@needs_systemd
@pytest.mark.parametrize("scripts", [False, True], ids=["alone", "with scripts.conf"])
def test_systemd_understands_it(tmp_path: Path, *, scripts: bool) -> None:
    """`systemd-analyze verify` has nothing to say: no directive is misspelt or unknown."""
    unit = installed(tmp_path, scripts=scripts)
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd
@pytest.mark.parametrize(("scripts", "exposure"), [(False, "1.1"), (True, "1.5")])
def test_exposure(tmp_path: Path, *, scripts: bool, exposure: str) -> None:
    """The exposure is at most 1.5, alone and with the drop-in, and what the comments say it is."""
    unit = installed(tmp_path, scripts=scripts)
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", unit],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    said = re.search(r"exposure level for \S+ ([\d.]+)", done.stdout)
    assert said is not None
    assert float(said[1]) <= 1.5
    assert exposure in SCRIPTS.read_text()
    if re.search(
        r"\b252\b", subprocess.run(["systemctl", "--version"], capture_output=True, text=True).stdout
    ):
        assert said[1] == exposure  # other versions of systemd count a little differently


def test_bad_configuration_is_not_restarted() -> None:
    """What would end the same way again (usage, permission, configuration) is not restarted."""
    (statuses,) = settings(UNIT)["RestartPreventExitStatus"]
    assert {"2", "64", "65", "66", "77", "78"} == set(statuses.split())


def test_every_line_has_a_reason() -> None:
    """In both files, a comment stands before each directive or the small group it is in."""
    for path in (UNIT, SCRIPTS):
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            if "=" not in line or line.startswith("#"):
                continue
            before = number
            while before and "=" in lines[before] and not lines[before].startswith("#"):
                before -= 1
            known = line.split("=")[0] in {"Description", "Documentation", "WantedBy"}
            assert known or lines[before].startswith("#"), f"{path.name}:{number + 1}: {line}: no reason"
            assert number - before <= 4, f"{path.name}:{number + 1}: {line}: the reason is too far above"


@pytest.mark.parametrize("directive", ["ExecStart", "ExecReload"])
def test_its_commands_exist(directive: str) -> None:
    """What the unit starts is a command of this program, with options that it takes."""
    (line,) = settings(UNIT)[directive]
    program, *words = line.split()
    assert program == "/opt/mailrules/bin/mailrules"
    group = build()
    name, command, rest = group.resolve_command(group.make_context("mailrules", list(words)), words)
    command.make_context(name, rest)


def test_directories_are_where_mailrules_looks() -> None:
    """State, runtime and configuration directories are the ones of the program's own defaults."""
    unit = settings(UNIT)
    for directive in ("StateDirectory", "RuntimeDirectory", "ConfigurationDirectory"):
        assert unit[directive] == ["mailrules"]
    assert unit["StateDirectoryMode"] == unit["RuntimeDirectoryMode"] == ["0700"]
