"""DONE in one piece with the next command, where the server is known to take that."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator

import pytest

from mailrules.adapters.imap.connection import Connection, ConnectionLost
from tests.adapters.imap.conftest import Connect
from tests.conftest import need_dovecot
from tests.lab.ca import LabCA
from tests.lab.dovecot import Dovecot, Layout, message
from tests.lab.proxy import FaultProxy
from tests.lab.scripted import ScriptedServer, Session

Scripted = Callable[..., ScriptedServer]


@pytest.fixture(scope="module")
def sleepy(lab_ca: LabCA) -> Iterator[Dovecot]:
    """A Dovecot whose idle sessions hibernate: another process reads their DONE."""
    need_dovecot()
    with Dovecot(Layout(users=20, hibernate="1s"), ca=lab_ca) as server:
        yield server
        log = server.log()
    assert " Panic: " not in log


def writes(proxy: FaultProxy) -> list[bytes]:
    """From now on, what the client sends, piece by piece."""
    found: list[bytes] = []

    def note(data: bytes) -> bytes:
        found.append(data)
        return data

    proxy.rewrite("c2s", note)
    return found


def await_news(connection: Connection) -> None:
    end = time.monotonic() + 20
    while not connection.idle_events():
        assert time.monotonic() < end
        select.select([connection.fileno()], [], [], 1)


def test_done_goes_out_with_what_follows(
    dovecot: Dovecot, user: str, connect: Connect, proxy: FaultProxy
) -> None:
    """Search, a name that is a literal, IDLE again, LOGOUT: each brings the DONE along."""
    connection = connect(proxy, user)
    mailbox = connection.select("INBOX")
    sent = writes(proxy)
    connection.idle()
    dovecot.append(user, message(1))
    await_news(connection)
    sent.clear()
    assert connection.done()
    assert not sent
    assert mailbox.uids() == [1]
    assert len(sent) == 1 and sent[0].startswith(b"DONE\r\n") and b"SEARCH" in sent[0]
    connection.idle()
    connection.done()
    connection.create("Entwürfe")
    assert "Entwürfe" in {info.name for info in connection.mailboxes()}
    connection.idle()
    connection.done()
    sent.clear()
    assert not connection.idle()
    assert len(sent) == 1 and b"DONE\r\n" in sent[0] and b"IDLE" in sent[0]
    dovecot.append(user, message(2))
    await_news(connection)
    connection.done()
    assert connection.news and mailbox.uids() == [1, 2]
    connection.idle()
    connection.done()
    sent.clear()
    connection.close()
    end = time.monotonic() + 20
    while not sent:  # nobody waits for the answer to LOGOUT
        assert time.monotonic() < end
        time.sleep(0.01)
    assert len(sent) == 1 and sent[0].startswith(b"DONE\r\n") and b"LOGOUT" in sent[0]


@pytest.mark.parametrize("seconds", [0.2, 2.5], ids=["awake", "hibernated"])
def test_a_session_that_hibernates(sleepy: Dovecot, connect: Connect, seconds: float) -> None:
    """What is sent with DONE is not lost on the way from one of Dovecot's processes to another."""
    user = sleepy.new_user()
    connection = connect(sleepy, user)
    mailbox = connection.select("INBOX")
    for number in range(1, 3):
        connection.idle()
        time.sleep(seconds)
        sleepy.append(user, message(number))
        connection.done()
        assert mailbox.uids() == list(range(1, number + 1))


def test_other_servers_are_asked_one_by_one(scripted: Scripted, connect: Connect) -> None:
    """The answer to DONE is awaited before anything else is sent."""
    server = scripted()
    server.server_id = b'("name" "Other")'
    connection = connect(server)
    mailbox = connection.select("INBOX")
    connection.idle()
    connection.done()
    assert server.commands[-1] == b"DONE"
    assert mailbox.uids() == []


@pytest.fixture
def known(scripted: Scripted) -> ScriptedServer:
    """A scripted server that says it is Dovecot."""
    server = scripted()
    server.server_id = b'("name" "Dovecot")'
    return server


def test_news_that_comes_with_the_answer(known: ScriptedServer, connect: Connect) -> None:
    """EXISTS between the two answers counts as news of the search that follows."""
    connection = connect(known)
    mailbox = connection.select("INBOX")
    connection.idle()
    known.deliver(message(1))
    connection.done()
    assert mailbox.uids() == [1]


@pytest.mark.parametrize("answer", [b"NO why\r\n", b"BAD expected DONE\r\n"])
def test_a_done_that_is_refused(answer: bytes, known: ScriptedServer, connect: Connect) -> None:
    """Whatever is said to DONE, it is over, and the next command has its own answer."""
    connection = connect(known)
    mailbox = connection.select("INBOX")

    def idle(session: Session, line: bytes) -> bytes:
        session.send(b"+ idling\r\n")
        session._read_line()
        return b"{tag} " + answer

    known.script(rb"IDLE", idle)
    known.box().add(message(1))
    connection.idle()
    connection.done()
    assert mailbox.uids() == [1]
    connection.noop()


def test_a_cut_between_the_two_answers(
    dovecot: Dovecot, user: str, connect: Connect, proxy: FaultProxy
) -> None:
    """Wherever the answers are cut, it is a passing error, and a new connection starts anew."""
    for octets in (1, 12, 30, 45, 60, 70):
        connection = connect(proxy, user)
        mailbox = connection.select("INBOX")
        connection.idle()
        connection.done()
        proxy.cut_after(s2c=octets)
        with pytest.raises(ConnectionLost):
            mailbox.uids()
        connection.close()
    connection.open()
    assert connection.select("INBOX").uids() == []
