"""Which Message-IDs were seen, and where: for `duplicate`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects import sqlite

from mailrules.adapters.store.bulk import execute_many, moment
from mailrules.adapters.store.database import Database
from mailrules.adapters.store.effects import chunks
from mailrules.adapters.store.schema import clean, sighting


@dataclass(frozen=True, slots=True)
class Sighting:
    """A message that was seen."""

    message_id: str
    identity: str
    mailbox: str
    uid: int
    seen: datetime


class SightingBook:
    """The part of the store that remembers Message-IDs."""

    _database: Database

    def note_sightings(self, account: str, seen: Sequence[Sighting]) -> None:
        """Remember these, in this order. One that is known, wherever it was then, stays as it is."""
        rows = [
            {
                "account": account,
                "message_id": clean(one.message_id),
                "identity": clean(one.identity),
                "mailbox": clean(one.mailbox),
                "uid": one.uid,
                "seen_at": moment(one.seen),
            }
            for one in seen
        ]
        if rows:
            with self._database.write() as connection:
                execute_many(connection, _NOTE, rows)

    def sightings(self, account: str, message_ids: Iterable[str]) -> Mapping[str, Sequence[Sighting]]:
        """What was seen of each of these Message-IDs, oldest first; those never seen are absent."""
        found: dict[str, list[Sighting]] = {}
        with self._database.read() as connection:
            for chunk in chunks(sorted({clean(one) for one in message_ids})):
                rows = connection.execute(
                    select(sighting)
                    .where(sighting.c.account == account, sighting.c.message_id.in_(chunk))
                    .order_by(sighting.c.id)
                )
                for r in rows:
                    one = Sighting(r.message_id, r.identity, r.mailbox, r.uid, r.seen_at)
                    found.setdefault(r.message_id, []).append(one)
        return found

    def forget_sightings(self, account: str, *, before: datetime) -> int:
        """Forget Message-IDs that were last seen before that time. Gives how many sightings that were.

        All of one Message-ID go together: which of them was the first must not change.
        """
        with self._database.write() as connection:
            young = select(sighting.c.message_id).where(
                sighting.c.account == account, sighting.c.seen_at >= before
            )
            return connection.execute(
                delete(sighting).where(
                    sighting.c.account == account,
                    sighting.c.seen_at < before,
                    sighting.c.message_id.not_in(young),
                )
            ).rowcount

    def forget_sightings_but(self, accounts: Collection[str]) -> None:
        """Forget what was seen in accounts where no rule asks for it any more."""
        others = sighting.c.account.not_in(sorted(accounts))
        with self._database.read() as connection:
            if connection.execute(select(sighting.c.id).where(others).limit(1)).first() is None:
                return  # a start writes as little as it can: there may be no room
        with self._database.write() as connection:
            connection.execute(delete(sighting).where(others))


_COLUMNS = ("account", "message_id", "identity", "mailbox", "uid", "seen_at")
_NOTE = (
    sqlite.insert(sighting)
    .values({name: bindparam(name) for name in _COLUMNS})
    .on_conflict_do_nothing(index_elements=["account", "message_id", "identity"])
)
