"""`mailrules completion`: scripts that shells take, and the names that they complete."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mailrules.cli.app import main
from mailrules.cli.completion import SHELLS
from tests.json_contract import objects

Capture = pytest.CaptureFixture[str]
RULES = """
accounts:
  work: {host: imap.example.org, username: me, password: {env: X}}
rules:
  - {name: invoices, when: always, then: [keep]}
  - {name: in between, when: {frm: wrong}, then: [keep]}
  - {name: other, when: always, then: [keep]}
"""


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_takes_its_script(shell: str, capsys: Capture) -> None:
    """Where the shell is there, it finds nothing wrong with it."""
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "_MAILRULES_COMPLETE" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n", "/dev/stdin"], input=script, text=True, check=True)
    assert main(["completion", shell, "--json"]) == 0
    assert objects("completion", capsys.readouterr().out)[0]["shell"] == shell


def test_the_shell_that_is_at_work(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """Unless another one is named; one we don't know is 2."""
    monkeypatch.setenv("SHELL", "/usr/bin/zsh")
    assert main(["completion"]) == 0
    assert "#compdef mailrules" in capsys.readouterr().out
    assert main(["completion", "tcsh"]) == 2
    assert "bash, zsh or fish" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("mailrules plan --rule in", ["invoices", "in\\ between"]),
        ("mailrules plan --rule in\\ b", ["in\\ between"]),
        ("mailrules log --account ", ["work"]),
        ("mailrules pause ", ["invoices", "in\\ between", "other", "work"]),
        ("mailrules resume o", ["other"]),
        ("mailrules login ", ["work"]),
        ("mailrules docto", ["doctor"]),
        ("mailrules plan --config no.yaml --rule ", []),
        ("mailrules log --state d", ["done"]),
        ("mailrules log --action mo", ["move"]),
        ("mailrules log --since ", []),
        ("mailrules init --security s", ["starttls"]),
        ("mailrules init --provider gm", ["gmail", "gmx", "gmx.com"]),
        ("mailrules completion z", ["zsh"]),
    ],
)
def test_names_are_completed(words: str, expected: list[str], alone: Path) -> None:
    """Those of the file, also while it is wrong: one is about to mend it. And the program's words."""
    Path("rules.yaml").write_text(RULES)
    environment = {
        **os.environ, "_MAILRULES_COMPLETE": "complete_bash", "COMP_WORDS": words,
        "COMP_CWORD": str(len(shlex.split(words)) - (not words.endswith(" "))),
    }  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-m", "mailrules"], env=environment, capture_output=True, text=True, check=False
    )
    assert [line for line in ran.stdout.splitlines() if line] == expected
    assert ran.stderr == ""


def test_bash_completes(alone: Path, capsys: Capture) -> None:
    """A real shell, asked as it asks when Tab is pressed."""
    Path("rules.yaml").write_text(RULES)
    assert main(["completion", "bash"]) == 0
    Path("complete.sh").write_text(
        capsys.readouterr().out
        + f'mailrules() {{ {sys.executable} -m mailrules "$@"; }}\n'
        + "COMP_WORDS=(mailrules log --si) COMP_CWORD=2\n"
        + '_mailrules_completion() { COMPREPLY=( $( env COMP_WORDS="${COMP_WORDS[*]}" '
        + f"COMP_CWORD=$COMP_CWORD _MAILRULES_COMPLETE=complete_bash {sys.executable} -m mailrules ) ); }}\n"
        + '_mailrules_completion mailrules; echo "${COMPREPLY[@]}"\n'
    )
    ran = subprocess.run(["bash", "complete.sh"], capture_output=True, text=True, check=True)
    assert ran.stdout == "--since\n"
