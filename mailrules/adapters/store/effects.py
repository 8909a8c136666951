"""Rows of the effect table: written, read, and how they are called towards the world."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, insert, select

from mailrules.adapters.store.bulk import as_json, execute_many, moment
from mailrules.adapters.store.counters import take
from mailrules.adapters.store.rows import EffectRow
from mailrules.adapters.store.schema import clean, effect, signed

LARGEST_SET = 500
"""Rows in one statement; a set of more is the caller's mistake (SQLite also limits bound variables)."""

FEW = 50
"""New effects that get their ids in the order of their messages, so that what a person sees of a run is."""


def effect_key(parts: tuple[object, ...]) -> str:
    """What an effect is called towards the world: the same over retries, never the same twice (R3)."""
    text = "\0".join(str(part) for part in parts)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return base64.b32encode(digest).decode().rstrip("=").lower()


def plain_key(parts: tuple[object, ...]) -> str:
    """The key of an effect that the world is never told: another one each time, and cheap."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def insert_effects(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Within a transaction: write new effects; each row is given its id.

    Of many, those of messages that go to one place get ids in a row: they lie side by side then, and each
    arrow of such a set writes few pages instead of all.
    """
    if not rows:
        return
    first, change = take(connection, "effect", len(rows)), take(connection, "change", 1)
    written = []
    stamps: dict[datetime | None, int | None] = {}  # few moments, of many rows
    for id_, row in enumerate(rows if len(rows) <= FEW else _by_destination(rows), first):
        row["id"], row["change"] = id_, change
        row_written = row.copy()
        row_written["mailbox"] = clean(row["mailbox"])
        row_written["uidvalidity"] = signed(row["uidvalidity"])
        if row["destination"] is not None:
            row_written["destination"] = clean(row["destination"])
        row_written["arguments"] = as_json(row["arguments"])
        row_written["detail"] = as_json(row["detail"]) if row["detail"] else "{}"
        for name in _MOMENTS:
            value = row[name]
            if value not in stamps:
                stamps[value] = moment(value)
            row_written[name] = stamps[value]
        written.append(row_written)
    execute_many(connection, _INSERT, written)


def _by_destination(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """In their order, but messages that leave for the same place together."""
    if any(row["action"] == "assign" for row in rows):
        return list(rows)  # whose turn it was is known by the order of their ids
    going = {row["uid"]: row["destination"] or "" for row in rows if row["leaves"]}
    return sorted(rows, key=lambda row: going.get(row["uid"], ""))


def chunks(values: Sequence[Any]) -> Iterable[Sequence[Any]]:
    """Pieces that fit one statement."""
    return (values[start : start + LARGEST_SET] for start in range(0, len(values), LARGEST_SET))


_MOMENTS = ("next_try", "created_at", "ended_at", "changed_at")
_LATER = ("epoch", "intent_at", "commit_at")
"""Columns that a new effect leaves as the schema has them."""
_INSERT = insert(effect).values({c.name: bindparam(c.name) for c in effect.c if c.name not in _LATER})

_NAMES = ["place" if name == "order" else name for name in EffectRow._fields]
_VALUES = itemgetter(*_NAMES)
_COLUMNS: tuple[ColumnElement[Any], ...] = tuple(effect.c[name] for name in _NAMES)


def select_effects() -> Any:
    """A SELECT of what an EffectRow holds."""
    return select(*_COLUMNS)


def row_of(values: Any) -> EffectRow:
    """From what `select_effects` gave, or from what was inserted."""
    return EffectRow._make(_VALUES(values))
