"""Going on with a journal that was put back from a copy: what it can't know is not guessed (R9)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from mailrules.adapters.store.counters import take
from mailrules.adapters.store.database import Database
from mailrules.adapters.store.mailboxes import settle
from mailrules.adapters.store.schema import (
    OPEN,
    effect,
    in_hand,
    mailbox,
    meta,
    resync,
    seen_mailbox,
    unmatched,
)
from mailrules.adapters.store.upsert import upsert
from mailrules.core.uidset import UidSet

PUT_BACK = "the journal was put back from a copy; it may have happened since"
DOUBTFUL = ("planned", "held", "later", "intent", "copied", "commit")
"""States that an effect may have left since the copy was made, without a person's doing."""


IN_DOUBT = "schedules in doubt"
"""In `meta`, after `resync`: schedules look at all mail, and what they sent since the copy is not known."""


@dataclass(frozen=True, slots=True)
class Resynced:
    """What `resync` came to: ids of effects that became `unknown`, mailboxes to be looked at."""

    unknown: tuple[int, ...]
    mailboxes: tuple[tuple[str, str], ...]


class Resync:
    """The part of the store for journals that were put back."""

    _database: Database

    def doubtful(self) -> int:
        """How many effects that can't be repeated are open, and may have happened since the copy."""
        with self._database.read() as connection:
            return len(_doubtful(connection))

    def resync(self, *, since: datetime, at: datetime) -> Resynced:
        """Go on with this journal, in one transaction, though it is older than the last one used here.

        What can't be repeated and was open becomes `unknown`, for a person to decide. In each mailbox,
        mail that the journal does not know is new only if it came at `since` or later.
        """
        with self._database.write(irrevocable=True) as connection:
            rows = _doubtful(connection)
            if rows:
                change = take(connection, "change", 1)
                connection.execute(
                    update(effect)
                    .where(effect.c.id == bindparam("this"))
                    .values(
                        state="unknown", detail=bindparam("said"), next_try=None, ended_at=at,
                        changed_at=at, change=change,
                    ),
                    [{"this": id_, "said": {**detail, "error": PUT_BACK}} for id_, detail in rows],
                )  # fmt: skip
            _look_for_copies(connection)
            known = [
                (row.account, row.name)
                for row in connection.execute(
                    select(mailbox.c.account, mailbox.c.name).order_by(mailbox.c.account, mailbox.c.name)
                )
            ]
            connection.execute(delete(resync))
            if known:
                connection.execute(
                    insert(resync), [{"account": a, "mailbox": name, "since": since} for a, name in known]
                )
            # A mailbox that came into being after the copy would count as new, with all its mail.
            connection.execute(delete(seen_mailbox))
            connection.execute(delete(meta).where(meta.c.name.startswith("watched:", autoescape=True)))
            connection.execute(delete(in_hand))
            connection.execute(delete(unmatched))
            upsert(connection, meta, [{"name": IN_DOUBT, "value": at.isoformat()}])
        return Resynced(tuple(id_ for id_, _ in rows), tuple(known))

    def in_doubt(self) -> bool:
        """Whether scheduled rules may have done what can't be repeated since the copy was made."""
        with self._database.read() as connection:
            return connection.scalar(select(meta.c.value).where(meta.c.name == IN_DOUBT)) is not None

    def doubt_no_more(self) -> None:
        """Those rules are paused now."""

        def forget() -> None:
            with self._database.write() as connection:
                connection.execute(delete(meta).where(meta.c.name == IN_DOUBT))

        self._database.insist(forget)

    def resync_since(self, account: str, name: str) -> datetime | None:
        """From when on mail of this mailbox is new, if it was not looked at since `resync`."""
        with self._database.read() as connection:
            found: datetime | None = connection.scalar(
                select(resync.c.since).where(resync.c.account == account, resync.c.mailbox == name)
            )
            return found

    def resynced(self, account: str, name: str, *, uidvalidity: int, old: UidSet) -> None:
        """It was looked at: these count as judged, and the next sweep looks at all of the mailbox."""
        with self._database.write() as connection:
            settle(connection, account, name, uidvalidity, old, high_uid=0)
            connection.execute(
                update(mailbox)
                .where(mailbox.c.account == account, mailbox.c.name == name)
                .values(last_full_scan=None)
            )
            connection.execute(delete(resync).where(resync.c.account == account, resync.c.mailbox == name))


def _doubtful(connection: Connection) -> list[tuple[int, dict[str, Any]]]:
    rows = connection.execute(
        select(effect.c.id, effect.c.detail)
        .where(OPEN, effect.c.once, effect.c.state.in_(DOUBTFUL))
        .order_by(effect.c.id)
    )
    return [(row.id, row.detail) for row in rows]


def _look_for_copies(connection: Connection) -> None:
    """A copy may have been made since: recovery looks for it in all of its mailbox before it makes one.

    A move that was done since needs no such mark: its message is not there any more.
    """
    rows = connection.execute(
        select(effect.c.id, effect.c.detail, effect.c.destination).where(
            OPEN, effect.c.state.in_(DOUBTFUL), effect.c.action == "copy", effect.c.destination.is_not(None)
        )
    ).all()
    marked = [
        {"this": row.id, "said": {**row.detail, "destination": _anywhere(row.destination)}}
        for row in rows
        if "destination" not in row.detail
    ]
    if marked:
        connection.execute(
            update(effect).where(effect.c.id == bindparam("this")).values(detail=bindparam("said")), marked
        )


def _anywhere(name: str) -> dict[str, Any]:
    """As `World.destination` gives it, of a time when nothing was there."""
    return {"mailbox": name, "uidvalidity": 0, "uidnext": None}
