"""NOTIFY: one connection is told of several mailboxes."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrules.adapters.imap.arguments import quoted
from mailrules.adapters.imap.connection import Connection
from mailrules.adapters.imap.watch import Watch
from tests.adapters.imap.conftest import Connect
from tests.lab.dovecot import Dovecot, message
from tests.lab.scripted import FULL, ScriptedServer

Scripted = Callable[..., ScriptedServer]
CAN = FULL + " NOTIFY"
NAMES = ("INBOX", "Work", "Lists/Python", 'a "quoted" one')


def await_news(connection: Connection, seconds: float = 10) -> frozenset[str]:
    end = time.monotonic() + seconds
    while not (news := connection.idle_events()) and time.monotonic() < end:
        select.select([connection.fileno()], [], [], 0.5)
    return news


def made(dovecot: Dovecot, connection: Connection) -> None:
    for name in NAMES[1:]:
        connection.create(name)
    connection.mailboxes()


def put(dovecot: Dovecot, user: str, name: str, number: int) -> None:
    """A message from another session, so that Dovecot itself knows of it."""
    with dovecot.session(user) as client:
        assert client.append(quoted(name), "", "", message(number))[0] == "OK"


def sweep(connection: Connection, name: str) -> list[int]:
    return (connection.selected(name) or connection.select(name)).uids()


# -- with a real server -----------------------------------------------------------------------------
def test_each_mailbox_is_told_of(dovecot: Dovecot, user: str, connect: Connect) -> None:
    """Whichever is selected, new mail in each mailbox wakes the connection with its name, again and again."""
    connection = connect(dovecot, user)
    made(dovecot, connection)
    assert connection.watch(NAMES)
    for name in NAMES:
        assert sweep(connection, name) == []
    number = 0
    for turn in range(2):
        for name in (*NAMES, NAMES[0]):
            assert not connection.idle()
            number += 1
            put(dovecot, user, name, number)
            assert await_news(connection) == {name}, (turn, name)
            connection.done()
            assert sweep(connection, name)


def test_what_came_while_another_was_selected(dovecot: Dovecot, user: str, connect: Connect) -> None:
    """Mail that no sweep has seen is news when IDLE is asked for; what a sweep has seen is not."""
    connection = connect(dovecot, user)
    made(dovecot, connection)
    put(dovecot, user, "INBOX", 1)
    put(dovecot, user, "Work", 2)
    connection.watch(NAMES)
    for name in NAMES:
        sweep(connection, name)
    put(dovecot, user, "INBOX", 3)
    put(dovecot, user, "Work", 4)
    assert connection.idle() == {"INBOX", "Work"}
    assert sweep(connection, "INBOX") == [1, 2] and sweep(connection, "Work") == [1, 2]
    assert not connection.idle()


def test_a_mailbox_that_the_server_leaves_out(dovecot: Dovecot, user: str, connect: Connect) -> None:
    """A server that will not tell of a mailbox we know to be there is not relied on for any."""
    connection = connect(dovecot, user)
    connection.create("Entwürfe")
    connection.mailboxes()
    names = ("INBOX", "Entwürfe")
    assert connection.watch(names)
    for name in names:
        sweep(connection, name)
    sweep(connection, "INBOX")
    assert connection.idle() == set(names)
    assert not connection.watch(names)


def test_a_mailbox_that_is_not_there(dovecot: Dovecot, user: str, connect: Connect) -> None:
    """One that is missing spoils nothing for the others."""
    connection = connect(dovecot, user)
    made(dovecot, connection)
    assert connection.watch((*NAMES, "Later"))
    for name in NAMES:
        sweep(connection, name)
    assert not connection.idle() and connection.supports_notify
    connection.done()


def test_the_status_of_another_mailbox_is_not_taken_for_it(
    dovecot: Dovecot, user: str, connect: Connect
) -> None:
    """What is told unasked does not answer a question about another mailbox."""
    connection = connect(dovecot, user)
    made(dovecot, connection)
    connection.watch(NAMES)
    sweep(connection, "INBOX")
    connection.idle()
    connection.done()
    for number in range(1, 4):
        put(dovecot, user, "Work", number)
        time.sleep(0.6)  # Dovecot tells after half a second, with whatever it says next
        assert connection.status('a "quoted" one').messages == 0


# -- with a scripted one ----------------------------------------------------------------------------
@pytest.fixture
def server(scripted: Scripted) -> Iterator[ScriptedServer]:
    server = scripted(capability=CAN)
    server.box("Work")
    return server


def idling(connection: Connection) -> Connection:
    assert connection.watch(("INBOX", "Work"))
    for name in ("Work", "INBOX"):
        sweep(connection, name)
    assert not connection.idle()
    return connection


@pytest.mark.parametrize("answer", [b"NO [BADEVENT (MessageNew)] no", b"BAD what", b"NO"])
def test_a_refusal_is_remembered(answer: bytes, server: ScriptedServer, connect: Connect) -> None:
    """All mailboxes count as having news, once, and the server is not asked again."""
    server.script(rb"NOTIFY", b"{tag} " + answer + b"\r\n")
    connection = connect(server)
    assert connection.watch(("INBOX", "Work"))
    sweep(connection, "INBOX")
    assert connection.idle() == {"INBOX", "Work"}
    assert not connection.supports_notify and not connection.watch(("INBOX", "Work"))
    sweep(connection, "INBOX")
    assert not connection.idle() and len(server.sent(b"NOTIFY")) == 1


def test_a_server_that_leaves_one_out(server: ScriptedServer, connect: Connect) -> None:
    """OK to NOTIFY is no promise: each mailbox must have been spoken of."""
    server.script(rb"NOTIFY", b"{tag} OK sure\r\n")
    connection = connect(server)
    connection.mailboxes()
    assert connection.watch(("INBOX", "Work"))
    sweep(connection, "INBOX")
    assert connection.idle() == {"INBOX", "Work"} and not connection.supports_notify


def test_not_where_it_is_not_offered(scripted: Scripted, connect: Connect) -> None:
    """Without NOTIFY, or without IDLE to wait in, several mailboxes can't be watched."""
    for capability in (FULL, "IMAP4rev1 UIDPLUS NOTIFY"):
        server = scripted(capability=capability)
        assert not connect(server).watch(("INBOX", "Work")) and not server.sent(b"NOTIFY")


def test_too_many_mailboxes_for_a_command(server: ScriptedServer, connect: Connect) -> None:
    """A line that servers may not take is not sent."""
    connection = connect(server)
    assert not connection.watch([f"Mailbox {number} of very many" for number in range(400)])
    assert not connection.supports_notify


def test_an_overflow_ends_it(server: ScriptedServer, connect: Connect) -> None:
    """A server that tells nothing any more says so, and is not relied on."""
    connection = idling(connect(server))
    server.tell(b"* OK [NOTIFICATIONOVERFLOW] too much\r\n")
    assert await_news(connection) == {"INBOX", "Work"}
    connection.done()
    assert not connection.watch(("INBOX", "Work"))
    sweep(connection, "INBOX")
    assert not connection.idle()
    assert server.sent(b"NOTIFY")[-1] == b"NOTIFY SET (SELECTED (MessageNew MessageExpunge FlagChange))"
    connection.done()
    sweep(connection, "INBOX")
    assert not connection.idle() and len(server.sent(b"NOTIFY")) == 2


@pytest.mark.parametrize(
    ("said", "news"),
    [
        (b"* STATUS Work (MESSAGES 1 UIDNEXT 2)\r\n", {"Work"}),
        (b'* STATUS "Work" (UIDNEXT 2 MESSAGES 1)\r\n', {"Work"}),
        (b"* STATUS {4}\r\nWork (MESSAGES 1 UIDNEXT 2)\r\n", {"Work"}),
        (b"* STATUS inbox (MESSAGES 1 UIDNEXT 2)\r\n", {"INBOX"}),
        (b"* STATUS Work (MESSAGES 0 UIDNEXT 1)\r\n", set()),  # somebody read, or deleted
        (b"* STATUS Other (MESSAGES 7 UIDNEXT 9)\r\n", set()),
        (b"* STATUS Work (MESSAGES 1)\r\n", {"INBOX", "Work"}),
        (b"* STATUS Work (UIDNEXT x)\r\n", {"INBOX", "Work"}),
        (b"* STATUS Work\r\n", {"INBOX", "Work"}),
        (b"* STATUS ((\r\n", {"INBOX", "Work"}),
        (b"* OK Still here\r\n", set()),
    ],
)
def test_what_is_told(said: bytes, news: set[str], server: ScriptedServer, connect: Connect) -> None:
    """A UID that no sweep has seen is news; what can't be read is news of every mailbox."""
    connection = idling(connect(server))
    server.tell(said)
    assert await_news(connection, 0.7 if not news else 10) == news
    assert not connection.idle_events(), "each is told once"
    connection.done()


@given(st.binary(max_size=60))
def test_anything_may_be_told(said: bytes) -> None:
    """No STATUS response breaks the watch."""
    watch = Watch(("INBOX", "Work"), str.encode)
    watch.told([b"* STATUS " + said])
    assert watch.take() <= {"INBOX", "Work"}
    assert not watch.take()
