"""A worker and the several mailboxes of an account: on one connection with NOTIFY, else on a few."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mailrules.adapters.store import Store
from mailrules.watching.service import MOST_LOST, Service
from tests.faults import hostile
from tests.integration.test_worker import count
from tests.lab.dovecot import Dovecot, message
from tests.lab.program import Program, account
from tests.lab.proxy import FaultProxy
from tests.lab.scripted import FULL, ScriptedServer, Session

RULES = "rules:\n  - {name: all, when: {subject: hello}, then: [{move: Moved}]}\n"
NAMES = ("INBOX", "Work", "Lists/Python", "News", "Shop")


@pytest.mark.parametrize("names", [NAMES, ("INBOX", "Work", "Entwürfe")], ids=["NOTIFY", "apart"])
def test_new_mail_in_any_mailbox(dovecot: Dovecot, user: str, tmp_path: Path, names: tuple[str, ...]) -> None:
    """New mail in each is dealt with within seconds: on one connection, or, where Dovecot does not tell of a
    name, on one each."""
    wire = {name: name.replace("ü", "&APw-") for name in names}
    with dovecot.session(user) as client:
        for name in (*wire.values(), "Moved"):
            client.create(name)
    with FaultProxy((dovecot.host, dovecot.imap_port)) as proxy:
        text = "accounts:\n" + account(dovecot, user, mailboxes=names, port=proxy.port) + RULES
        with Program(tmp_path, text) as program:
            program.start()
            wanted = 1 if names == NAMES else len(names)
            program.wait_for(program.watching, timeout=40)
            time.sleep(2)  # what is looked at for the first time has no new mail
            number = 0
            for name in (*names, *reversed(names)):
                number += 1
                dovecot.append(user, message(number, subject="hello"), wire[name])
                program.wait_for(lambda: count(dovecot, user, "Moved") == number, timeout=10)  # noqa: B023
            for name in names:  # all at once
                dovecot.append(user, message(number, subject="hello"), wire[name])
            number += len(names)
            program.wait_for(lambda: count(dovecot, user, "Moved") == number, timeout=10)
            assert program.stop() == 0
            assert proxy.accepted == wanted
            entries = program.log()
    assert len(entries) == number and {entry["state"] for entry in entries} == {"done"}


def test_new_mail_is_read_from_the_event(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """In the mailbox that had mail last, new mail is moved without a FETCH; rules that are changed meanwhile
    are asked for what they need."""
    with dovecot.session(user) as client:
        for name in ("Work", "Moved", "Other"):
            client.create(name)
    with FaultProxy((dovecot.host, dovecot.imap_port)) as proxy:
        head = "accounts:\n" + account(dovecot, user, mailboxes=("INBOX", "Work"), port=proxy.port)
        with Program(tmp_path, head + RULES) as program:
            program.start()
            program.wait_for(program.watching, timeout=40)
            time.sleep(2)  # what is looked at for the first time has no new mail

            def come(number: int, place: str, want: int, **fields: str) -> bytes:
                before = len(proxy.last.log["c2s"])
                dovecot.append(user, message(number, subject="hello", **fields), "INBOX")
                program.wait_for(lambda: count(dovecot, user, place) == want, timeout=10)
                time.sleep(0.3)
                return bytes(proxy.last.log["c2s"][before:])

            assert come(1, "Moved", 1).count(b" UID FETCH ") >= 1
            for number in (2, 3):
                said = come(number, "Moved", number)
                assert said.count(b" UID MOVE ") == 1 and b" UID FETCH " not in said
            rule = "rules:\n  - {name: other, when: {header: {X-Other: yes}}, then: [{move: Other}]}\n"
            program.config.write_text(head + rule + RULES.split("\n", 1)[1])
            program.run("reload")
            assert come(4, "Other", 1, x_other="yes").count(b" UID FETCH ") == 1
            assert b" UID FETCH " not in come(5, "Other", 2, x_other="yes")
            assert program.stop() == 0
            assert proxy.accepted == 1


@contextmanager
def service(server: ScriptedServer, folder: Path, names: tuple[str, ...]) -> Iterator[Service]:
    for name in (*names, "Moved"):
        if not any(c in name for c in "*?"):
            server.box(name)
    text = "accounts:\n" + hostile.account("work", server.port, mailboxes=[f"'{n}'" for n in names]) + RULES
    with hostile.logged() as records, Store.open(hostile.folder(folder, "state")) as store:
        found = Service(hostile.read_config(text), store)
        found.start()
        try:
            yield found
        finally:
            assert found.stop()
        assert not hostile.tracebacks(records)


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def layout(found: Service) -> list[tuple[tuple[str, ...], str]]:
    return [(tuple(c["mailboxes"]), c["state"]) for c in found.connections()]


BOXES = ("INBOX", "A", "B", "C")
APART = [(("INBOX",), "watching"), (("A",), "watching"), (("B", "C"), "polling")]


@pytest.mark.parametrize("why", ["not offered", "refused", "left out", "BAD"])
def test_without_notify(why: str, tmp_path: Path) -> None:
    """One connection each for the first mailboxes, the rest go round on the last; no login is wasted."""
    with ScriptedServer(capability=FULL + ("" if why == "not offered" else " NOTIFY")) as server:
        if why != "not offered":
            answer = {"refused": b"NO [BADEVENT (MessageNew)] no", "left out": b"OK", "BAD": b"BAD what"}[why]
            server.script(rb"NOTIFY", b"{tag} " + answer + b"\r\n")
        with service(server, tmp_path, BOXES) as found:
            until(lambda: sorted(layout(found)) == sorted(APART))
            assert len(server.sent(b"LOGIN")) == 3 and len(server.sent(b"NOTIFY")) <= 1
            server.deliver(message(1, subject="hello"), "A")
            until(lambda: len(server.box("Moved").mails) == 1)


def test_an_overflow(tmp_path: Path) -> None:
    """When the server says that it tells nothing more, everything is looked at, and watched apart."""
    with ScriptedServer(capability=FULL + " NOTIFY") as server, service(server, tmp_path, BOXES) as found:
        until(lambda: layout(found) == [(BOXES, "watching")])
        server.box("B").add(message(1, subject="hello"))
        (session,) = server.sessions
        session.send(b"* OK [NOTIFICATIONOVERFLOW] sorry\r\n")
        until(lambda: len(server.box("Moved").mails) == 1)
        until(lambda: sorted(layout(found)) == sorted(APART))


def test_a_server_that_dies_of_what_it_is_to_send(tmp_path: Path) -> None:
    """A server whose connections end when it should send headers with the event is not asked to for ever;
    no message is lost."""
    with ScriptedServer(capability=FULL + " NOTIFY OBJECTID") as server:
        server.garble = lambda data: data.replace(b") ]", b")]")

        def asked() -> list[bool]:
            return [b"MessageNew (UID" in line for line in server.sent(b"NOTIFY")]

        with service(server, tmp_path, ("INBOX", "A")) as found:
            watching = [(("INBOX", "A"), "watching")]
            until(lambda: layout(found) == watching)
            for number in range(1, 9):
                until(lambda: server.sessions[-1].idling)
                uid = server.box().add(message(number, subject="hello")).uid
                if asked()[-1]:
                    server.sessions[-1].cut()
                else:
                    server.sessions[-1].send(b"* STATUS INBOX (MESSAGES 1 UIDNEXT %d)\r\n" % (uid + 1))
                until(lambda: len(server.box("Moved").mails) == number)  # noqa: B023
                until(lambda: layout(found) == watching)
            assert sum(asked()) == MOST_LOST and len(server.sent(b"LOGIN")) == MOST_LOST + 1


def test_told_and_not_told(tmp_path: Path) -> None:
    """Only the mailbox that has news is looked at; the others have their time."""
    with ScriptedServer(capability=FULL + " NOTIFY") as server, service(server, tmp_path, BOXES) as found:
        until(lambda: layout(found) == [(BOXES, "watching")])
        (session,) = server.sessions
        selects = len(server.sent(b"SELECT"))
        for number in range(1, 4):
            until(lambda: session.idling)
            uid = server.box("B").add(message(number, subject="hello")).uid
            session.send(b"* STATUS B (MESSAGES 1 UIDNEXT %d)\r\n" % (uid + 1))
            until(lambda: len(server.box("Moved").mails) == number)  # noqa: B023
        until(lambda: session.idling)
        assert {line.split()[1] for line in server.sent(b"SELECT")[selects:]} == {b'"B"'}


def test_a_mailbox_that_fails(tmp_path: Path) -> None:
    """One that can't be selected keeps nobody from the others, and is not asked for in a circle."""
    with ScriptedServer(capability=FULL + " NOTIFY") as server:

        def refuse(session: Session, line: bytes) -> bytes:
            session.box = None
            return b"{tag} NO [NOPERM] not for you\r\n"

        server.script(rb'SELECT "?B', refuse)
        with service(server, tmp_path, BOXES) as found:
            until(lambda: layout(found) == [(BOXES, "watching")])
            (session,) = server.sessions
            asked = len(server.sent(b'SELECT "B"'))
            session.send(b"* STATUS B (MESSAGES 1 UIDNEXT 9)\r\n")
            until(lambda: len(server.sent(b'SELECT "B"')) > asked)
            until(lambda: session.idling)
            uid = server.box("C").add(message(1, subject="hello")).uid
            session.send(b"* STATUS C (MESSAGES 1 UIDNEXT %d)\r\n" % (uid + 1))
            until(lambda: len(server.box("Moved").mails) == 1)
            until(lambda: session.idling)
            assert len(server.sent(b'SELECT "B"')) < asked + 6


def test_globs_change_what_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mailbox that comes into being is watched over the same connection."""
    monkeypatch.setattr("mailrules.watching.service.REDISCOVER", 0.0)
    with ScriptedServer(capability=FULL + " NOTIFY") as server:
        server.box("Box1")
        with service(server, tmp_path, ("INBOX", "Box*")) as found:
            until(lambda: layout(found) == [(("INBOX", "Box1"), "watching")])
            server.box("Box2")
            found.wake()
            until(lambda: layout(found) == [(("INBOX", "Box1", "Box2"), "watching")])
            assert len(server.sent(b"LOGIN")) == 1
