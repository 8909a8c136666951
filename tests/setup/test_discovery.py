"""mailrules.setup.discovery: the surest source first."""

from __future__ import annotations

import pytest

from mailrules.adapters import dns_records
from mailrules.adapters.autoconfig import Endpoint
from mailrules.setup import discovery
from tests.adapters.test_autoconfig import web, xml
from tests.lab.ca import LabCA
from tests.lab.dns import NameServer
from tests.lab.dovecot import Dovecot

__all__ = ["web"]

ZONE = {
    ("_imaps._tcp.srv.example", "SRV"): ["0 0 993 imap.srv.example."],
    ("_imaps._tcp.fm.example", "SRV"): ["0 0 993 imap.fastmail.com."],
    ("team.example", "MX"): ["10 aspmx.l.google.com."],
    ("own.example", "MX"): ["10 mx.own.example."],
}


def discover(address: str, *, places: tuple[str, ...] = ()) -> discovery.Servers | None:
    with NameServer(ZONE) as server:
        return discovery.discover(
            address,
            places=places,
            resolver=lambda: dns_records.resolver(["127.0.0.1"], port=server.port),
            knock=False,
        )


def test_the_table_knows_the_common_ones() -> None:
    """Without asking anybody; with what is to be done first."""
    found = discovery.discover("me@gmail.com", places=("never://",), resolver=lambda: None)
    assert found is not None
    assert (found.provider, found.imap.host, found.oauth) == ("gmail", "imap.gmail.com", False)
    assert "apppasswords" in found.advice
    outlook = discovery.discover("me@hotmail.com", places=("never://",), resolver=lambda: None)
    assert outlook is not None
    assert outlook.oauth


def test_the_domain_speaks_for_itself(web: object) -> None:
    """Autoconfig before DNS."""
    web.pages["/a"] = (200, xml())  # type: ignore[attr-defined]
    found = discover("me@srv.example", places=(f"{web.url}/a",))  # type: ignore[attr-defined]
    assert found is not None
    assert found.imap.host == "imap.example.org"
    assert found.username == "me"


@pytest.mark.parametrize(
    ("address", "host", "provider"),
    [
        ("me@srv.example", "imap.srv.example", None),
        ("me@fm.example", "imap.fastmail.com", "fastmail"),
        ("me@team.example", "imap.gmail.com", "gmail"),
    ],
)
def test_then_its_dns(address: str, host: str, provider: str | None) -> None:
    """SRV, or the provider that takes its mail."""
    found = discover(address)
    assert found is not None
    assert found.imap == Endpoint(host, 993, "tls")
    assert found.provider == provider
    assert "the DNS of" in found.source


@pytest.mark.parametrize("address", ["me@own.example", "me@unheard-of.example"])
def test_nobody_knows(address: str) -> None:
    """Then a person is asked."""
    assert discover(address) is None


def test_a_door_with_the_right_name_opens(
    dovecot: Dovecot, lab_ca: LabCA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate that is trusted and bears the name; another name, or another authority, is not enough."""
    monkeypatch.setenv("SSL_CERT_FILE", str(lab_ca.ca_file))
    assert discovery._answers("localhost", dovecot.imaps_port)
    assert not discovery._answers("127.0.0.2", dovecot.imaps_port)
    monkeypatch.delenv("SSL_CERT_FILE")
    assert not discovery._answers("localhost", dovecot.imaps_port)


def test_a_door_without_the_right_name_stays_shut() -> None:
    """Where no server with a certificate of that name answers, nothing was found."""
    assert discovery._knocked("localhost.invalid", "me@localhost.invalid") is None
