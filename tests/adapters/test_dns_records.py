"""mailrules.adapters.dns_records: SRV and MX, asked of a name server on loopback."""

from __future__ import annotations

import pytest

from mailrules.adapters import dns_records
from mailrules.adapters.autoconfig import Endpoint
from tests.lab.dns import NameServer

ZONE = {
    ("_imaps._tcp.a.example", "SRV"): ["20 1 993 late.a.example.", "10 1 1993 IMAP.a.example."],
    ("_submissions._tcp.a.example", "SRV"): ["0 0 465 smtp.a.example."],
    ("_imaps._tcp.b.example", "SRV"): ["0 0 0 ."],
    ("_imap._tcp.b.example", "SRV"): ["0 0 143 mail.b.example."],
    ("_imaps._tcp.none.example", "SRV"): ["0 0 0 ."],
    ("c.example", "MX"): ["20 second.example.", "10 first.example."],
}


@pytest.fixture(scope="module")
def asked() -> object:
    with NameServer(ZONE) as server:
        yield dns_records.resolver(["127.0.0.1"], port=server.port)


def test_the_preferred_server_is_taken(asked: object) -> None:
    """By priority; SMTP beside it."""
    found = dns_records.servers("a.example", asked)  # type: ignore[arg-type]
    assert found is not None
    assert found.imap == Endpoint("imap.a.example", 1993, "tls")
    assert found.smtp == Endpoint("smtp.a.example", 465, "tls")


def test_starttls_where_there_is_nothing_better(asked: object) -> None:
    """A target of `.` says that there is no such service."""
    found = dns_records.servers("b.example", asked)  # type: ignore[arg-type]
    assert found is not None
    assert (found.imap, found.smtp) == (Endpoint("mail.b.example", 143, "starttls"), None)


@pytest.mark.parametrize("domain", ["none.example", "unheard-of.example", "x" * 70 + ".example", "a..b"])
def test_nobody_is_announced(asked: object, domain: str) -> None:
    """No error, whatever the name."""
    assert dns_records.servers(domain, asked) is None  # type: ignore[arg-type]


def test_who_takes_the_mail(asked: object) -> None:
    """The preferred first."""
    assert dns_records.exchangers("c.example", asked) == ["first.example", "second.example"]  # type: ignore[arg-type]
    assert dns_records.exchangers("unheard-of.example", asked) == []  # type: ignore[arg-type]
