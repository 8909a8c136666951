"""Taking back: what was done to messages, the effects that undo it, and who took back what.

An undo is an effect like any other, through the same arrows; it names what it takes back in `undoes`, and
in the transaction that marks it done what it took back becomes `undone`. To undo an undo does it again: then
the first effect counts as done once more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, update

from mailrules.adapters.store.bulk import execute_many, moment
from mailrules.adapters.store.database import Database
from mailrules.adapters.store.effects import chunks, insert_effects, plain_key, row_of, select_effects
from mailrules.adapters.store.messages import TOLD, message_row
from mailrules.adapters.store.rows import EffectRow, Identity, LogQuery
from mailrules.adapters.store.runlog import filtered
from mailrules.adapters.store.schema import OPEN, clean, effect


@dataclass(frozen=True, slots=True)
class Recorded:
    """An effect, and what the journal knows of its message."""

    row: EffectRow
    message_id: str | None
    subject: str | None


@dataclass(frozen=True, slots=True)
class PlannedUndo:
    """What takes an effect back: on the message of this UID, in the order it is to be done.

    `also`: other effects that it takes back with the same act.
    """

    uid: int
    identity: Identity
    undone: EffectRow
    action: str
    arguments: Mapping[str, Any]
    leaves: bool
    also: tuple[int, ...] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)


class Undoing:
    """The part of the store that undo asks and writes."""

    _database: Database
    _instance: str

    def recorded(self, query: LogQuery) -> list[Recorded]:
        """The effects that a query selects, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(filtered(query).order_by(effect.c.id)).mappings()
            return [Recorded(row_of(row), row["message_id"], row["subject"]) for row in rows]

    def done_to(self, account: str, identities: Iterable[str]) -> list[EffectRow]:
        """Everything that was done to these messages, in the order it was; with it, undos under way."""
        found: list[EffectRow] = []
        with self._database.read() as connection:
            for chunk in chunks(sorted(set(identities))):
                query = select_effects().where(
                    effect.c.account == account,
                    effect.c.identity.in_(chunk),
                    (effect.c.state == "done") | (effect.c.undoes.is_not(None) & OPEN),
                )
                found += [row_of(row) for row in connection.execute(query).mappings()]
        found.sort(key=lambda row: (row.changed_at, row.id))
        return found

    def states(self, ids: Iterable[int]) -> dict[int, EffectRow]:
        """These effects as they are now, by id."""
        found: dict[int, EffectRow] = {}
        with self._database.read() as connection:
            for chunk in chunks(sorted(set(ids))):
                query = select_effects().where(effect.c.id.in_(chunk))
                found |= {row.id: row for row in map(row_of, connection.execute(query).mappings())}
        return found

    def plan_undo(
        self,
        run: int,
        account: str,
        mailbox: str,
        uidvalidity: int,
        undos: Sequence[PlannedUndo],
        *,
        at: datetime,
    ) -> list[EffectRow]:
        """Plan undos of messages in one mailbox, in ONE transaction. Gives the new rows, in their order.

        Raises StoreFull while room is short.
        """
        self._database.demand_room()
        place = {"account": account, "mailbox": mailbox, "uidvalidity": uidvalidity}
        stamp = moment(at)
        rows = [self._undo(undo, run=run, place=place, order=n, at=at) for n, undo in enumerate(undos)]
        with self._database.write() as connection:
            messages = {undo.uid: message_row(undo.uid, undo.identity, place, stamp) for undo in undos}
            execute_many(connection, TOLD, list(messages.values()))
            insert_effects(connection, rows)
        return [row_of(values) for values in rows]

    def _undo(
        self, undo: PlannedUndo, *, run: int, place: Mapping[str, Any], order: int, at: datetime
    ) -> dict[str, Any]:
        named = undo.arguments.get("mailbox")
        of = undo.undone
        return {
            **place,
            "run": run,
            "uid": undo.uid,
            "identity": clean(undo.identity.identity),
            "rule": of.rule,
            "revision": of.revision,
            "step": of.step,
            "place": order,
            "action": undo.action,
            "target": "",
            "arguments": dict(undo.arguments),
            "leaves": undo.leaves,
            "once": False,
            "again": 0,
            "rendered": True,
            "on_unknown": "hold",
            "destination": named if isinstance(named, str) else None,
            "effect_key": plain_key((self._instance, run, undo.uid, of.id, order)),
            "state": "planned",
            "tries": 0,
            "next_try": None,
            "created_at": at,
            "ended_at": None,
            "changed_at": at,
            "detail": {
                "undoes": of.id, **({"also": list(undo.also)} if undo.also else {}), **undo.detail,
            },
            "undoes": of.id,
            "undone": None,
        }  # fmt: skip


def taken_back(row: EffectRow) -> tuple[int, ...]:
    """The effects that an undo takes back."""
    return () if row.undoes is None else (row.undoes, *row.detail.get("also", ()))


def note_undone(connection: Connection, rows: Sequence[EffectRow]) -> None:
    """Within the transaction in which these are done: what they took back is undone, or in force again."""
    undos = [row for row in rows if row.undoes is not None]
    if not undos:
        return
    marks: list[dict[str, Any]] = []
    above = {target: undo.id for undo in undos for target in taken_back(undo)}  # effect -> who decides it
    undone = True
    while above:
        found = [
            row_of(row)
            for chunk in chunks(sorted(above))
            for row in connection.execute(select_effects().where(effect.c.id.in_(chunk))).mappings()
        ]
        # Directly taken back, or the first of a chain of undos: done, undone, done again, …
        first = not marks
        for row in found:
            if first or row.undoes is None:
                marks.append({"this": row.id, "by": above[row.id] if undone else None})
        above = {target: above[row.id] for row in found for target in taken_back(row)}
        undone = not undone
    execute_many(connection, _UNDONE, marks)


_UNDONE = update(effect).where(effect.c.id == bindparam("this")).values(undone=bindparam("by"))
