"""The brakes on sending: 20 a minute and account are sent, the rest is put off; 500 a day, the rest is held.

A send is counted at its commit point. There is room for one more only beside those counted and those
under way, so that no minute and no day sees more, however many mailboxes of the account send at once.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import Connection, select

from mailrules.adapters.store.brakes import DAY, HOUR, MINUTE, SENDS, Tripped, counted, paused_now, trip
from mailrules.adapters.store.effects import chunks
from mailrules.adapters.store.journal import Journal
from mailrules.adapters.store.rows import EffectRow, State
from mailrules.adapters.store.schema import OPEN, brake_count, effect

log = logging.getLogger("mailrules.run")

A_MINUTE = 20
A_DAY = 500
FROM: tuple[State, ...] = ("planned", "later", "intent")
"""States in which a send may still be put off: nothing has gone out."""


class Sending(Journal):
    """The part of the store that says whether there is room for one more send."""

    _paused: frozenset[str] | None

    def undisturbed(self) -> AbstractContextManager[object]:
        """Nobody else reads or writes the journal meanwhile: between `room_to_send` and the arrow to `intent`
        nobody takes the room."""
        return self._database.lock

    def room_to_send(
        self, rows: Sequence[EffectRow], *, at: datetime
    ) -> tuple[list[EffectRow], Literal["", "later", "held"], str]:
        """Of sends of one account, in this order, those there is room for now; what became of the others,
        and why.

        They become `later`, each at the time at which there will be room, or `held` where the day's
        number has been sent: sending from the account is paused then, until a person says `resume ACCOUNT`.
        Raises Fenced, with nothing written, if one of them is somebody else's now.
        """
        tripped: Tripped | None = None
        with self.undisturbed():
            with self._database.read() as connection:
                room, waits = self._room(connection, rows, at)
            if room >= len(rows):
                return list(rows), "", ""
            left = [row for row in rows[max(room, 0) :] if row.state != "commit"]
            with self._database.write() as connection:
                account = rows[0].account
                target = f"sending:{account}"
                spent = counted(connection, f"day:{account}", now=at, within=DAY) >= A_DAY
                if spent and target not in paused_now(connection):
                    self._paused = None
                    words = f"{A_DAY} messages have been sent within a day, the most that is sent by itself"
                    tripped = trip(connection, target, words, at)
                if spent:
                    because = f"{A_DAY} messages were sent within a day"
                    for piece in chunks(left):
                        words_of = {row.id: {"because": because} for row in piece}
                        self._move(connection, piece, FROM, "held", at, words_of, None)
                else:
                    minute = len(waits) >= A_MINUTE
                    because = f"delayed: an account sends {A_MINUTE} messages a minute at most"
                    if not minute:
                        because = f"delayed: the last of the day's {A_DAY} messages are on their way"
                    self._put_off(connection, left, waits, at, because)
        if tripped is not None:
            log.error("%s", tripped)
        return list(rows[: max(room, 0)]), "held" if spent else "later", because

    def _room(
        self, connection: Connection, rows: Sequence[EffectRow], at: datetime
    ) -> tuple[int, list[datetime]]:
        """How many of these may begin; and when the sends that keep the others out were or will be."""
        account = rows[0].account
        mine = {row.id for row in rows}
        sends = select(effect.c.id, effect.c.state, effect.c.next_try, effect.c.detail).where(
            OPEN, effect.c.account == account, effect.c.action.in_(sorted(SENDS))
        )
        begun = sends.where(effect.c.state == "intent", effect.c.changed_at > at - HOUR)
        flying = [r.id for r in connection.execute(begun) if r.id not in mine]
        times = connection.execute(
            select(brake_count.c.at, brake_count.c.count).where(
                brake_count.c.brake == f"minute:{account}",
                brake_count.c.at > at - MINUTE,
                brake_count.c.at <= at + MINUTE,
            )
        ).all()
        taken = [moment for moment, count in times for _ in range(count)] + [at] * len(flying)
        day = counted(connection, f"day:{account}", now=at, within=DAY) + len(flying)
        room = min(A_MINUTE - len(taken), A_DAY - day)
        if room >= len(rows):
            return room, []
        waiting = connection.execute(sends.where(effect.c.state == "later", effect.c.next_try > at))
        taken += [at] * max(room, 0)
        taken += [r.next_try for r in waiting if r.id not in mine and r.detail.get("brake")]
        return room, sorted(taken)

    def _put_off(
        self,
        connection: Connection,
        rows: Sequence[EffectRow],
        taken: list[datetime],
        at: datetime,
        because: str,
    ) -> None:
        """`later`, each when there will be room for it beside those that are before it."""
        words = {"because": because, "brake": True}
        slots: dict[datetime, list[EffectRow]] = {}
        for row in rows:
            before = taken[-A_MINUTE] if len(taken) >= A_MINUTE else at
            slot = _whole_second(max(before, taken[-1] - MINUTE if taken else before) + MINUTE)
            taken.append(slot)
            slots.setdefault(slot, []).append(row)
        for slot, those in slots.items():
            for piece in chunks(those):
                self._move(connection, piece, FROM, "later", at, {r.id: words for r in piece}, slot)


def _whole_second(moment: datetime) -> datetime:
    """Not before it: those that come due together are sent together."""
    return (moment + timedelta(microseconds=999_999)).replace(microsecond=0)
