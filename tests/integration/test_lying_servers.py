"""Servers that lie or lack what others have: what is done stays the same."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailrules import config as configuration
from mailrules.adapters.store import Store
from mailrules.house import House
from mailrules.performing import turns
from mailrules.planning.planned import Selection
from mailrules.planning.planner import Planner
from tests.lab.dovecot import message
from tests.lab.journal import opened
from tests.lab.model import Words, everything, whole_words
from tests.lab.program import Program
from tests.lab.scripted import CUT, FULL, ScriptedServer

RULES = """
rules:
  - name: substring
    when: {subject: voic}
    then: [{move: Found}]
  - name: sender
    when: {from: {localpart: {contains: an}}, body: hello}
    then: [{flag: flagged}]
  - name: small
    when: {larger_than: 3KB}
    then: [{copy: Large}]
  - name: grey
    when: {subject: "grün"}
    then: [{move: Found}]
"""
MAILS = [
    message(1, subject="an invoice"),
    message(2, subject="nothing of that kind"),
    message(3, subject="=?utf-8?q?Gr=C3=BCn?="),
    message(4, subject="big", body="x" * 4000),
    message(5, subject="other", **{"from": "Zed <zed@example.test>"}),
]
EXPECTED = {
    "INBOX": {2, 4, 5},
    "Found": {1, 3},
    "Large": {4},
}


def config(port: int, *, trust: bool = False) -> str:
    return (
        f"accounts:\n  work:\n    host: 127.0.0.1\n    port: {port}\n    security: none\n"
        "    username: me\n    address: me@example.test\n    password: {env: SCRIPTED}\n"
        f"    trust_search: {'true' if trust else 'false'}\n" + RULES
    )


def found(server: ScriptedServer) -> dict[str, set[int]]:
    """Which of the mails are in which mailbox, by their number."""
    with server.lock:
        return {
            name: {int(mail.fields("message-id").strip("<").partition(".")[0]) for mail in box.mails}
            for name, box in server.boxes.items()
            if box.mails
        }


def work(server: ScriptedServer, folder: Path, *, status: int | None = 0) -> Program:
    """A first look, then the mails, then a sweep."""
    program = Program(folder, config(server.port), environment={"SCRIPTED": server.password})
    program.run("run", "--once")
    for raw in MAILS:
        server.box().add(raw)
    program.run("run", "--once", status=status)
    return program


@pytest.fixture(params=["substring", "whole words", "everything", "refused", "badcharset"])
def liar(request: pytest.FixtureRequest) -> Iterator[ScriptedServer]:
    words: dict[str, Words] = {"whole words": whole_words, "everything": everything}
    options = {"search": words[request.param]} if request.param in words else {}
    with ScriptedServer(**options) as server:
        if request.param == "refused":
            server.script(rb"UID SEARCH .*(SUBJECT|FROM|BODY|LARGER)", b"{tag} NO [UNAVAILABLE] no\r\n")
        if request.param == "badcharset":
            server.script(rb"UID SEARCH.*CHARSET", b"{tag} NO [BADCHARSET (US-ASCII)] no\r\n")
        yield server


def test_a_search_that_lies_changes_nothing(liar: ScriptedServer, tmp_path: Path) -> None:
    """With trust_search off, whatever SEARCH says of text, the same mail goes to the same place."""
    work(liar, tmp_path)
    assert found(liar) == EXPECTED
    assert not any(b"SUBJECT" in line or b"BODY " in line for line in liar.commands if b"SEARCH" in line)


@pytest.mark.parametrize(
    "missing", [("MOVE",), ("MOVE", "UIDPLUS"), ("IDLE",), ("LITERAL+",), ("SPECIAL-USE", "NAMESPACE")]
)
def test_servers_without_what_others_have(missing: tuple[str, ...], tmp_path: Path) -> None:
    """Without MOVE, UIDPLUS, IDLE, LITERAL+, SPECIAL-USE or NAMESPACE the outcome is the same."""
    capability = " ".join(word for word in FULL.split() if word not in missing)
    with ScriptedServer(capability=capability) as server:
        work(server, tmp_path)
        assert found(server) == EXPECTED


def test_a_move_without_copyuid(tmp_path: Path) -> None:
    """A server that does not name the new UIDs is asked; the move counts once."""
    with ScriptedServer(copyuid=lambda *_: b"") as server:
        program = work(server, tmp_path)
        assert found(server) == EXPECTED
        assert {e["state"] for e in program.log()} == {"done"}


@pytest.mark.parametrize("command", [rb"UID FETCH", rb"UID (MOVE|COPY)", rb"UID STORE", rb"UID SEARCH"])
def test_a_connection_that_is_cut_at_a_command(command: bytes, tmp_path: Path) -> None:
    """A connection cut at any command is a passing failure; the next run finishes, once."""
    with ScriptedServer() as server:
        program = Program(tmp_path, config(server.port), environment={"SCRIPTED": server.password})
        program.run("run", "--once")
        for raw in MAILS:
            server.box().add(raw)
        server.script(command, CUT, times=1)
        program.run("run", "--once", status=75)
        program.run("run", "--once")
        assert found(server) == EXPECTED
        assert {e["state"] for e in program.log()} == {"done"}


def test_a_cut_at_one_set_costs_no_other(tmp_path: Path) -> None:
    """While the server is at a set, the last one's end is written: a cut there leaves one known, one to be
    asked for, and one not begun.
    """
    with ScriptedServer() as server:
        program = Program(tmp_path, config(server.port), environment={"SCRIPTED": server.password})
        program.run("run", "--once")
        program.config.write_text(config(server.port).split("rules:")[0] + THREE_PLACES)
        for raw in MAILS[:3]:
            server.box().add(raw)
        seen: list[tuple[dict[str, str], list[str]]] = []

        def in_hand() -> list[str]:
            with opened(f"file:{program.state / 'journal.db'}?mode=ro", uri=True) as journal:
                return [uids for (uids,) in journal.execute("SELECT uids FROM in_hand ORDER BY uids")]

        def cut(session: object, line: bytes) -> object:
            until = time.monotonic() + 10
            states: dict[str, str] = {}
            while states.get("first") != "done" and time.monotonic() < until:
                states = {entry["rule"]: entry["state"] for entry in program.log()}
            seen.append((states, in_hand()))
            return CUT

        server.script(rb"UID MOVE .*Second", cut, times=1)
        program.run("run", "--once", status=75)
        assert seen == [({"first": "done", "second": "running", "third": "planned"}, ["2"])]
        assert in_hand() == [] and found(server) == {"First": {1}, "INBOX": {2, 3}}
        states = {entry["rule"]: entry["state"] for entry in program.log()}
        assert states == {"first": "done", "second": "running", "third": "planned"}
        program.run("run", "--once")
        assert found(server) == {"First": {1}, "Second": {2}, "Third": {3}}
        assert [e["state"] for e in program.log()] == ["done"] * 3 and in_hand() == []


THREE_PLACES = """
rules:
  - {name: first, when: {subject: invoice}, then: [{move: First}]}
  - {name: second, when: {subject: nothing}, then: [{move: Second}]}
  - {name: third, when: {subject: grün}, then: [{move: Third}]}
"""


def test_a_server_without_idle_is_polled(tmp_path: Path) -> None:
    """Where there is no IDLE, the worker looks by itself and says so."""
    capability = FULL.replace(" IDLE", "")
    with ScriptedServer(capability=capability) as server:
        program = Program(tmp_path, config(server.port), environment={"SCRIPTED": server.password})
        with program:
            program.start()
            program.wait_for("watched from now on")
            program.wait_for(program.watching)
            assert program.stop() == 0
        assert not any(line.upper().startswith(b"IDLE") for line in server.commands)


def test_mail_announced_with_the_idle_answer_is_seen(tmp_path: Path) -> None:
    """EXISTS in one piece with the `+` of IDLE wakes the worker as if it had come later."""
    with ScriptedServer() as server:
        program = Program(tmp_path, config(server.port), environment={"SCRIPTED": server.password})
        program.run("run", "--once")
        server.idle_answer = b"+ idling\r\n* 1 EXISTS\r\n"
        added = []

        def arrive(session: object, line: bytes) -> None:
            if not added:
                added.append(server.box().add(MAILS[0]))

        server.script(rb"^IDLE", arrive, then_model=True)
        with program:
            program.start()
            program.wait_for("rule=substring move to=Found done", timeout=10)
            assert program.stop() == 0


def test_messages_that_look_alike_are_each_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two with the same header, date and size one is moved, then the connection is cut: the copy of the
    other one is not there yet, and it is not taken away.
    """
    monkeypatch.setattr(turns, "LARGEST_SET", 1)
    monkeypatch.setenv("SCRIPTED", "pw")
    with ScriptedServer(password="pw") as server:
        first = message(1, subject="alike", body="one")
        for raw in (first, first.replace(b"one", b"two")):
            server.box().add(raw)
        server.box().add(message(2, subject="another"))
        for name in ("There", "Elsewhere"):
            server.box(name)
        path = tmp_path / "rules.yaml"
        path.write_text(config(server.port).split("rules:")[0] + ALIKE)
        seen: list[bytes] = []

        def second(session: object, line: bytes) -> object:
            seen.append(line)
            return CUT if len(seen) == 2 else None

        server.script(rb"UID MOVE", second)
        for _ in range(2):
            with Store.open(tmp_path / "state") as store:
                house = House(configuration.load(path), store)
                house.begin()
                assert list(Planner(house, Selection()).apply(over_brakes=True))
        assert [mail.raw.rstrip()[-3:] for mail in server.box("There").mails] == [b"one", b"two"]
        assert not server.box().mails


ALIKE = """
rules:
  - {name: alike, when: {subject: alike}, then: [{move: There}]}
  - {name: another, when: {subject: another}, then: [{move: Elsewhere}]}
"""


def test_the_brake_counts_what_is_there_now(tmp_path: Path) -> None:
    """What an earlier `apply` left over leaves first: half of a mailbox is half of what is there then."""
    rules = (
        "rules:\n  - {name: file, when: {subject: filed}, then: [{move: There}]}\n"
        "  - {name: rest, when: {subject: other}, then: [{move: Rest}]}\n"
    )
    with ScriptedServer() as server:
        program = Program(tmp_path, config(server.port), environment={"SCRIPTED": server.password})
        program.config.write_text(config(server.port).split("rules:")[0] + "    mailboxes: [INBOX]\n" + rules)
        for n in range(300):
            subject = "filed" if n < 150 else "other" if n < 250 else "neither"
            server.box().add(message(n, subject=subject))
        server.script(rb'STATUS "There"', CUT, times=1)
        program.run("apply", "--yes", "--over-brakes", "--rule", "file", status=75)
        done = program.run("apply", "--yes", status=None)
        assert "100 of 150 messages would leave" in done.stdout + done.stderr
        assert len(server.box("There").mails) == 150 and len(server.box().mails) == 150
