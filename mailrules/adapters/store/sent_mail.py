"""What was learned from the Sent mailbox: to whom we wrote, and what we answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import bindparam, select
from sqlalchemy.dialects import sqlite

from mailrules.adapters.store.bulk import execute_many, moment
from mailrules.adapters.store.database import Database
from mailrules.adapters.store.effects import chunks
from mailrules.adapters.store.schema import answered, clean, sent, written_to
from mailrules.adapters.store.upsert import upsert


class SentTo(NamedTuple):
    """An address that we wrote to."""

    address: str
    at: datetime


class Answered(NamedTuple):
    """A Message-ID that mail of ours names; when that was sent, and its own Message-ID or ""."""

    message_id: str
    at: datetime
    answer: str


class SentMail:
    """The part of the store that remembers what we wrote. Nothing of it is ever forgotten."""

    _database: Database

    def sent_read(self, account: str) -> tuple[str, int, int] | None:
        """How far Sent has been read: its name, UIDVALIDITY, the highest UID. None: not at all."""
        with self._database.read() as connection:
            row = connection.execute(select(sent).where(sent.c.account == account)).one_or_none()
        return None if row is None else (row.mailbox, row.uidvalidity, row.high_uid)

    def remember_sent(
        self,
        account: str,
        *,
        mailbox: str,
        uidvalidity: int,
        high_uid: int,
        to: Sequence[SentTo],
        answers: Sequence[Answered],
    ) -> None:
        """What messages up to this UID tell, and that they have been read: ONE transaction."""
        with self._database.write() as connection:
            execute_many(
                connection,
                _TO,
                [
                    {"account": account, "address": clean(one.address), "last_at": moment(one.at)}
                    for one in to
                ],
            )
            execute_many(
                connection,
                _ANSWERED,
                [
                    {
                        "account": account,
                        "message_id": clean(one.message_id),
                        "sent_at": moment(one.at),
                        "answer": clean(one.answer),
                    }
                    for one in answers
                ],
            )
            known = connection.execute(select(sent).where(sent.c.account == account)).one_or_none()
            if known is not None and (known.mailbox, known.uidvalidity) == (mailbox, uidvalidity):
                high_uid = max(high_uid, known.high_uid)  # two may read it at a time
            place = {"mailbox": mailbox, "uidvalidity": uidvalidity, "high_uid": high_uid}
            upsert(connection, sent, [{"account": account, **place}])

    def written_to(self, account: str, addresses: Iterable[str]) -> Mapping[str, datetime]:
        """Those of these addresses that we wrote to, and when last."""
        found: dict[str, datetime] = {}
        with self._database.read() as connection:
            for chunk in chunks(sorted({clean(one) for one in addresses})):
                rows = connection.execute(
                    select(written_to.c.address, written_to.c.last_at).where(
                        written_to.c.account == account, written_to.c.address.in_(chunk)
                    )
                )
                found.update((r.address, r.last_at) for r in rows)
        return found

    def answers_to(self, account: str, message_ids: Iterable[str]) -> Mapping[str, Answered]:
        """Those of these Message-IDs that mail of ours names."""
        found: dict[str, Answered] = {}
        with self._database.read() as connection:
            for chunk in chunks(sorted({clean(one) for one in message_ids})):
                rows = connection.execute(
                    select(answered).where(answered.c.account == account, answered.c.message_id.in_(chunk))
                )
                found.update((r.message_id, Answered(r.message_id, r.sent_at, r.answer)) for r in rows)
        return found


def _latest(table: Any, when: str, *others: str) -> Any:
    """INSERT, or where the row is older, write it anew."""
    names = [column.name for column in table.c]
    key = [column.name for column in table.primary_key]
    statement = sqlite.insert(table).values({name: bindparam(name) for name in names})
    return statement.on_conflict_do_update(
        index_elements=key,
        set_={name: statement.excluded[name] for name in (when, *others)},
        where=statement.excluded[when] > table.c[when],
    )


_TO = _latest(written_to, "last_at")
_ANSWERED = _latest(answered, "sent_at", "answer")
