"""Messages that no rule matched: what another look by the same rules need not look at."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import bindparam, delete, select

from mailrules.adapters.store.bulk import execute_many, moment, run
from mailrules.adapters.store.database import Database
from mailrules.adapters.store.schema import clean, signed, unmatched
from mailrules.adapters.store.upsert import upsert_statement
from mailrules.core.uidset import UidSet

MOST = 2
"""Fingerprints of rules for which it is kept of each mailbox: `apply` with some of the rules is the other."""


class Unmatched:
    """The part of the store about them."""

    _database: Database

    def unmatched(self, account: str, mailbox: str, uidvalidity: int, *, fingerprint: str) -> UidSet:
        """The messages of a mailbox that these rules did not match."""
        with self._database.read() as connection:
            found = run(
                connection, _FIND, of=account, called=clean(mailbox), under=signed(uidvalidity),
                marked=fingerprint,
            ).fetchone()  # fmt: skip
        return UidSet() if found is None else UidSet.parse(found[0])

    def keep_unmatched(
        self, account: str, mailbox: str, uidvalidity: int, uids: UidSet, *, fingerprint: str, at: datetime
    ) -> None:
        """Exactly these are known from now on; what was known by the oldest rules is forgotten."""
        here = {"account": account, "mailbox": clean(mailbox), "fingerprint": fingerprint}
        row = {**here, "uidvalidity": signed(uidvalidity), "uids": str(uids), "kept_at": moment(at)}
        # Lost to a power cut, it is found out again.
        with self._database.write(durable=False, calm=True) as connection:
            execute_many(connection, _KEEP, [row])
            kept = run(connection, _ALL, of=account, called=here["mailbox"]).fetchall()
            for place, (mark, under) in enumerate(kept):
                if place >= MOST or under != signed(uidvalidity):
                    run(connection, _FORGET, of=account, called=here["mailbox"], marked=mark)


_HERE = (unmatched.c.account == bindparam("of"), unmatched.c.mailbox == bindparam("called"))
_THIS = (*_HERE, unmatched.c.fingerprint == bindparam("marked"))
_FIND = select(unmatched.c.uids).where(*_THIS, unmatched.c.uidvalidity == bindparam("under"))
_ALL = (
    select(unmatched.c.fingerprint, unmatched.c.uidvalidity)
    .where(*_HERE)
    .order_by(unmatched.c.kept_at.desc(), unmatched.c.fingerprint)
)
_FORGET = delete(unmatched).where(*_THIS)
_KEEP = upsert_statement(unmatched, ("uidvalidity", "uids", "kept_at"))
