"""`mailrules retry`."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailrules.cli.app import main
from tests.json_contract import objects

Capture = pytest.CaptureFixture[str]


def test_retry(state: Path, capsys: Capture) -> None:
    """The effects are planned again, and shown as they are now."""
    assert main(["retry", "4", "5", "--json", "--state", str(state)]) == 0
    assert [(e["id"], e["state"]) for e in objects("log", capsys.readouterr().out)] == [
        (4, "planned"), (5, "planned"),
    ]  # fmt: skip


def test_retry_of_what_is_done(state: Path, capsys: Capture) -> None:
    """What can't be tried again is named; nothing is changed."""
    assert main(["retry", "4", "1", "77", "--state", str(state)]) == 1
    said = capsys.readouterr().err
    assert "effect 1 (filing flag) is done" in said
    assert "there is no effect 77" in said
    assert main(["log", "--state", str(state), "--state", "failed", "--json"]) == 0
    assert len(objects("log", capsys.readouterr().out)) == 1
