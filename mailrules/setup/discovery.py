"""From an address to its servers: the table, the domain's own word, DNS, and last a knock at likely doors.

Nothing here knows a password.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mailrules.adapters import autoconfig, dns_records
from mailrules.adapters.autoconfig import Endpoint
from mailrules.config import providers

if TYPE_CHECKING:
    from dns.resolver import Resolver

KNOCK = 4.0
"""Seconds to wait at each of a domain's likely servers."""


@dataclass(frozen=True, slots=True)
class Servers:
    """Where an address's mail is. `provider`: its name, where the table knows it; `source`: who said so."""

    imap: Endpoint
    username: str
    source: str
    smtp: Endpoint | None = None
    provider: str | None = None
    oauth: bool = False

    @property
    def advice(self) -> str:
        """How to come by a password for it, in words; "" if it is the one a person knows."""
        found = providers.find(self.provider) if self.provider else None
        return found.note if found is not None else ""


def of_provider(name: str, address: str, *, source: str) -> Servers | None:
    """What the table says of a provider."""
    found = providers.find(name)
    if found is None:
        return None
    return Servers(
        imap=Endpoint(found.host, found.port, found.security),
        smtp=Endpoint(found.smtp_host, found.smtp_port, found.smtp_security),
        username=address,
        source=source,
        provider=providers.ALIASES.get(name.lower(), name.lower()),
        oauth=found.auth == "oauth",
    )


def discover(
    address: str,
    *,
    places: Sequence[str] = autoconfig.PLACES,
    resolver: Callable[[], Resolver | None] = dns_records.resolver,
    knock: bool = True,
) -> Servers | None:
    """The servers of an address, or None if nobody knows them.

    The surest first: the table of providers; autoconfig, which TLS vouches for; SRV; the provider whose
    exchanger takes the domain's mail; then imap.DOMAIN and mail.DOMAIN, if their certificate is theirs.
    """
    domain = address.rpartition("@")[2].lower()
    if (name := providers.of_domain(domain)) is not None:
        return of_provider(name, address, source="the table of providers")
    told = autoconfig.ask(address, places=places)
    if told is not None:
        return Servers(
            told.imap, told.username, told.source, told.smtp, _named(told.imap.host), oauth=told.oauth
        )
    asked = resolver()
    if asked is not None:
        announced = dns_records.servers(domain, asked)
        if announced is not None:
            source = f"the DNS of {domain}"
            return Servers(announced.imap, address, source, announced.smtp, _named(announced.imap.host))
        for host in dns_records.exchangers(domain, asked):
            if (name := providers.of_exchanger(host)) is not None:
                return of_provider(name, address, source=f"the DNS of {domain}: {host} takes its mail")
    return _knocked(domain, address) if knock else None


def _named(host: str) -> str | None:
    return next((name for name, provider in providers.PROVIDERS.items() if provider.host == host), None)


def _knocked(domain: str, address: str) -> Servers | None:
    for host in (f"imap.{domain}", f"mail.{domain}"):
        if _answers(host, 993):
            smtp = next((h for h in (f"smtp.{domain}", host) if _answers(h, 465)), None)
            return Servers(
                Endpoint(host, 993, "tls"),
                address,
                f"{host} answered",
                Endpoint(smtp, 465, "tls") if smtp else None,
            )
    return None


def _answers(host: str, port: int) -> bool:
    """Whether a server is there whose certificate bears its name."""
    try:
        with (
            socket.create_connection((host, port), timeout=KNOCK) as plain,
            ssl.create_default_context().wrap_socket(plain, server_hostname=host),
        ):
            return True
    except (OSError, ValueError):
        return False
