"""What DNS says of a domain's mail: SRV of its servers (RFC 6186, RFC 8314), MX of who takes its mail.

DNS is not signed here: whoever can forge it can name any host. So what comes from here is shown before a
password is typed, and TLS proves the host's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mailrules.adapters.autoconfig import Endpoint, Security

if TYPE_CHECKING:
    from dns.resolver import Resolver

PATIENCE = 3.0
"""Seconds for each question."""
_IMAP: tuple[tuple[str, Security], ...] = (("_imaps._tcp", "tls"), ("_imap._tcp", "starttls"))
_SMTP: tuple[tuple[str, Security], ...] = (("_submissions._tcp", "tls"), ("_submission._tcp", "starttls"))


@dataclass(frozen=True, slots=True)
class Announced:
    """The servers that a domain announces."""

    imap: Endpoint
    smtp: Endpoint | None


def resolver(nameservers: Sequence[str] = (), *, port: int = 53) -> Resolver | None:
    """The system's, or one that asks these servers. None if the system has none."""
    from dns.exception import DNSException
    from dns.resolver import Resolver

    try:
        found = Resolver(configure=not nameservers)
    except (DNSException, OSError):
        return None
    if nameservers:
        found.nameservers, found.port = list(nameservers), port
    found.lifetime = PATIENCE
    return found


def servers(domain: str, asked: Resolver) -> Announced | None:
    """The servers by SRV; None if it announces no IMAP, or says that it has none (a target of `.`)."""
    imap = next((e for name, kind in _IMAP if (e := _srv(f"{name}.{domain}", kind, asked))), None)
    if imap is None:
        return None
    smtp = next((e for name, kind in _SMTP if (e := _srv(f"{name}.{domain}", kind, asked))), None)
    return Announced(imap, smtp)


def exchangers(domain: str, asked: Resolver) -> list[str]:
    """The hosts that take the domain's mail, the preferred one first; [] if that can't be known now."""
    records = sorted(_records(domain, "MX", asked), key=lambda record: int(record.preference))
    return [str(record.exchange).rstrip(".").lower() for record in records]


def _srv(name: str, security: Security, asked: Resolver) -> Endpoint | None:
    records = _records(name, "SRV", asked)
    for record in sorted(records, key=lambda record: (int(record.priority), -int(record.weight))):
        host = str(record.target).rstrip(".").lower()
        if host:
            return Endpoint(host, int(record.port), security)
    return None


def _records(name: str, kind: str, asked: Resolver) -> list[Any]:
    from dns.exception import DNSException

    try:
        return list(asked.resolve(name, kind, search=False))
    except (DNSException, OSError, ValueError):
        return []
