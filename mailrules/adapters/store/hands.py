"""What the process works on, written down before it does: what kills it is known by that (RELIABILITY R10).

A hand is whatever works by itself on the messages of one mailbox: `JUDGING` on a window of them, each of
`ACTING` on a set, `SETTLING` on what an earlier try left, and each effect that is done one by one (`doing`).
A hand is empty again when what became of its messages is in the journal, and also when they could not be had:
only death leaves something in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, select

from mailrules.adapters.store.bulk import execute_many, run
from mailrules.adapters.store.database import Database
from mailrules.adapters.store.schema import clean, in_hand, signed
from mailrules.adapters.store.upsert import upsert_statement
from mailrules.core.uidset import UidSet

JUDGING = "judge"
ACTING = ("act", "act next")
"""A set is begun before it is written how the last one ended."""
SETTLING = "settle"
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
        with self._database.write(
            durable=False, calm=True
        ) as connection:  # it tells of deaths of the process
            hold(connection, account, mailbox, hand, uidvalidity, uids)

    def turn_to(self, account: str, mailbox: str, hand: str, uidvalidity: int, uids: Iterable[int]) -> None:
        """These are about to be worked on, and what was in this hand is not any more."""
        with self._database.write(durable=False, calm=True) as connection:
            put_down(connection, account, mailbox, hand)
            hold(connection, account, mailbox, hand, uidvalidity, uids)

    def let_go(self, account: str, mailbox: str, hand: str) -> None:
        """Nothing is in this hand any more, whatever became of it."""
        with self._database.write(durable=False, calm=True) as connection:
            put_down(connection, account, mailbox, hand)

    def let_go_of_all(self) -> None:
        """The process ends of itself: nothing that is in its hands has killed it."""
        with self._database.write() as connection:
            connection.execute(delete(in_hand))


def hold(
    connection: Connection, account: str, mailbox: str, hand: str, uidvalidity: int, uids: Iterable[int]
) -> None:
    """Within a transaction: take these in hand, beside what is in it already."""
    more = UidSet(uids)
    found = run(connection, _FIND, **_key(account, mailbox, hand)).fetchone()
    if found is not None and found[0] == signed(uidvalidity):
        more |= UidSet.parse(found[1])
    row = {**_key(account, mailbox, hand), "uidvalidity": signed(uidvalidity), "uids": str(more)}
    execute_many(connection, _HOLD, [row])


def put_down(connection: Connection, account: str, mailbox: str, hand: str) -> None:
    """Within a transaction: nothing is in this hand any more."""
    run(connection, _PUT_DOWN, **_key(account, mailbox, hand))


_HERE = and_(*(in_hand.c[name] == bindparam(name) for name in ("account", "mailbox", "hand")))
_FIND = select(in_hand.c.uidvalidity, in_hand.c.uids).where(_HERE)
_HOLD = upsert_statement(in_hand, ("uidvalidity", "uids"))
_PUT_DOWN = delete(in_hand).where(_HERE)


def _key(account: str, mailbox: str, hand: str) -> Mapping[str, Any]:
    return {"account": account, "mailbox": clean(mailbox), "hand": hand}
