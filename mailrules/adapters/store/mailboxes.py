"""What is known of mailboxes: the baseline, the checkpoint, which UIDs are judged, which wait."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, bindparam, delete, insert, select, update

from mailrules.adapters.store.database import Database
from mailrules.adapters.store.rows import MailboxRow
from mailrules.adapters.store.schema import TROUBLED, message, resync, seen_mailbox, sighting
from mailrules.adapters.store.schema import judged as _judged
from mailrules.adapters.store.schema import mailbox as _mailbox
from mailrules.core.uidset import UidSet


class Mailboxes:
    """The part of the store about mailboxes."""

    _database: Database

    def mailbox(self, account: str, name: str) -> MailboxRow | None:
        """None: never watched."""
        with self._database.read() as connection:
            return _find(connection, account, name)

    def mailboxes(self, account: str | None = None) -> list[MailboxRow]:
        """All that were ever watched, by account and name."""
        query = select(_mailbox).order_by(_mailbox.c.account, _mailbox.c.name)
        if account is not None:
            query = query.where(_mailbox.c.account == account)
        with self._database.read() as connection:
            return [_row(r) for r in connection.execute(query).mappings()]

    def set_baseline(
        self, account: str, name: str, *, uidvalidity: int, judged: UidSet, high_uid: int, at: datetime
    ) -> None:
        """Start watching, or start anew under another UIDVALIDITY: exactly `judged` counts as judged.

        That also settles what `resync` asked to be looked at here.
        """
        key = {"account": account, "name": name}
        with self._database.write() as connection:
            found = _find(connection, account, name)
            values = {
                "uidvalidity": uidvalidity, "high_uid": high_uid, "last_sweep": at, "last_full_scan": at,
                "highest_modseq": None,
            }  # fmt: skip
            if found is None:
                connection.execute(insert(_mailbox).values(**key, **values, baseline_at=at))
            else:
                connection.execute(update(_mailbox).where(is_(_mailbox, key)).values(**values))
            if found is not None and found.uidvalidity != uidvalidity:
                # Restored mail may have another identity: it must not be taken for its own duplicate.
                connection.execute(
                    delete(sighting).where(sighting.c.account == account, sighting.c.mailbox == name)
                )
            # Ranges of another UIDVALIDITY mean nothing any more.
            connection.execute(delete(_judged).where(_judged.c.account == account, _judged.c.mailbox == name))
            add_ranges(connection, account, name, uidvalidity, judged)
            connection.execute(delete(resync).where(resync.c.account == account, resync.c.mailbox == name))
            # UIDs that waited under another UIDVALIDITY mean nothing now.
            connection.execute(
                update(message)
                .where(
                    message.c.account == account,
                    message.c.mailbox == name,
                    message.c.uidvalidity != uidvalidity,
                    message.c.state == "waiting",
                )
                .values(state="judged", next_try=None)
            )

    def judged(self, account: str, name: str, *, low: int = 1) -> UidSet:
        """UIDs that are judged or were there at the baseline, from `low` up; gaps are not spanned."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(_judged.c.low, _judged.c.high)
                .join(
                    _mailbox,
                    and_(
                        _mailbox.c.account == _judged.c.account,
                        _mailbox.c.name == _judged.c.mailbox,
                        _mailbox.c.uidvalidity == _judged.c.uidvalidity,
                    ),
                )
                .where(_judged.c.account == account, _judged.c.mailbox == name, _judged.c.high >= low)
            )
            return UidSet.of_ranges((max(first, low), last) for first, last in rows)

    def mark_judged(
        self,
        account: str,
        name: str,
        *,
        uidvalidity: int,
        uids: UidSet,
        at: datetime,
        swept: bool = False,
        full_scan: bool = False,
    ) -> None:
        """Judged without effects. `swept`: all above the checkpoint was looked at; `full_scan`: all."""
        with self._database.write() as connection:
            settle(connection, account, name, uidvalidity, uids, high_uid=uids.highest)
            times: dict[str, Any] = {}
            if swept or full_scan:
                times["last_sweep"] = at
            if full_scan:
                times["last_full_scan"] = at
            if times:
                connection.execute(
                    update(_mailbox)
                    .where(
                        _mailbox.c.account == account,
                        _mailbox.c.name == name,
                        _mailbox.c.uidvalidity == uidvalidity,
                    )
                    .values(**times)
                )

    def seen_mailboxes(self, account: str) -> frozenset[str] | None:
        """Mailboxes the account was ever seen to have; None: nobody has looked yet."""
        with self._database.read() as connection:
            names = connection.scalars(select(seen_mailbox.c.name).where(seen_mailbox.c.account == account))
            return frozenset(names) or None

    def remember_mailboxes(self, account: str, names: Iterable[str]) -> None:
        """Add to what `seen_mailboxes` answers."""
        with self._database.write() as connection:
            known = set(
                connection.scalars(select(seen_mailbox.c.name).where(seen_mailbox.c.account == account))
            )
            new = [{"account": account, "name": name} for name in dict.fromkeys(names) if name not in known]
            if new:
                connection.execute(insert(seen_mailbox), new)


def _find(connection: Connection, account: str, name: str) -> MailboxRow | None:
    row = (
        connection.execute(select(_mailbox).where(_mailbox.c.account == account, _mailbox.c.name == name))
        .mappings()
        .one_or_none()
    )
    return None if row is None else _row(row)


def _row(row: Any) -> MailboxRow:
    return MailboxRow(
        account=row["account"],
        name=row["name"],
        uidvalidity=row["uidvalidity"],
        high_uid=row["high_uid"],
        baseline_at=row["baseline_at"],
        last_sweep=row["last_sweep"],
        last_full_scan=row["last_full_scan"],
        highest_modseq=row["highest_modseq"],
    )


def is_(table: Table, key: Mapping[str, Any]) -> ColumnElement[bool]:
    """The row of this key."""
    return and_(*(table.c[name] == value for name, value in key.items()))


def settle(
    connection: Connection, account: str, name: str, uidvalidity: int, uids: UidSet, *, high_uid: int
) -> None:
    """Within a transaction: these are judged; the checkpoint never goes back."""
    if not uids and not high_uid:
        return
    add_ranges(connection, account, name, uidvalidity, uids)
    connection.execute(
        update(_mailbox)
        .where(
            _mailbox.c.account == account,
            _mailbox.c.name == name,
            _mailbox.c.uidvalidity == uidvalidity,
            _mailbox.c.high_uid < high_uid,
        )
        .values(high_uid=high_uid)
    )
    waiting = connection.scalars(
        select(message.c.uid).where(
            TROUBLED,
            message.c.state == "waiting",
            message.c.account == account,
            message.c.mailbox == name,
            message.c.uidvalidity == uidvalidity,
        )
    )
    for uid in [uid for uid in waiting if uid in uids]:
        connection.execute(
            update(message)
            .where(
                message.c.account == account,
                message.c.mailbox == name,
                message.c.uidvalidity == uidvalidity,
                message.c.uid == uid,
            )
            .values(state="judged", next_try=None)
        )


def add_ranges(connection: Connection, account: str, name: str, uidvalidity: int, uids: UidSet) -> None:
    """Within a transaction: join these UIDs to the judged ranges; what touches becomes one row."""
    if not uids:
        return
    key = {"account": account, "mailbox": name, "uidvalidity": uidvalidity}
    near = and_(
        is_(_judged, key), _judged.c.high >= uids.ranges[0][0] - 1, _judged.c.low <= uids.ranges[-1][1] + 1
    )
    old = [(r.low, r.high) for r in connection.execute(select(_judged.c.low, _judged.c.high).where(near))]
    new = UidSet.of_ranges([*old, *uids.ranges]).ranges
    gone, added = set(old) - set(new), set(new) - set(old)
    if gone:
        connection.execute(
            delete(_judged).where(is_(_judged, key), _judged.c.low == bindparam("gone_low")),
            [{"gone_low": low} for low, _ in gone],
        )
    if added:
        connection.execute(
            insert(_judged), [{**key, "low": low, "high": high} for low, high in sorted(added)]
        )


def remove_from_judged(connection: Connection, account: str, name: str, uidvalidity: int, uid: int) -> None:
    """Within a transaction: let a message be judged once more."""
    key = {"account": account, "mailbox": name, "uidvalidity": uidvalidity}
    row = connection.execute(
        select(_judged.c.low, _judged.c.high).where(
            is_(_judged, key), _judged.c.low <= uid, _judged.c.high >= uid
        )
    ).one_or_none()
    if row is None:
        return
    connection.execute(delete(_judged).where(is_(_judged, key), _judged.c.low == row.low))
    parts = [(row.low, uid - 1), (uid + 1, row.high)]
    kept = [{**key, "low": low, "high": high} for low, high in parts if low <= high]
    if kept:
        connection.execute(insert(_judged), kept)
