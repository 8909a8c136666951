"""`mailrules skip`."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailrules.adapters.store import Store
from mailrules.cli.app import main
from tests.adapters.store.journal_words import at
from tests.json_contract import objects

Capture = pytest.CaptureFixture[str]


def test_skip(state: Path, capsys: Capture) -> None:
    """The effects are dropped, and shown as they are now."""
    assert main(["skip", "3", "4", "--json", "--state", str(state)]) == 0
    assert {e["state"] for e in objects("log", capsys.readouterr().out)} == {"skipped"}
    with Store.open(state, read_only=True) as store:
        assert store.counts() == {"planned": 1, "unknown": 1}


def test_skip_for_people(state: Path, capsys: Capture) -> None:
    """As a line of the log."""
    assert main(["skip", "5", "--state", str(state)]) == 0
    assert "5 skipped  forwarding: forward to bob@example.net" in capsys.readouterr().out


def test_all_that_is_held_of_a_rule(state: Path, capsys: Capture) -> None:
    """With --rule, what is held of it is dropped, and nothing else of it; where nothing is, that is said."""
    with Store.open(state) as store:
        store.advance([2], frm="planned", to="held", at=at(1))
    assert main(["skip", "--rule", "filing", "--json", "--state", str(state)]) == 0
    assert {e["id"]: e["state"] for e in objects("log", capsys.readouterr().out)} == {
        2: "skipped",
        3: "skipped",
    }
    assert main(["skip", "--rule", "filing", "--state", str(state)]) == 0
    got = capsys.readouterr()
    assert (got.out, got.err) == ("", "nothing is held of rule 'filing'.\n")
    assert main(["skip", "--rule", "fling", "--state", str(state)]) == 1


@pytest.mark.parametrize("arguments", [[], ["3", "--rule", "filing"]])
def test_ids_or_a_rule(state: Path, arguments: list[str]) -> None:
    """One of the two is said: anything else is a mistake of usage."""
    assert main(["skip", *arguments, "--state", str(state)]) == 2
