"""A connection that is opened in a thread, before anybody has asked for it."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from mailrules.adapters.imap.connection import LoginRefused, NoSuchMailbox
from tests.adapters.imap.conftest import Connect
from tests.lab.dovecot import Dovecot, message
from tests.lab.scripted import HANG, ScriptedServer

Scripted = Callable[..., ScriptedServer]


def test_what_was_begun_is_not_asked_again(scripted: Scripted, connect: Connect) -> None:
    """LIST, SELECT and SEARCH have been answered by the time they are asked for, and are asked for once."""
    server = scripted()
    connection = connect(server, open=False)
    connection.begin("inbox", read_only=False, uids=True)
    connection.open()
    said = len(server.commands)
    assert connection.mailboxes()
    mailbox = connection.select("INBOX")
    first = mailbox.uids()
    assert len(server.commands) == said
    connection.mailboxes()
    assert connection.select("INBOX") is not mailbox
    assert mailbox.uids() == first
    assert len(server.commands) > said + 2


def test_mail_that_came_meanwhile_is_seen(dovecot: Dovecot, user: str, connect: Connect) -> None:
    """What the server has told since makes the look ahead worth nothing."""
    dovecot.append(user, message(subject="one"))
    connection = connect(dovecot, user, open=False)
    connection.begin("INBOX", read_only=True, uids=True)
    connection.open()
    mailbox = connection.select("INBOX", read_only=True)
    dovecot.append(user, message(subject="two"))
    connection.noop()
    assert mailbox.uids() == [1, 2]


def test_how_messages_are_named_is_known(dovecot: Dovecot, user: str, connect: Connect) -> None:
    """Dovecot has told, by the time it is asked who a message is, that it has GUIDs."""
    dovecot.append(user, message())
    connection = connect(dovecot, user, open=False)
    connection.begin("INBOX", read_only=False, uids=True)
    connection.open()
    assert connection.identity_scheme == "guid"
    assert connection.select("INBOX").identities([1])[1].identity.startswith("guid:")


def test_another_way_of_selecting(dovecot: Dovecot, user: str, connect: Connect) -> None:
    """A mailbox that was only looked into is selected anew by whoever wants to change it."""
    connection = connect(dovecot, user, open=False)
    connection.begin("INBOX", read_only=True, uids=False)
    connection.open()
    assert connection.selected("INBOX") is None
    assert not connection.select("INBOX").examined


def test_errors_come_where_it_is_waited_for(scripted: Scripted, connect: Connect) -> None:
    """A refused login is raised by `open`, which may be tried again."""
    server = scripted()
    server.script(rb"LOGIN ", b"{tag} NO [AUTHENTICATIONFAILED] no\r\n", times=1)
    connection = connect(server, open=False)
    connection.begin("INBOX", read_only=False, uids=True)
    with pytest.raises(LoginRefused):
        connection.open()
    assert not connection.alive
    connection.open()
    assert connection.alive


def test_a_mailbox_that_is_not_there(dovecot: Dovecot, user: str, connect: Connect) -> None:
    """That is for whoever selects it to know."""
    connection = connect(dovecot, user, open=False)
    connection.begin("Nowhere", read_only=False, uids=True)
    connection.open()
    with pytest.raises(NoSuchMailbox):
        connection.select("Nowhere")


def test_nobody_has_asked(scripted: Scripted, connect: Connect) -> None:
    """What is not wanted any more is cut off, be it open or not."""
    server = scripted()
    early = connect(server, open=False)
    early.begin(None, read_only=False, uids=False)
    early.close()
    assert not early.alive
    server.script(rb"LOGIN ", HANG)
    start = time.monotonic()
    hanging = connect(server, open=False, timeout=30)
    hanging.begin("INBOX", read_only=False, uids=True)
    while not any(line.startswith(b"LOGIN") for line in server.commands) and time.monotonic() - start < 5:
        time.sleep(0.01)
    hanging.close()
    assert not hanging.alive
    assert time.monotonic() - start < 5
