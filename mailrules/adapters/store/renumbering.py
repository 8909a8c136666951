"""After a UIDVALIDITY change: what is not finished finds its message again by identity (R9)."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select, update

from mailrules.adapters.store.database import Database
from mailrules.adapters.store.schema import OPEN, effect, message
from mailrules.adapters.store.upsert import upsert


class Renumbering:
    """The part of the store that knows messages by identity when their numbers have changed."""

    _database: Database

    def renumber(self, account: str, mailbox: str, *, uidvalidity: int, uids: Mapping[str, int]) -> int:
        """Give unfinished effects the new UIDs of their messages: identity -> UID. Gives how many.

        Those whose message is not there any more keep the old number, which is never used again: they
        are shown until a person skips them.
        """
        moved = 0
        with self._database.write() as connection:
            stale = connection.execute(
                select(effect.c.id, effect.c.identity, effect.c.uidvalidity, effect.c.uid).where(
                    OPEN,
                    effect.c.account == account,
                    effect.c.mailbox == mailbox,
                    effect.c.uidvalidity != uidvalidity,
                )
            ).all()
            for row in stale:
                uid = uids.get(row.identity)
                if uid is None:
                    continue
                old = connection.execute(
                    select(message).where(
                        message.c.account == account,
                        message.c.mailbox == mailbox,
                        message.c.uidvalidity == row.uidvalidity,
                        message.c.uid == row.uid,
                    )
                ).mappings()
                upsert(
                    connection,
                    message,
                    [{**found, "uidvalidity": uidvalidity, "uid": uid} for found in old],
                )
                connection.execute(
                    update(effect).where(effect.c.id == row.id).values(uidvalidity=uidvalidity, uid=uid)
                )
                moved += 1
        return moved
