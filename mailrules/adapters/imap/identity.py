"""Which message this is, wherever it is: the identity that the journal knows it by (RELIABILITY R1).

`emailid:…` (RFC 8474), `gmsgid:…` (Gmail), `guid:…` (Dovecot), else `sha256:…` over Message-ID,
INTERNALDATE, size and header. The scheme depends on the server alone, so that it stays the same.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mailrules.adapters.imap.items import Items, header_block, internal_date
from mailrules.adapters.imap.search import read_search
from mailrules.adapters.imap.tokens import Unreadable, flags, number
from mailrules.core.headers import addresses, decode, parse_block
from mailrules.core.message import Unavailable

if TYPE_CHECKING:
    from mailrules.adapters.imap.mailbox import Mailbox

SCHEMES = {"emailid": b"EMAILID", "gmsgid": b"X-GM-MSGID", "guid": b"X-GUID"}
_FIELDS = b"BODY.PEEK[HEADER.FIELDS (MESSAGE-ID SUBJECT FROM)]"


# Message-ID, Subject and From as most mail has them: each once at most, unfolded, nothing encoded. What is
# matched is what the careful way would read, too.
_USUAL = re.compile(
    rb"""(?: (?i:Message-ID):[ \t]*+ ([!-~]++) [ \t]*+ \r\n
          | (?i:Subject): ([\t\x20-~]*+) \r\n
          | (?i:From): [ \t]*+ (?:
                (?: "[\t !\#-;=?-\[\]-~]*+" | [\t !\#-'*+./0-9=?A-Z^-~-]*+ )
                [ \t]*+ < ([!\#-'*+./0-9=?A-Z^-~-]++@[A-Za-z0-9.-]++) >
              | ([!\#-'*+./0-9=?A-Z^-~-]++@[A-Za-z0-9.-]++)
            ) [ \t]*+ \r\n )*+ (?:\r\n)?+""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Identity:
    """A message's identity, and what the log says of it."""

    identity: str
    message_id: str = ""
    subject: str = ""
    sender: str = ""
    internaldate: datetime | None = None
    size: int | None = None
    flags: frozenset[str] = frozenset()
    labels: frozenset[str] = frozenset()  # Gmail's


def identities(mailbox: Mailbox, uids: Iterable[int]) -> dict[int, Identity]:
    """The identities of these messages. Those that are gone, or can't be read, are absent."""
    uids = list(uids)
    scheme = scheme_of(mailbox, uids)
    if scheme == "sha256":
        return _read(mailbox, uids, None, b"BODY.PEEK[HEADER]")
    found = _read(mailbox, uids, scheme, _FIELDS)
    nameless = [uid for uid, identity in found.items() if not identity.identity]
    return found | _read(mailbox, nameless, None, b"BODY.PEEK[HEADER]")


def find(mailbox: Mailbox, identity: str, *, low: int = 1) -> list[int]:
    """The UIDs, ascending, from `low` on, of messages with this identity in the selected mailbox."""
    scheme, _, value = identity.partition(":")
    if scheme in SCHEMES and value.isalnum():
        criteria = f"UID {low}:* {SCHEMES[scheme].decode()} {value}".encode()
        reply = mailbox.send(b"UID SEARCH ", criteria)
        if reply.ok:
            return sorted(uid for uid in read_search(reply.untagged) if uid >= low)
    # A server without that key, or a hash that no server knows: look for ourselves.
    present = mailbox.uids(low)
    return sorted(uid for uid, known in identities(mailbox, present).items() if known.identity == identity)


def find_all(mailbox: Mailbox, wanted: Collection[str], *, low: int) -> dict[str, int]:
    """The newest UID of each of these identities that is there, from `low` on: in few commands."""
    found: dict[str, int] = {}
    if len(wanted) <= 3 and not any(identity.startswith("sha256:") for identity in wanted):
        for identity in wanted:
            uids = find(mailbox, identity, low=low)
            if uids:
                found[identity] = uids[-1]
        return found
    for uid, known in sorted(identities(mailbox, mailbox.uids(low)).items()):
        if known.identity in wanted:
            found[known.identity] = uid
    return found


def scheme_of(mailbox: Mailbox, uids: list[int]) -> str:
    """The best scheme this server has. Dovecot's is not announced: it is tried once a connection."""
    connection = mailbox.connection
    if connection.identity_scheme is None:
        if "OBJECTID" in connection.capabilities:
            connection.identity_scheme = "emailid"
        elif "X-GM-EXT-1" in connection.capabilities:
            connection.identity_scheme = "gmsgid"
        elif "dovecot" not in connection.server.get("name", "").lower():
            connection.identity_scheme = "sha256"
        else:
            for uid in uids:
                reply = mailbox.send(b"UID FETCH ", str(uid).encode(), b" (X-GUID)")
                if not reply.ok:
                    connection.identity_scheme = "sha256"
                    break
                if any(b"X-GUID" in response[0].upper() for response in reply.untagged):
                    connection.identity_scheme = "guid"
                    break
    return connection.identity_scheme or "guid"


def beside(
    mailbox: Mailbox, uids: list[int]
) -> tuple[list[bytes], list[str], Callable[[Items], Identity | None]] | None:
    """What tells who messages are in a FETCH that asks for more: items, header fields, and what reads them.

    None where that takes the whole header. What it reads as None is to be asked for by itself.
    """
    scheme = scheme_of(mailbox, uids)
    if scheme == "sha256":
        return None

    def read(items: Items) -> Identity | None:
        identity = _identity(items, scheme)
        return identity if identity is not None and identity.identity else None

    return (
        _items(mailbox, scheme),
        ["message-id", "subject", "from"],
        read,
    )


def _read(mailbox: Mailbox, uids: Iterable[int], scheme: str | None, what: bytes) -> dict[int, Identity]:
    from mailrules.adapters.imap.fetch import stream_items

    found: dict[int, Identity] = {}

    def take(told: Sequence[tuple[int, Items | Unavailable]]) -> None:
        for uid, items in told:
            identity = None if isinstance(items, Unavailable) else _identity(items, scheme)
            if identity is not None:
                found[uid] = identity

    stream_items(mailbox, uids, [*_items(mailbox, scheme), what], take)
    return found


def _items(mailbox: Mailbox, scheme: str | None) -> list[bytes]:
    """What is asked beside the header."""
    labels = [b"X-GM-LABELS"] if "X-GM-EXT-1" in mailbox.connection.capabilities else []
    return [b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE", *([SCHEMES[scheme]] if scheme else ()), *labels]


def _identity(items: Items, scheme: str | None) -> Identity | None:
    block = header_block(items)
    if block is None:
        return None
    try:
        moment: datetime | None = internal_date(items.get(b"INTERNALDATE"))
    except Unreadable:
        moment = None
    try:
        size: int | None = number(items.get(b"RFC822.SIZE"))
    except Unreadable:
        size = None
    if scheme is None:
        message_ids = parse_block(block).get("message-id")
        name = "sha256:" + _hash(message_ids[0] if message_ids else b"", moment, size, block)
    else:
        value = items.get(SCHEMES[scheme])
        if isinstance(value, list):  # EMAILID (M6d99ac32)
            value = value[0] if value else None
        name = f"{scheme}:{value.decode('ascii', 'replace')}" if isinstance(value, bytes) and value else ""
    message_id, subject, sender = said(block)
    return Identity(
        identity=name,
        message_id=message_id[:998],
        subject=subject[:998],
        sender=sender[:320],
        internaldate=moment,
        size=size,
        flags=flags(items.get(b"FLAGS", [])),
        labels=_labels(items),
    )


def said(block: bytes) -> tuple[str, str, str]:
    """As `said_carefully`, quickly where nothing is unusual."""
    usual = _USUAL.fullmatch(block) if b"=?" not in block else None
    if usual is not None:
        message_id, subject, sender, bare = usual.groups(b"")
        told = (message_id, subject, sender or bare)
        if block.count(b"\n") == sum(map(bool, told)) + block.endswith(b"\n\r\n"):
            return told[0].decode(), told[1].decode().strip(), told[2].decode()
    return said_carefully(block)


def said_carefully(block: bytes) -> tuple[str, str, str]:
    """The first Message-ID, the first Subject and the first sender of any header block."""
    headers = parse_block(block)
    message_ids, subjects = headers.get("message-id"), headers.get("subject")
    senders = addresses(headers.get("from"))
    return (
        decode(message_ids[0]) if message_ids else "",
        decode(subjects[0]) if subjects else "",
        f"{senders[0].local}@{senders[0].domain}" if senders else "",
    )


_NONE: frozenset[str] = frozenset()
"""One for all: each that is made takes 200 octets."""


def _labels(items: Items) -> frozenset[str]:
    if b"X-GM-LABELS" not in items:
        return _NONE
    from mailrules.adapters.imap.labelling import labels_of

    try:
        return labels_of(items[b"X-GM-LABELS"])
    except Unreadable:
        return frozenset()


def _hash(message_id: bytes, moment: datetime | None, size: int | None, block: bytes) -> str:
    digest = hashlib.sha256()
    for part in (
        message_id,
        moment.astimezone(UTC).isoformat().encode() if moment else b"",
        str(size).encode(),
        block.strip(),
    ):
        digest.update(b"%d:" % len(part) + part)
    return digest.hexdigest()
