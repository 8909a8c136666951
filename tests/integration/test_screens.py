"""Every screen fits a terminal of 80 columns, whatever is in the mail, and NO_COLOR is obeyed."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len

from mailrules.cli.app import COMMANDS
from tests.lab import terminal
from tests.lab.dovecot import PASSWORD, Dovecot
from tests.lab.program import account

ROOT = Path(__file__).parents[2]
LONG = "a-very-long-name-of-something-that-nobody-would-choose-and-yet-there-it-is-in-the-file-of-somebody"
WIDE = "\u4f60\u597d\u4e16\u754c" * 40
MAIL = (
    f'From: "{WIDE}" <{LONG}@example.org>\r\nSubject: {WIDE}\r\nMessage-ID: <{LONG}@x.example>\r\n'
    f"List-Id: <{LONG}.example>\r\n\r\nx\r\n"
).encode()
RULES = f"""
rules:
  - name: "{LONG}"
    when: {{subject: {{regex: "."}}}}
    then: [flag: "${LONG[:60]}", copy: "{LONG[:100]}", log: "{{{{ message.subject }}}}"]
"""
SCREENS = (
    ["check"], ["check", "-v"], ["check", "--online"], ["plan"], ["plan", "-v"], ["apply"], ["log"],
    ["log", "-v"], ["status"], ["explain", "--uid", "1"], ["explain", "m.eml"], ["undo", "--run", "1"],
    ["pause", LONG], ["status"], ["resume", LONG], ["doctor"], ["test"], ["login", "x"],
    ["init", "--yes"], ["nonsense"],
)  # fmt: skip
ANSWERS = {r"\[y/N\]: ": "y"}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "TERM": "xterm-256color", "LANG": "C.UTF-8",
        "PYTHONPATH": str(ROOT), "LAB_PASSWORD": PASSWORD, "NO_COLOR": "1",
    }  # fmt: skip


def run(arguments: list[str], tmp_path: Path, environment: dict[str, str]) -> str:
    program = [sys.executable, "-m", "mailrules", *arguments]
    return terminal.watch(program, ANSWERS, directory=tmp_path, environment=environment)[1]


def shown(stream: str) -> list[str]:
    assert not re.search(r"\x1b\[(?:[0-9;]*;)?[34][0-9][;m]", stream), "colour in spite of NO_COLOR"
    assert "Traceback" not in stream
    assert "should not happen" not in stream
    return terminal.screen(stream)


@pytest.mark.timeout(300)
def test_long_and_wide_things_fit(
    dovecot: Dovecot, user: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    """Tables cut, words wrap: no line is broken by the terminal itself."""
    dovecot.append(user, MAIL)
    (tmp_path / "rules.yaml").write_text("accounts:\n" + account(dovecot, user) + RULES)
    (tmp_path / "m.eml").write_bytes(MAIL)
    wrong = []
    for arguments in SCREENS:
        for line in shown(run(arguments, tmp_path, environment)):
            if cell_len(line) > 80:
                wrong.append((arguments, cell_len(line), line))
    assert not wrong


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_fits_a_terminal(name: str, tmp_path: Path, environment: dict[str, str]) -> None:
    """With frames, as it is drawn there."""
    stream = run([*([name] if name else []), "--help"], tmp_path, environment)
    lines = shown(stream)
    assert len(lines) > 5
    assert not [line for line in lines if cell_len(line) > 80]
