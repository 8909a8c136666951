"""A message from its bytes alone: for `explain FILE`, for `tests:`, for whoever has no server."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from mailrules.core.conditions.date import parse_date
from mailrules.core.conditions.script import NOT_WITHOUT
from mailrules.core.decoding import decode
from mailrules.core.headers import Headers, normal_lines, split_message, without_envelope_line
from mailrules.core.message import (
    ALL_HEADERS,
    BODY,
    FLAGS,
    HISTORY,
    INTERNALDATE,
    SIZE,
    STRUCTURE,
    Fact,
    Message,
    MessageKey,
    Unavailable,
)
from mailrules.core.mime import body_text, parts_with_bytes, text_parts, wire_size


def message_from_bytes(
    raw: bytes,
    *,
    account: str = "-",
    mailbox: str = "INBOX",
    uid: int = 0,
    flags: Iterable[str] = frozenset(),
    received: datetime | None = None,
    now: datetime,
    body_limit: int = 1_000_000,
    trusted_authserv: Iterable[str] = (),
) -> Message:
    """A message with every fact that a file can tell; the others are missing (see `without_server`).

    `received` stands for INTERNALDATE; without it the topmost Received, else Date, else `now` does.
    The size counts line ends as CRLF. Never raises.
    """
    raw = normal_lines(without_envelope_line(raw))
    headers, _ = split_message(raw)
    parts = parts_with_bytes(raw)
    structure = tuple(part for part, _ in parts)
    readable = set(text_parts(structure))
    facts: dict[Fact, Any] = {
        FLAGS: frozenset(flags),
        INTERNALDATE: received or _arrival(headers) or now,
        SIZE: wire_size(raw),
        STRUCTURE: structure,
        BODY: body_text([(part, data) for part, data in parts if part in readable], body_limit),
        ALL_HEADERS: headers,
        HISTORY: "new",
    }
    return Message(MessageKey(account, mailbox, 0, uid), now, facts, tuple(trusted_authserv))


def without_server(message: Message, wanted: Iterable[Fact]) -> Message:
    """Says of every wanted fact that is missing that only a server can tell it. Changes the message."""
    for fact in wanted:
        if not message.has(fact):
            message.facts[fact] = Unavailable(_WORDS.get(fact.kind, f"only a server can tell ({fact.kind})"))
    return message


_WORDS = {
    "sightings": "only the journal can tell (duplicate): see explain --uid",
    "written_to": "only the Sent mailbox can tell (replied_to): see explain --uid",
    "answer": "only the Sent mailbox can tell (unanswered_for): see explain --uid",
    "script": NOT_WITHOUT,
}


def _arrival(headers: Headers) -> datetime | None:
    """When the last server took it: the date behind the last `;` of the topmost Received, else Date."""
    for raw in headers.get("received")[:1]:
        moment = parse_date(decode(raw).rpartition(";")[2].strip())
        if moment is not None:
            return moment
    for raw in headers.get("date")[:1]:
        return parse_date(decode(raw))
    return None
