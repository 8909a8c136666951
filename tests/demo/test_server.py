"""The demo's IMAP and mail server."""

from __future__ import annotations

import gc
import imaplib
import smtplib
import threading

from mailrules.demo.server import DemoServer, Sent

MESSAGE = b"From: a@example.org\r\nMessage-ID: <one@example.org>\r\nSubject: one\r\n\r\nHello\r\n"


def log_in(server: DemoServer) -> imaplib.IMAP4:
    client = imaplib.IMAP4("127.0.0.1", server.imap_port, timeout=10)
    client.login(server.username, server.password)
    return client


def test_delivers_and_tells() -> None:
    """What is delivered stands in INBOX, what a client does with it is seen, a new one starts empty."""
    with DemoServer() as server:
        assert server.filed() == []
        uid = str(server.deliver(MESSAGE))
        client = log_in(server)
        client.select()
        client.uid("store", uid, "+FLAGS", "(\\Flagged)")
        client.create("A/B")
        client.uid("move", uid, "A/B")
        (filed,) = server.filed()
        assert (filed.mailbox, filed.message_id, filed.flags) == ("A/B", "<one@example.org>", {"\\Flagged"})
        client.logout()


def test_idle_sessions_survive_the_collector() -> None:
    """A session in IDLE is told of new mail, also after a garbage collection (Python 3.13)."""
    with DemoServer() as server:
        client = log_in(server)
        client.select()
        client.send(b"x1 IDLE\r\n")
        assert client.readline().startswith(b"+")
        gc.collect()
        server.deliver(MESSAGE)
        assert b"1 EXISTS" in client.readline()
        client.send(b"DONE\r\n")
        client.shutdown()


def test_idle_tells_what_came_just_before_it() -> None:
    """Mail that comes between a session's last command and its IDLE is told at once."""
    with DemoServer() as server:
        client = log_in(server)
        client.select()
        client.uid("search", "ALL")
        server.deliver(MESSAGE)
        client.send(b"x1 IDLE\r\n")
        assert client.readline().startswith(b"+")
        assert b"1 EXISTS" in client.readline()
        server.deliver(MESSAGE.replace(b"one", b"two"))
        while b"2 EXISTS" not in client.readline():
            pass
        client.shutdown()


def test_wrong_password_is_refused() -> None:
    """Only this run's password opens it: other programs on the machine can't read along."""
    with DemoServer() as server:
        client = imaplib.IMAP4("127.0.0.1", server.imap_port, timeout=10)
        try:
            client.login(server.username, "guess")
        except imaplib.IMAP4.error:
            pass
        else:
            raise AssertionError("logged in with a guess")
        client.shutdown()


def test_keeps_what_is_sent() -> None:
    """Mail that is sent on stays in the process."""
    with DemoServer() as server:
        with smtplib.SMTP("127.0.0.1", server.smtp_port, timeout=10) as client:
            client.sendmail("a@example.org", ["b@example.net"], b"Subject: x\r\n\r\ny\r\n")
        assert server.sent == [Sent(("b@example.net",), b"Subject: x\r\n\r\ny\r\n")]


def test_ends() -> None:
    """After the `with`, its thread is gone, also with a session that idles."""
    with DemoServer() as server:
        client = log_in(server)
        client.select()
        client.send(b"x1 IDLE\r\n")
        client.readline()
    assert not [thread for thread in threading.enumerate() if thread.name == "demo server"]
    client.shutdown()
