"""Mailboxes in which nothing waits: what need not be asked again for each new mail.

While this process has the journal nobody else writes it, so it knows when something begins to wait: each
transaction that may do that makes `Database.unrest` grow, and then nothing is known of any mailbox.
"""

from __future__ import annotations

from sqlalchemy import bindparam, select

from mailrules.adapters.store.bulk import run
from mailrules.adapters.store.database import Database
from mailrules.adapters.store.schema import OPEN, TROUBLED, clean, effect, message


class Quiet:
    """The part of the store that remembers where nothing waits."""

    _database: Database
    _open: dict[tuple[str, str], tuple[int, int]]
    """Of mailboxes that were quiet: at which unrest, and how many effects have been planned since and are
    not through."""

    def quiet(self, account: str, mailbox: str) -> bool:
        """Whether no message of this mailbox waits to be judged or is quarantined, and no effect is open."""
        if self._database.read_only:
            return False
        if self._under_way(account, mailbox) == 0:
            return True
        with self._database.read() as connection:
            here = {"of": account, "called": clean(mailbox)}
            if any(run(connection, asked, **here).fetchone() for asked in (_WAITS, _IS_OPEN)):
                return False
            self._open[account, mailbox] = (self._database.unrest, 0)
        return True

    def _under_way(self, account: str, mailbox: str) -> int | None:
        """How many effects are open where nothing else waits; None: nobody knows."""
        known = self._open.get((account, mailbox))
        return known[1] if known is not None and known[0] == self._database.unrest else None

    def _count(self, account: str, mailbox: str, more: int) -> None:
        """Within a transaction: so many effects have been planned, or are through (less than none)."""
        count = self._under_way(account, mailbox)
        if count is not None and count + more >= 0:
            self._open[account, mailbox] = (self._database.unrest, count + more)
        else:
            self._open.pop((account, mailbox), None)


_WAITS = select(message.c.uid).where(
    TROUBLED, message.c.account == bindparam("of"), message.c.mailbox == bindparam("called")
)
_IS_OPEN = select(effect.c.id).where(
    OPEN, effect.c.account == bindparam("of"), effect.c.mailbox == bindparam("called")
)
