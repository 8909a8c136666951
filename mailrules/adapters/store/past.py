"""What the journal knows of a message that was judged: where it was met, and in which runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from mailrules.adapters.store.database import Database
from mailrules.adapters.store.effects import chunks
from mailrules.adapters.store.runlog import same_message_id
from mailrules.adapters.store.schema import message, run


@dataclass(frozen=True, slots=True)
class Met:
    """A message as it was when it was judged. `flags` None: nobody asked."""

    account: str
    mailbox: str
    uidvalidity: int
    uid: int
    identity: str
    message_id: str | None
    subject: str | None
    sender: str | None
    flags: frozenset[str] | None
    at: datetime


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run: `rules_hash` is that of the rules in force (`House.keep_rules`)."""

    id: int
    kind: str
    rules_hash: str
    started_at: datetime


class Past:
    """The part of the store that `explain` asks."""

    _database: Database

    def met(
        self,
        account: str,
        *,
        mailboxes: Sequence[str] = (),
        uid: int | None = None,
        message_id: str | None = None,
        identity: str | None = None,
    ) -> list[Met]:
        """Messages that something was done to, or planned, the oldest first."""
        query = select(message).where(message.c.account == account, message.c.identity.is_not(None))
        if mailboxes:
            query = query.where(message.c.mailbox.in_(mailboxes))
        if uid is not None:
            query = query.where(message.c.uid == uid)
        if message_id is not None:
            query = query.where(same_message_id(message_id))
        if identity is not None:
            query = query.where(message.c.identity == identity)
        with self._database.read() as connection:
            return [
                Met(
                    row.account, row.mailbox, row.uidvalidity, row.uid, row.identity, row.message_id,
                    row.subject, row.sender, None if row.flags is None else frozenset(row.flags),
                    row.recorded_at,
                )
                for row in connection.execute(query.order_by(message.c.recorded_at, message.c.uid))
            ]  # fmt: skip

    def runs(self, ids: Iterable[int]) -> dict[int, RunRow]:
        """These runs, by id."""
        found: dict[int, RunRow] = {}
        with self._database.read() as connection:
            for chunk in chunks(sorted(set(ids))):
                query = select(run.c.id, run.c.kind, run.c.rules_hash, run.c.started_at)
                for row in connection.execute(query.where(run.c.id.in_(chunk))):
                    found[row.id] = RunRow(row.id, row.kind, row.rules_hash, row.started_at)
        return found
