"""`mailrules status`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mailrules import operations
from mailrules.adapters.store import Store
from mailrules.cli.app import main
from mailrules.control import ControlServer
from mailrules.operations import Live, Names
from mailrules.state import State
from tests.adapters.store.journal_words import at, baseline, decided, forward, record
from tests.json_contract import objects
from tests.lab.disk import SmallDisk

Capture = pytest.CaptureFixture[str]


def status(capsys: Capture, state: Path) -> dict[str, Any]:
    assert main(["status", "--json", "--state", str(state)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    (one,) = objects("status", captured.out)
    return one


def test_without_a_worker(state: Path, capsys: Capture) -> None:
    """What the journal knows; what only a worker could know is null."""
    got = status(capsys, state)
    assert got["worker"] is None
    (account,) = got["accounts"]
    assert (account["account"], account["connected"], account["watching"]) == ("work", None, None)
    assert [(r["rule"], r["hits"], r["held"]) for r in got["rules"]] == [
        ("filing", 3, 1),
        ("forwarding", 1, 0),
    ]
    assert got["counts"] == {"planned": 1, "held": 1, "failed": 1, "unknown": 1}
    assert [entry["id"] for kind in ("held", "failed", "unknown") for entry in got[kind]] == [3, 4, 5]


def test_with_a_worker(state: Path, capsys: Capture) -> None:
    """A worker tells about its connections, and about mail that waits to be judged."""
    with Store.open(state) as store:
        store.defer("work", "INBOX", 7, 30, reason="no answer", at=at())
        live = Live(
            worker={"pid": 7, "since": "2026-03-01T08:00:00Z"},
            connections=[
                {"account": "work", "mailboxes": ["INBOX"], "state": "watching", "error": None},
                {"account": "work", "mailboxes": ["Team"], "state": "waiting", "error": "refused"},
                {"account": "home", "mailboxes": ["INBOX"], "state": "watching", "error": None},
            ],
            names=Names(frozenset({"filing", "new"}), frozenset({"work", "home"})),
        )  # fmt: skip
        server = ControlServer(State(state, "test").socket())
        server.register("status", lambda arguments: operations.status(store, live=live))
        with server:
            got = status(capsys, state)
            assert main(["status", "--state", str(state)]) == 0
    home, work = got["accounts"]
    assert (home["connected"], home["watching"], home["error"]) == (True, True, None)
    assert (work["connected"], work["watching"], work["error"]) == (True, False, "refused")
    assert [(m["mailbox"], m["watching"], m["waiting"]) for m in work["mailboxes"]] == [
        ("INBOX", True, 1), ("Team", False, 0),
    ]  # fmt: skip
    assert work["lag"] > 3600
    assert home["lag"] == 0
    words = capsys.readouterr().out
    assert "The worker (process 7) runs since" in words
    assert "work: refused" in words


def test_words_say_what_to_do(state: Path, capsys: Capture) -> None:
    """Everything that waits for a person is shown with the next step, and nothing hostile with it."""
    assert main(["pause", "filing", "--state", str(state), "--reason", "holiday"]) == 0
    assert main(["status", "--state", str(state)]) == 0
    words = capsys.readouterr().out
    for part in (
        "No worker is running",
        "Paused: rule filing since",
        "(holiday)",
        "mailrules resume filing",
        "May have happened, may not",
        "mailrules retry ID",
        "Held (1):",
        "Failed (1):",
        "the mailbox is full",
        "Failed one\\x1b[31m",
    ):
        assert part in words


def test_what_waits_by_itself_is_shown(state: Path, capsys: Capture) -> None:
    """What is planned and what is tried again later is counted, with when, and with how to see it."""
    with Store.open(state) as store:
        (later,) = record(store, decided(15, forward("carol@example.net")))
        store.advance([later.id], frm="planned", to="later", at=at(), next_try=at(3600))
    assert status(capsys, state)["next_try"] == "2026-03-01T10:00:00.123456Z"
    assert main(["status", "--state", str(state)]) == 0
    said = (
        "1 effect is tried again later (next at 2026-03-01 10:00:00), 1 is planned: "
        "mailrules log --state later --state planned\n"
        "  mailrules run goes on with them.\n"
    )
    assert said in capsys.readouterr().out


def test_where_nothing_waits(alone: Path, capsys: Capture) -> None:
    """Nothing is said of what is not there."""
    with Store.open(alone / "empty") as store:
        baseline(store, (1, 1))
    assert status(capsys, alone / "empty")["next_try"] is None
    assert main(["status", "--state", str(alone / "empty")]) == 0
    assert "mailrules log" not in capsys.readouterr().out


def test_the_next_step_can_be_typed(state: Path, capsys: Capture) -> None:
    """A name with blanks in it is quoted as shells want it."""
    with Store.open(state) as store:
        store.pause("rule:all away", reason="too much", at=at())
    assert main(["status", "--state", str(state)]) == 0
    assert "mailrules resume 'all away'" in capsys.readouterr().out


def test_quarantine_is_shown(state: Path, capsys: Capture) -> None:
    """Messages that kept failing are listed until somebody deals with them."""
    with Store.open(state) as store:
        for _ in range(6):
            store.defer("work", "INBOX", 7, 30, reason="boom", at=at())
    got = status(capsys, state)
    assert got["quarantined"] == [
        {
            "account": "work", "mailbox": "INBOX", "uid": 30, "message_id": None, "subject": None, "tries": 6,
            "error": "boom",
        }
    ]  # fmt: skip
    assert main(["status", "--state", str(state)]) == 0
    assert "Quarantined" in capsys.readouterr().out


def test_no_state(alone: Path, capsys: Capture) -> None:
    """Neither worker nor state: where was looked."""
    assert main(["status"]) == 1
    assert "and no worker listens at" in capsys.readouterr().err
    assert not (alone.parent / "home" / "mailrules").exists()


def test_no_room_for_the_journal(small_disk: SmallDisk, capsys: Capture) -> None:
    """It says first that nothing is done, how much is free and how much is needed."""
    path = small_disk.path / "state"
    with Store.open(path) as store:
        baseline(store, (1, 1))
    small_disk.fill(leave=300_000)
    assert status(capsys, path)["room"] == {"enough": False, "free": small_disk.free, "needed": 838860}
    assert main(["status", "--state", str(path)]) == 0
    words = capsys.readouterr().out
    assert f"STOPPED: no room for the journal in {path}: 0.3 MB are free, 0.8 MB are needed." in words
