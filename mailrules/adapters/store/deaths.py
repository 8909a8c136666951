"""Messages that were in hand when the process died (RELIABILITY R10).

What was in hand at a death is suspect. Suspects are tried last, and one at a time in the whole process, so
that the second death names its cause: that one is quarantined. A suspect that is through is none any more.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, select, union, update

from mailrules.adapters.store import schema
from mailrules.adapters.store.desk import Desk
from mailrules.adapters.store.effects import chunks
from mailrules.adapters.store.hands import JUDGING, SCHEDULED
from mailrules.adapters.store.journal import UNFINISHED
from mailrules.adapters.store.mailboxes import add_ranges, is_
from mailrules.adapters.store.schema import OPEN, effect, in_hand, message, meta
from mailrules.adapters.store.upsert import upsert
from mailrules.clock import timer
from mailrules.core.uidset import UidSet

ENOUGH = 2
"""Deaths with a message in hand after which it is left alone."""
TURN = 1.0
"""Seconds that one mailbox waits for another's suspect to be through."""
MANY = 3
"""Messages found out within LATELY, from which on suspects wait REST seconds after each start: systemd gives
up what dies too often (`StartLimitBurst` in the unit), and then nobody's mail is done."""
LATELY = timedelta(minutes=5)
REST = 45.0
_NAME = "found_out"


@dataclass(frozen=True, slots=True)
class Buried:
    """How many messages were in hand when a process died, and which one is quarantined for it now."""

    suspects: int = 0
    found_out: tuple[str, str, int] | None = None  # account, mailbox, UID


@dataclass(frozen=True, slots=True)
class _Place:
    account: str
    mailbox: str
    uidvalidity: int

    def key(self, uid: int | None = None) -> dict[str, Any]:
        """Of all its messages, or of one."""
        return asdict(self) | ({} if uid is None else {"uid": uid})


class Deaths(Desk):
    """The part of the store that finds out what kills the process."""

    _turn: threading.Lock
    _next: threading.Lock  # whose turn is next waits for `_turn` with this: nobody has two turns running
    _resting: float

    def bury(self, *, at: datetime) -> Buried:
        """Whoever begins to work on mail says this first: what is in hand was so when the process died.

        Each of these messages has one death more. Nobody is quarantined for having been among others.
        """
        with self._database.read() as connection:
            if connection.execute(select(in_hand).limit(1)).first() is None:
                return Buried(0, None)  # a start writes as little as it can: there may be no room
        with self._database.write() as connection:
            hands = connection.execute(select(in_hand)).all()
            connection.execute(delete(in_hand))
            held = [
                (_Place(h.account, h.mailbox, h.uidvalidity), UidSet.parse(h.uids), h.hand) for h in hands
            ]
            places: dict[_Place, UidSet] = {}
            old: dict[_Place, UidSet] = {}  # judged by a schedule, and not new
            for place, uids, hand in held:
                among = old if hand == SCHEDULED else places
                among[place] = among.get(place, UidSet()) | uids
            alone = {(place, uids.highest): hand for place, uids, hand in held if len(uids) == 1}
            tried = [(key, hand) for key, hand in alone.items() if self._deaths(connection, *key)]
            for place, uids in places.items():
                self._suspect(connection, place, list(uids), at)
            for place, uids in old.items():
                self._suspect(connection, place, list(uids), at, new=False)
            found_out = None
            if len(tried) == 1:  # suspects are tried one at a time; were there more, none would be named
                ((place, uid), hand) = tried[0]
                self._find_out(connection, place, uid, judging=hand in (JUDGING, SCHEDULED), at=at)
                self._rest(connection, at)
                found_out = (place.account, place.mailbox, uid)
        return Buried(sum(map(len, (*places.values(), *old.values()))), found_out)

    def _deaths(self, connection: Connection, place: _Place, uid: int) -> int:
        return connection.scalar(select(message.c.deaths).where(is_(message, place.key(uid)))) or 0

    def _suspect(
        self, connection: Connection, place: _Place, uids: list[int], at: datetime, *, new: bool = True
    ) -> None:
        # Not judged, it has no identity yet. What is not new must not be judged as if it were.
        row = {"state": "waiting" if new else "judged", "next_try": at if new else None, "recorded_at": at}
        for chunk in chunks(uids):
            upsert(connection, message, [place.key(uid) | row for uid in chunk], update_columns=())
            connection.execute(
                update(message)
                .where(is_(message, place.key()), message.c.uid.in_(chunk), message.c.deaths == 0)
                .values(deaths=1)
            )

    def _find_out(
        self, connection: Connection, place: _Place, uid: int, *, judging: bool, at: datetime
    ) -> None:
        """This one kills the process: leave it alone until a person says `retry` or `skip`."""
        key = place.key(uid)
        what = "judged" if judging else "acted on"
        reason = f"mailrules died twice while this message was being {what}"
        connection.execute(
            update(message)
            .where(is_(message, key))
            .values(state="quarantined", deaths=ENOUGH, next_try=None, error=reason)
        )
        open_ = connection.execute(
            select(effect.c.id, effect.c.state).where(is_(effect, key), effect.c.state.in_(UNFINISHED))
        ).all()
        told = {"error": reason, "quarantined": True}
        for row in open_:
            # Past its commit point nobody knows whether it happened.
            to: Any = "unknown" if row.state == "commit" else "failed"
            self._set(connection, [row.id], UNFINISHED, to, at, {row.id: told}, None)
        if judging or not open_:
            add_ranges(connection, place.account, place.mailbox, place.uidvalidity, UidSet([uid]))
            self._say_quarantined(connection, key, reason, at)

    def _rest(self, connection: Connection, at: datetime) -> None:
        text = connection.scalar(select(meta.c.value).where(meta.c.name == _NAME))
        moments = [datetime.fromisoformat(word) for word in json.loads(text or "[]")]
        lately = [moment for moment in moments if at - LATELY < moment <= at] + [at]
        value = json.dumps([moment.isoformat() for moment in lately])
        upsert(connection, meta, [{"name": _NAME, "value": value}])
        if len(lately) >= MANY:
            self._resting = timer() + REST

    def suspects(self, account: str, mailbox: str, uidvalidity: int) -> frozenset[int]:
        """UIDs with something to be done that are to be taken in hand by themselves, after all others.

        Those that were in hand at a death, and those that a person wants tried again after a quarantine.
        """
        if self.quiet(account, mailbox):
            return frozenset()
        place = _Place(account, mailbox, uidvalidity).key()
        # `defer` counts a try: one that waits without any comes from a death or from a person.
        unjudged = select(message.c.uid).where(
            schema.TROUBLED,
            message.c.state == "waiting",
            is_(message, place),
            (message.c.deaths > 0) | (message.c.tries == 0),
        )
        half_done = (
            select(effect.c.uid)
            .join(
                message,
                (effect.c.account == message.c.account)
                & (effect.c.mailbox == message.c.mailbox)
                & (effect.c.uidvalidity == message.c.uidvalidity)
                & (effect.c.uid == message.c.uid),
            )
            .where(
                OPEN,
                effect.c.state.in_(UNFINISHED),
                is_(effect, place),
                (message.c.deaths > 0) | effect.c.detail["quarantined"].as_boolean(),
            )
        )
        with self._database.read() as connection:
            return frozenset(connection.scalars(union(unjudged, half_done)))

    def deadly(self, account: str, mailbox: str, uidvalidity: int) -> frozenset[int]:
        """UIDs of messages that are quarantined because they kill the process."""
        with self._database.read() as connection:
            return frozenset(
                connection.scalars(
                    select(message.c.uid).where(
                        schema.TROUBLED,
                        message.c.state == "quarantined",
                        is_(message, _Place(account, mailbox, uidvalidity).key()),
                        message.c.deaths >= ENOUGH,
                    )
                )
            )

    def died_with(self, account: str, mailbox: str, uidvalidity: int) -> frozenset[int]:
        """UIDs of messages that were in hand at a death, whoever had them, and have not been acquitted."""
        with self._database.read() as connection:
            return frozenset(
                connection.scalars(
                    select(message.c.uid).where(
                        is_(message, _Place(account, mailbox, uidvalidity).key()), message.c.deaths > 0
                    )
                )
            )

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """The turn of one suspect, whichever mailbox it is in; or False: not now, come again.

        Until the block is left, whatever it began must have ended: a death is laid at its door.
        """
        mine = False
        if timer() >= self._resting and self._next.acquire(timeout=TURN):
            mine = self._turn.acquire(timeout=TURN)
            self._next.release()
        try:
            yield mine
        finally:
            if mine:
                self._turn.release()

    def acquit(self, account: str, mailbox: str, uidvalidity: int, uid: int) -> None:
        """A suspect had its turn and we live. One that could not be judged stays suspect."""
        key = _Place(account, mailbox, uidvalidity).key(uid)
        with self._database.write() as connection:
            connection.execute(
                update(message).where(is_(message, key), message.c.state == "judged").values(deaths=0)
            )
