"""The lab itself: what other tests rely on."""

from __future__ import annotations

import imaplib

import pytest

from tests.lab.ca import LabCA
from tests.lab.dovecot import PASSWORD, Dovecot, message
from tests.lab.proxy import FaultProxy


def test_a_user_has_mailboxes_of_their_own(dovecot: Dovecot, user: str) -> None:
    """A message appended for one user is there for them and nobody else."""
    dovecot.append(user, [message(1), message(2)])
    with dovecot.session(user, "INBOX") as client:
        assert client.search(None, "ALL")[1] == [b"1 2"]
    with dovecot.session(dovecot.new_user(), "INBOX") as client:
        assert client.search(None, "ALL")[1] == [b""]


def test_lmtp_delivers(dovecot: Dovecot, user: str) -> None:
    """Mail handed over by LMTP is in INBOX."""
    dovecot.deliver(user, message(7))
    with dovecot.session(user, "INBOX") as client:
        assert client.search(None, "SUBJECT", '"message 7"')[1] == [b"1"]


def test_tls_is_verified_against_the_lab_ca(dovecot: Dovecot, lab_ca: LabCA, user: str) -> None:
    """The TLS port has a certificate that the lab's own authority signed."""
    with imaplib.IMAP4_SSL("127.0.0.1", dovecot.imaps_port, ssl_context=lab_ca.client_context()) as client:
        client.login(user, PASSWORD)


def test_the_capped_namespace_is_full_at_two(dovecot: Dovecot, user: str) -> None:
    """A third message does not fit under Capped/."""
    dovecot.append(user, [message(n) for n in range(3)])
    with dovecot.session(user, "INBOX") as client:
        client.create("Capped/Box")
        assert client.copy("1:2", "Capped/Box")[0] == "OK"
        status, answer = client.copy("3", "Capped/Box")
        assert (status, answer[0][:11]) == ("NO", b"[OVERQUOTA]")


def test_the_proxy_cuts_after_some_bytes(dovecot: Dovecot, proxy: FaultProxy, user: str) -> None:
    """A connection through the proxy works until the cut, which is exact."""
    client = imaplib.IMAP4("127.0.0.1", proxy.port)
    client.login(user, PASSWORD)
    before = len(proxy.last.log["s2c"])
    assert before > 100
    proxy.cut_after(s2c=5)
    with pytest.raises(imaplib.IMAP4.abort):
        client.noop()
