"""`mailrules resync`."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailrules.adapters.store import Store
from mailrules.cli.app import main
from mailrules.state import State
from tests.json_contract import objects
from tests.lab.journal import opened

Capture = pytest.CaptureFixture[str]
NOW = ["--baseline", "now"]


@pytest.fixture
def behind(state: Path) -> Path:
    """The state, with a generation file that knows of a later journal."""
    path = state / "generation"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"generation": 99}))
    return state


def words(text: str) -> str:
    return " ".join(text.replace("│", " ").split())


@pytest.mark.parametrize("options", [[], [*NOW, "--since", "1h"], ["--baseline", "then"]])
def test_say_which_mail_is_new(behind: Path, capsys: Capture, options: list[str]) -> None:
    """One of two choices, and both are explained."""
    assert main(["resync", "--yes", *options, "--state", str(behind)]) == 2
    said = words(capsys.readouterr().err)
    assert "--baseline now" in said or "'then' is not" in said
    assert options or "what has come since then" in said


@pytest.mark.parametrize("since", ["2999-01-01", "soon"])
def test_a_time_that_can_be(behind: Path, capsys: Capture, since: str) -> None:
    """Neither one that lies ahead nor one that is none."""
    assert main(["resync", "--yes", "--since", since, "--state", str(behind)]) == 2
    assert since in words(capsys.readouterr().err)


def test_it_asks_first(behind: Path, capsys: Capture) -> None:
    """Where nobody can be asked, nothing is done."""
    assert main(["resync", *NOW, "--state", str(behind)]) == 2
    assert "--yes does it without asking" in capsys.readouterr().err
    assert main(["status", "--state", str(behind)]) == 0, "looking is free"
    capsys.readouterr()
    assert main(["skip", "4", "--state", str(behind)]) == 1
    assert "mailrules resync --baseline now" in capsys.readouterr().err


def test_the_way_on(behind: Path, capsys: Capture) -> None:
    """It says what it does, and the journal is gone on with."""
    assert main(["resync", *NOW, "--yes", "--state", str(behind)]) == 0
    said = capsys.readouterr().out
    assert "knows 1 mailbox, and last looked there on 2026-03-01" in said
    assert "`mailrules run` goes on" in said
    assert main(["skip", "4", "--state", str(behind)]) == 0


def test_json(behind: Path, capsys: Capture) -> None:
    """One object, as the schema says; what may have happened is listed."""
    with Store.open(behind, put_back=True) as store:
        (held,) = [e["id"] for e in store.log() if e["state"] == "held"]
    with opened(behind / "journal.db") as connection:
        connection.execute("UPDATE effect SET once = 1, action = 'forward' WHERE id = ?", [held])
    assert main(["resync", "--since", "2h", "--yes", "--json", "--state", str(behind)]) == 0
    (done,) = objects("resync", capsys.readouterr().out)
    since = datetime.fromisoformat(done.pop("since"))
    assert timedelta(hours=2) <= datetime.now(UTC) - since < timedelta(hours=2, minutes=5)
    assert done == {"mailboxes": [{"account": "work", "mailbox": "INBOX"}], "unknown": [held]}
    with Store.open(behind) as store:
        assert store.resync_since("work", "INBOX") == since


def test_a_lost_journal(behind: Path, capsys: Capture) -> None:
    """A new one is begun, and what that means is said."""
    (behind / "journal.db").unlink()
    assert main(["resync", *NOW, "--yes", "--state", str(behind)]) == 0
    said = words(capsys.readouterr().out)
    assert "knows no mailbox: it is new" in said and "`mailrules apply --since`" in said
    Store.open(behind).close()


def test_nothing_to_resync(alone: Path, capsys: Capture) -> None:
    """Without a state there is nothing, and none is made."""
    assert main(["resync", *NOW, "--yes"]) == 1
    assert "no state in" in capsys.readouterr().err
    assert not (alone.parent / "home" / "mailrules").exists()


def test_not_beside_a_worker(behind: Path, capsys: Capture) -> None:
    """It takes the lock."""
    with State(behind, "test").lock("run"):
        assert main(["resync", *NOW, "--yes", "--state", str(behind)]) == 77
    assert "Stop it first." in capsys.readouterr().err


def test_a_journal_that_is_none(behind: Path, capsys: Capture) -> None:
    """Is not made one."""
    shutil.copy(__file__, behind / "journal.db")
    assert main(["resync", *NOW, "--yes", "--state", str(behind)]) == 1
    assert "is not a journal" in capsys.readouterr().err
