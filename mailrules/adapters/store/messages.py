"""What the journal knows of a message: its row of `message`, written with whatever is recorded of it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import case, literal_column

from mailrules.adapters.store.bulk import as_json, moment
from mailrules.adapters.store.rows import Identity
from mailrules.adapters.store.schema import clean, message, signed
from mailrules.adapters.store.upsert import upsert_statement

MOST_OCTETS = 300
"""Characters of a message's flags that are usual: of others nothing is kept in memory."""
_TELLING = (
    "identity", "message_id", "subject", "sender", "internaldate", "size", "flags", "state", "recorded_at",
)  # fmt: skip
_WAITING: Any = literal_column("'waiting'")
TOLD = upsert_statement(
    message,
    _TELLING,
    instead={"state": case((message.c.state == _WAITING, _WAITING), else_=literal_column("excluded.state"))},
)
"""For `execute_many`, with rows of `message_row`. What waits to be judged waits on, whoever acted on it
meanwhile: `mailboxes.settle` says when it is judged."""


def message_row(uid: int, told: Identity, place: Mapping[str, Any], stamp: int | None) -> dict[str, Any]:
    """`place`: account, mailbox and UIDVALIDITY; `stamp`: when it is recorded."""
    return {
        "account": place["account"],
        "mailbox": clean(place["mailbox"]),
        "uidvalidity": signed(place["uidvalidity"]),
        "uid": uid,
        "identity": clean(told.identity),
        "message_id": clean(told.message_id) if told.message_id else None,
        "subject": clean(told.subject) if told.subject else None,
        "sender": clean(told.sender) if told.sender else None,
        "internaldate": moment(told.internaldate),
        "size": told.size,
        "flags": None if told.flags is None else _flags(frozenset(told.flags)),
        "state": "judged",
        "recorded_at": stamp,
    }


def _flags(flags: frozenset[str]) -> str:
    if sum(map(len, flags)) > MOST_OCTETS:
        return as_json(sorted(flags))
    return _usual_flags(flags)


@lru_cache(maxsize=1000)
def _usual_flags(flags: frozenset[str]) -> str:
    return as_json(sorted(flags))
