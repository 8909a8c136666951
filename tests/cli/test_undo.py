"""`mailrules undo`, as far as it needs no server."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailrules.cli.app import main
from tests.json_contract import objects

Capture = pytest.CaptureFixture[str]

RULES = """
accounts:
  home: {host: 127.0.0.1, port: 9, security: none, username: u, password: {env: NONE}}
rules: [{name: filing, when: {subject: x}, then: [keep]}]
"""


@pytest.fixture
def config(state: Path) -> Path:
    """A file whose accounts the journal does not know."""
    path = state.parent / "rules.yaml"
    path.write_text(RULES)
    return path


def test_somebody_must_say_what(config: Path, state: Path, capsys: Capture) -> None:
    """Without effects, a run, a message or a time nothing is done; nor if nobody can be asked."""
    assert main(["undo", "--state", str(state)]) == 2
    assert "--since 1h" in capsys.readouterr().err
    assert main(["undo", "--rule", "filing", "--state", str(state)]) == 2
    assert main(["undo", "1", "--state", str(state)]) == 2
    assert "--yes" in capsys.readouterr().err


def test_an_effect_that_is_not_there(config: Path, state: Path, capsys: Capture) -> None:
    """A wrong number is a mistake that is named."""
    assert main(["undo", "77", "--yes", "--state", str(state)]) == 2
    assert "there is no effect 77" in capsys.readouterr().err


def test_an_account_that_is_not_there(config: Path, state: Path, capsys: Capture) -> None:
    """What can't be asked for is left, with the reason, in JSON as its schema says."""
    assert main(["undo", "1", "3", "--dry-run", "--json", "--state", str(state)]) == 1
    captured = capsys.readouterr()
    *taken, last = objects("undo", captured.out)
    assert [(t["id"], t["undo"]) for t in taken] == [(1, None), (3, None)]
    assert all("no such account" in t["because"] for t in taken)
    assert last == {"summary": {"effects": 2, "undone": 0, "dropped": 0, "begun": 0, "left": 2, "run": None}}


def test_nothing_fits(config: Path, state: Path, capsys: Capture) -> None:
    """A rule that did nothing: said, and no more."""
    assert main(["undo", "--rule", "other", "--since", "1h", "--yes", "--state", str(state)]) == 0
    assert "nothing to take back" in capsys.readouterr().out
