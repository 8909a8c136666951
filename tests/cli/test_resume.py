"""`mailrules resume`."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailrules.cli.app import main
from tests.json_contract import objects

Capture = pytest.CaptureFixture[str]


def test_resume_lets_go(state: Path, capsys: Capture) -> None:
    """What the rule held is planned again."""
    assert main(["pause", "filing", "--state", str(state)]) == 0
    capsys.readouterr()
    assert main(["resume", "filing", "--json", "--state", str(state)]) == 0
    (event,) = objects("pause", capsys.readouterr().out)
    assert (event["target"], event["changed"], event["planned"]) == ("rule:filing", True, 1)


def test_names_keep_their_case(state: Path, capsys: Capture) -> None:
    """What is paused and resumed is named as it is written."""
    assert main(["pause", "work/INBOX", "--state", str(state)]) == 0
    assert main(["resume", "work/INBOX", "--state", str(state)]) == 0
    out = capsys.readouterr().out
    assert "Mailbox 'work/INBOX' is paused." in out and "Mailbox 'work/INBOX' goes on" in out


def test_resume_of_what_goes_on(state: Path, capsys: Capture) -> None:
    """What was not paused is said not to have been; effects that a limit held are let go all the same."""
    assert main(["resume", "filing", "--state", str(state)]) == 0
    assert capsys.readouterr().out == "Rule 'filing' was not paused; 1 held effect will be done.\n"
    assert main(["resume", "forwarding", "work", "--state", str(state)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Rule 'forwarding' was not paused.", "Account 'work' was not paused.",
    ]  # fmt: skip
