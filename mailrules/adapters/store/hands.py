"""What the process works on, written down before it does: what kills it is known by that (RELIABILITY R10).

A hand is whatever works by itself on the messages of one mailbox: `JUDGING` on a window of them, `ACTING` on
a set, and each effect that is done one by one (`doing`). A hand is empty again when what became of its
messages is in the journal, and also when they could not be had: only death leaves something in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, delete, select

from mailrules.adapters.store.database import Database
from mailrules.adapters.store.mailboxes import is_
from mailrules.adapters.store.schema import in_hand
from mailrules.adapters.store.upsert import upsert
from mailrules.core.uidset import UidSet

JUDGING = "judge"
ACTING = "act"
SCHEDULED = "schedule"
"""Mail that a scheduled rule judges: it was new long ago, if ever."""


def doing(effect: int) -> str:
    """The hand of one effect that is done by itself."""
    return f"effect {effect}"


class Hands:
    """The part of the store about what is worked on now."""

    _database: Database

    @contextmanager
    def held(self, account: str, mailbox: str, hand: str) -> Iterator[None]:
        """Around the work on what is in a hand. An error empties it: the process lives."""
        try:
            yield
        except BaseException:
            self.let_go(account, mailbox, hand)
            raise

    def take(self, account: str, mailbox: str, hand: str, uidvalidity: int, uids: Iterable[int]) -> None:
        """These are about to be worked on."""
        with self._database.write() as connection:
            hold(connection, account, mailbox, hand, uidvalidity, uids)

    def turn_to(self, account: str, mailbox: str, hand: str, uidvalidity: int, uids: Iterable[int]) -> None:
        """These are about to be worked on, and what was in this hand is not any more."""
        with self._database.write() as connection:
            put_down(connection, account, mailbox, hand)
            hold(connection, account, mailbox, hand, uidvalidity, uids)

    def let_go(self, account: str, mailbox: str, hand: str) -> None:
        """Nothing is in this hand any more, whatever became of it."""
        with self._database.write() as connection:
            put_down(connection, account, mailbox, hand)

    def let_go_of_all(self) -> None:
        """The process ends of itself: nothing that is in its hands has killed it."""
        with self._database.write() as connection:
            connection.execute(delete(in_hand))


def hold(
    connection: Connection, account: str, mailbox: str, hand: str, uidvalidity: int, uids: Iterable[int]
) -> None:
    """Within a transaction: take these in hand, beside what is in it already."""
    key = _key(account, mailbox, hand)
    more = UidSet(uids)
    found = connection.execute(select(in_hand).where(is_(in_hand, key))).one_or_none()
    if found is not None and found.uidvalidity == uidvalidity:
        more |= UidSet.parse(found.uids)
    upsert(connection, in_hand, [{**key, "uidvalidity": uidvalidity, "uids": str(more)}])


def put_down(connection: Connection, account: str, mailbox: str, hand: str) -> None:
    """Within a transaction: nothing is in this hand any more."""
    connection.execute(delete(in_hand).where(is_(in_hand, _key(account, mailbox, hand))))


def _key(account: str, mailbox: str, hand: str) -> Mapping[str, Any]:
    return {"account": account, "mailbox": mailbox, "hand": hand}
