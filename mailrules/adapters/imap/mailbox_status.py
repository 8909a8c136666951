"""How it stands with mailboxes that need not be selected (STATUS)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mailrules.adapters.imap.tokens import Unreadable, number, pairs, tokens, validity
from mailrules.adapters.imap.transport import Reply, astring
from mailrules.core.errors import PermanentError

if TYPE_CHECKING:
    from mailrules.adapters.imap.connection import Connection

AHEAD = 50
"""Questions that are sent before an answer is read: more, and both sides may wait for the other to read."""
_ASKED = b" (MESSAGES UIDNEXT UIDVALIDITY)"


@dataclass(frozen=True, slots=True)
class MailboxStatus:
    messages: int
    uidnext: int | None
    uidvalidity: int


def status_of(connection: Connection, name: str) -> MailboxStatus:
    """Raises NoSuchMailbox."""
    wire = connection.wire_name(name)
    reply = connection.send(b"STATUS ", astring(wire), _ASKED)
    if not reply.ok:
        raise connection.mailbox_failure(reply.status, name, f"asking about mailbox '{name}'")
    told = _read(connection, reply, wire)
    if told is not None:
        return told
    before = connection.current
    mailbox = connection.select(name, read_only=True)  # 163.com answers STATUS with an empty list
    found = MailboxStatus(mailbox.exists, mailbox.uidnext, mailbox.uidvalidity)
    if before is not None:
        connection.reselect(before)
    return found


def statuses_of(connection: Connection, names: Sequence[str]) -> dict[str, MailboxStatus]:
    """Of several in few round trips; those that the server does not tell of, or can't have, are absent."""
    plain: list[tuple[str, bytes, bytes]] = []
    for name in names:
        try:
            wire = connection.wire_name(name)
            part = astring(wire)
        except PermanentError:
            continue  # whoever asks for this one alone hears why
        if isinstance(part, bytes):
            plain.append((name, wire, part))
    found: dict[str, MailboxStatus] = {}
    connection.done()
    for start in range(0, len(plain), AHEAD):
        piece = plain[start : start + AHEAD]
        replies = connection.client.together([b"STATUS " + part + _ASKED for _, _, part in piece])
        for (name, wire, _), reply in zip(piece, replies, strict=True):
            told = _read(connection, reply, wire) if reply.ok else None
            if told is not None:
                found[name] = told
    return found


def _read(connection: Connection, reply: Reply, wire: bytes) -> MailboxStatus | None:
    for response in reply.untagged:
        if response[0][:9].upper() == b"* STATUS ":
            try:
                whose, words = tokens(response, 9)[:2]
                if connection.idling.watch is not None and whose != wire:
                    continue  # told unasked of another one
                answer = pairs(words)
                uidnext = answer.get(b"UIDNEXT")
                uidvalidity = validity(answer[b"UIDVALIDITY"])
                if uidvalidity is None:
                    continue
                return MailboxStatus(
                    number(answer[b"MESSAGES"]), number(uidnext) if uidnext else None, uidvalidity
                )
            except (Unreadable, LookupError, TypeError):
                continue
    return None
