"""What is known of mailboxes: the baseline, the checkpoint, which UIDs are judged, which wait."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    bindparam,
    delete,
    insert,
    literal_column,
    select,
    update,
)

from mailrules.adapters.store.bulk import execute_many, moment, run, time_of
from mailrules.adapters.store.database import Database
from mailrules.adapters.store.rows import MailboxRow
from mailrules.adapters.store.schema import (
    TROUBLED,
    clean,
    message,
    resync,
    seen_mailbox,
    sighting,
    signed,
)
from mailrules.adapters.store.schema import judged as _judged
from mailrules.adapters.store.schema import mailbox as _mailbox
from mailrules.adapters.store.upsert import upsert
from mailrules.core.uidset import UidSet


@dataclass(frozen=True, slots=True)
class Look:
    """A mailbox as the journal has it. `since`: `resync` wants what came since then to be looked at."""

    row: MailboxRow
    since: datetime | None
    judged: UidSet


class Mailboxes:
    """The part of the store about mailboxes."""

    _database: Database

    def mailbox(self, account: str, name: str) -> MailboxRow | None:
        """None: never watched."""
        with self._database.read() as connection:
            return _find(connection, account, name)

    def look(self, account: str, name: str, *, overlap: int) -> Look | None:
        """What a pass over a mailbox begins with, `judged` from so many UIDs below the checkpoint up."""
        with self._database.read() as connection:
            row = _find(connection, account, name)
            if row is None:
                return None
            here = {"of": account, "called": clean(name)}
            since = run(connection, _RESYNC, **here).fetchone()
            ranges = run(connection, _JUDGED, least=max(1, row.high_uid - overlap), **here).fetchall()
        return Look(
            row, time_of(since[0] if since else None), UidSet.of_ranges((low, high) for low, high in ranges)
        )

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
            rows = run(connection, _JUDGED, of=account, called=clean(name), least=low)
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
        with self._database.write(durable=False, calm=True) as connection:
            settle(connection, account, name, uidvalidity, uids, high_uid=uids.highest)
            if swept or full_scan:
                mark_swept(connection, account, name, uidvalidity, at=at, full_scan=full_scan)

    def seen_mailboxes(self, account: str) -> frozenset[str] | None:
        """Mailboxes the account was ever seen to have; None: nobody has looked yet."""
        with self._database.read() as connection:
            names = connection.scalars(select(seen_mailbox.c.name).where(seen_mailbox.c.account == account))
            return frozenset(names) or None

    def remember_mailboxes(self, account: str, names: Iterable[str]) -> None:
        """Add to what `seen_mailboxes` answers."""
        with self._database.read() as connection:
            known = set(
                connection.scalars(select(seen_mailbox.c.name).where(seen_mailbox.c.account == account))
            )
        new = [{"account": account, "name": name} for name in dict.fromkeys(names) if name not in known]
        if not new:
            return
        with self._database.write() as connection:
            upsert(connection, seen_mailbox, new, update_columns=())


_COLUMNS = (
    "account", "name", "uidvalidity", "high_uid", "baseline_at", "last_sweep", "last_full_scan",
    "highest_modseq",
)  # fmt: skip
_FIND = select(*(_mailbox.c[name] for name in _COLUMNS)).where(
    _mailbox.c.account == bindparam("of"), _mailbox.c.name == bindparam("called")
)


def _find(connection: Connection, account: str, name: str) -> MailboxRow | None:
    row = run(connection, _FIND, of=account, called=clean(name)).fetchone()
    if row is None:
        return None
    values = dict(zip(_COLUMNS, row, strict=True))
    values["uidvalidity"] %= 2**64
    for moment_ in ("baseline_at", "last_sweep", "last_full_scan"):
        values[moment_] = time_of(values[moment_])
    return MailboxRow(**values)


def _row(row: Any) -> MailboxRow:
    return MailboxRow(**{name: row[name] for name in _COLUMNS})


def is_(table: Table, key: Mapping[str, Any]) -> ColumnElement[bool]:
    """The row of this key."""
    return and_(*(table.c[name] == value for name, value in key.items()))


def mark_swept(
    connection: Connection, account: str, name: str, uidvalidity: int, *, at: datetime, full_scan: bool
) -> None:
    """Within a transaction: the mailbox was looked at."""
    here = {"of": account, "called": clean(name), "under": signed(uidvalidity)}
    run(connection, _SCANNED if full_scan else _SWEPT, at=moment(at), **here)


def settle(
    connection: Connection, account: str, name: str, uidvalidity: int, uids: UidSet, *, high_uid: int
) -> None:
    """Within a transaction: these are judged; the checkpoint never goes back."""
    if not uids and not high_uid:
        return
    add_ranges(connection, account, name, uidvalidity, uids)
    here = {"of": account, "called": clean(name), "under": signed(uidvalidity)}
    run(connection, _CHECKPOINT, high=high_uid, **here)
    for (uid,) in run(connection, _WAITING, **here).fetchall():
        if uid in uids:
            run(connection, _WAITS_NO_MORE, which=uid, **here)


def add_ranges(connection: Connection, account: str, name: str, uidvalidity: int, uids: UidSet) -> None:
    """Within a transaction: join these UIDs to the judged ranges; what touches becomes one row."""
    if not uids:
        return
    here = {"of": account, "called": clean(name), "under": signed(uidvalidity)}
    near = run(connection, _NEAR, least=uids.lowest - 1, most=uids.highest + 1, **here)
    old = set(near.fetchall())
    new = set(UidSet.of_ranges([*old, *uids.ranges()]).ranges())
    gone, added = old - new, new - old
    execute_many(connection, _RANGE_GONE, [{**here, "first": low} for low, _ in gone])
    execute_many(connection, _RANGE, [{**here, "first": low, "last": high} for low, high in sorted(added)])


def _in(table: Table, mailbox: str = "mailbox") -> ColumnElement[bool]:
    return and_(
        table.c.account == bindparam("of"),
        table.c[mailbox] == bindparam("called"),
        table.c.uidvalidity == bindparam("under"),
    )


_SWEPT = update(_mailbox).where(_in(_mailbox, "name")).values(last_sweep=bindparam("at"))
_SCANNED = _SWEPT.values(last_full_scan=bindparam("at"))
_CHECKPOINT = (
    update(_mailbox)
    .where(_in(_mailbox, "name"), _mailbox.c.high_uid < bindparam("high"))
    .values(high_uid=bindparam("high"))
)
_STATE_WAITING = message.c.state == literal_column("'waiting'")
_WAITING = select(message.c.uid).where(TROUBLED, _STATE_WAITING, _in(message))
_WAITS_NO_MORE = (
    update(message)
    .where(_in(message), message.c.uid == bindparam("which"))
    .values(state=literal_column("'judged'"), next_try=literal_column("NULL"))
)
_RESYNC = select(resync.c.since).where(
    resync.c.account == bindparam("of"), resync.c.mailbox == bindparam("called")
)
_JUDGED = (
    select(_judged.c.low, _judged.c.high)
    .join(
        _mailbox,
        and_(
            _mailbox.c.account == _judged.c.account,
            _mailbox.c.name == _judged.c.mailbox,
            _mailbox.c.uidvalidity == _judged.c.uidvalidity,
        ),
    )
    .where(
        _judged.c.account == bindparam("of"),
        _judged.c.mailbox == bindparam("called"),
        _judged.c.high >= bindparam("least"),
    )
)
_NEAR = select(_judged.c.low, _judged.c.high).where(
    _in(_judged), _judged.c.high >= bindparam("least"), _judged.c.low <= bindparam("most")
)
_RANGE_GONE = delete(_judged).where(_in(_judged), _judged.c.low == bindparam("first"))
_RANGE = insert(_judged).values(
    account=bindparam("of"), mailbox=bindparam("called"), uidvalidity=bindparam("under"),
    low=bindparam("first"), high=bindparam("last"),
)  # fmt: skip


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
