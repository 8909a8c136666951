"""A domain's own word on its mail servers: Thunderbird's autoconfig over HTTPS.

Asked of the domain itself, then of Thunderbird's public list. Only the address (the list: only its domain)
is told; a password never comes near here. HTTPS alone is trusted, since whoever can change the answer is
given the password next.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote
from xml.etree import ElementTree

Security = Literal["tls", "starttls", "none"]
PLACES = (
    "https://autoconfig.{domain}/mail/config-v1.1.xml?emailaddress={address}",
    "https://{domain}/.well-known/autoconfig/mail/config-v1.1.xml",
    "https://autoconfig.thunderbird.net/v1.1/{domain}",
)
"""Where to ask, in order."""
PATIENCE = 5.0
"""Seconds for each of them."""
LARGEST = 64 * 1024
_SECURITY: dict[str, Security] = {"SSL": "tls", "STARTTLS": "starttls", "plain": "none"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    host: str
    port: int
    security: Security


@dataclass(frozen=True, slots=True)
class Autoconfig:
    """What a domain says. `oauth`: the server takes tokens, and no password."""

    imap: Endpoint
    smtp: Endpoint | None
    username: str
    oauth: bool
    source: str


def ask(address: str, *, places: Sequence[str] = PLACES, patience: float = PATIENCE) -> Autoconfig | None:
    """The first place that knows an IMAP server with TLS for this address; None if none does or answers."""
    import httpx

    domain = address.rpartition("@")[2].lower()
    with httpx.Client(timeout=patience, follow_redirects=True, max_redirects=3) as client:
        for place in places:
            url = place.format(domain=domain, address=quote(address, safe="@"))
            try:
                text = _get(client, url)
            except (httpx.HTTPError, httpx.InvalidURL, UnicodeError):
                continue
            found = read(text, address, source=url.partition("?")[0]) if text is not None else None
            if found is not None:
                return found
    return None


def _get(client: object, url: str) -> bytes | None:
    import httpx

    assert isinstance(client, httpx.Client)
    with client.stream("GET", url) as response:
        # A redirect to plain HTTP could be anybody's.
        if response.status_code != 200 or (url.startswith("https:") and response.url.scheme != "https"):
            return None
        body = b""
        for piece in response.iter_bytes():
            body += piece
            if len(body) > LARGEST:
                return None
    return body


def read(text: bytes, address: str, *, source: str) -> Autoconfig | None:
    """What the XML says of IMAP and SMTP. None if it is something else, or names no server with TLS."""
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text or b"\0" in text:
        return None  # none belongs here (UTF-16 would hide the others), and entities can expand without end
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - it has no entities
    except (ElementTree.ParseError, LookupError, ValueError):  # the latter two: an encoding it can't read
        return None
    for server in root.iter("incomingServer"):
        imap = _endpoint(server) if server.get("type") == "imap" else None
        if imap is not None:
            methods = [element.text or "" for element in server.iter("authentication")]
            return Autoconfig(
                imap=imap,
                smtp=next((e for s in root.iter("outgoingServer") if (e := _endpoint(s)) is not None), None),
                username=_filled(server.findtext("username") or "%EMAILADDRESS%", address),
                oauth="OAuth2" in methods and not any("password" in method for method in methods),
                source=source,
            )
    return None


def _endpoint(server: ElementTree.Element) -> Endpoint | None:
    host = (server.findtext("hostname") or "").strip().lower()
    port = (server.findtext("port") or "").strip()
    security = _SECURITY.get((server.findtext("socketType") or "").strip(), "none")
    if security == "none" or not re.fullmatch(r"[a-z0-9.-]+", host) or not re.fullmatch(r"\d{1,5}", port):
        return None
    return Endpoint(host, int(port), security) if 0 < int(port) < 65536 else None


def _filled(pattern: str, address: str) -> str:
    localpart, _, domain = address.rpartition("@")
    filled = pattern.strip().replace("%EMAILADDRESS%", address)
    filled = filled.replace("%EMAILLOCALPART%", localpart).replace("%EMAILDOMAIN%", domain)
    return address if "%" in filled or not filled.isprintable() else filled
