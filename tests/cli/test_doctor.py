"""`mailrules doctor`: one line for each thing, 1 if one is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailrules.cli.app import main
from tests.json_contract import objects
from tests.lab.dovecot import Dovecot
from tests.lab.program import Program, account

Capture = pytest.CaptureFixture[str]
RULES = "accounts: {a: {host: imap.example.org, username: b, password: {env: %s}}}\nrules: []\n"


def test_all_is_well(alone: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """Offline; the secret is read and not shown."""
    monkeypatch.setenv("THE_PASSWORD", "hunter2-is-long")
    Path("rules.yaml").write_text(RULES % "THE_PASSWORD")
    assert main(["doctor", "--offline"]) == 0
    text = capsys.readouterr().out
    assert "✗" not in text
    assert "✓ a: secret: can be read from the environment variable THE_PASSWORD" in text
    assert "hunter2" not in text
    assert main(["doctor", "--offline", "--json"]) == 0
    *lines, last = objects("doctor", capsys.readouterr().out)
    assert last == {"summary": {"ok": True, "failed": 0}}
    assert [line["check"] for line in lines] == [
        "versions", "configuration", "clock", "state", "disk", "journal", "worker", "open files", "secret",
    ]  # fmt: skip


def test_what_is_not_done_is_mentioned(state: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """It is no fault, but not all is well either."""
    monkeypatch.setenv("THE_PASSWORD", "hunter2-is-long")
    Path("rules.yaml").write_text(RULES % "THE_PASSWORD")
    assert main(["doctor", "--offline", "--state", str(state)]) == 0
    text = capsys.readouterr().out
    assert "effects in the journal that are not done: 1 failed, 1 held, 1 planned, 1 unknown" in text
    assert "Nothing is wrong here, but not everything is done: mailrules status" in text
    assert main(["doctor", "--offline", "--json", "--state", str(state)]) == 0
    lines = objects("doctor", capsys.readouterr().out)
    assert "waiting" in [line.get("check") for line in lines]


def test_what_is_wrong_has_a_next_step(alone: Path, capsys: Capture) -> None:
    """1, and an arrow."""
    Path("rules.yaml").write_text(RULES % "NOT_SET_ANYWHERE")
    assert main(["doctor", "--offline"]) == 1
    text = capsys.readouterr().out
    assert "✗ a: secret: the environment variable NOT_SET_ANYWHERE is not set" in text
    assert "  → Set it, or use another source for the password." in text
    assert "1 thing to see to." in text


def test_without_a_file(alone: Path, capsys: Capture) -> None:
    """It says where it looked, and what makes one; the rest is looked at all the same."""
    assert main(["doctor", "--json"]) == 1
    lines = objects("doctor", capsys.readouterr().out)
    wrong = next(line for line in lines if line.get("ok") is False)
    assert wrong["check"] == "configuration"
    assert "./rules.yaml" in wrong["message"]
    assert wrong["next"] == "mailrules init makes one."
    assert "state" in [line.get("check") for line in lines]


def test_with_a_worker(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """One that runs is asked, and named; the doctor changes nothing beside it."""
    rules = "accounts:\n" + account(dovecot, user) + "rules: [{name: a, when: always, then: [keep]}]\n"
    with Program(tmp_path, rules) as program:
        program.start()
        program.wait_for("watched from now on")
        lines = program.json("doctor")
        assert lines[-1] == {"summary": {"ok": True, "failed": 0}}
        (worker,) = [line for line in lines if line.get("check") == "worker"]
        assert worker["message"].startswith("running: `mailrules run`, process ")
        assert program.worker is not None
        assert program.worker.poll() is None
