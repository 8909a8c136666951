"""`mailrules skip`."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailrules.adapters.store import Store
from mailrules.cli.app import main
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
