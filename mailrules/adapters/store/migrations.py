"""From an older schema to this version's, in one transaction; never back."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping

from sqlalchemy import Connection, insert, inspect, select, update

from mailrules.adapters.store import schema
from mailrules.adapters.store.database import Database, StoreBroken

Migration = Callable[[Connection], None]


def _to_2(connection: Connection) -> None:
    """`resync`: mailboxes of a restored journal; `in_hand`: what the process works on."""
    for table, columns in (
        ("resync", ("account TEXT", "mailbox TEXT", "since BIGINT")),
        ("in_hand", ("account TEXT", "mailbox TEXT", "hand TEXT", "uidvalidity BIGINT", "uids TEXT")),
    ):
        key = ", ".join(c.split()[0] for c in columns if c.split()[0] in ("account", "mailbox", "hand"))
        body = "".join(f"\t{column} NOT NULL, \n" for column in columns)
        connection.exec_driver_sql(f"CREATE TABLE {table} (\n{body}\tPRIMARY KEY ({key})\n)")


def _to_3(connection: Connection) -> None:
    """What the whole rule language remembers."""
    for ddl in _DDL_3:
        connection.exec_driver_sql(ddl)


_DDL_3: tuple[str, ...] = (
    "CREATE INDEX effect_reply ON effect (account, rule, target, created_at) WHERE action = 'reply'",
    (
        "CREATE TABLE scheduled (\n"
        "\trule TEXT NOT NULL, \n"
        "\taccount TEXT NOT NULL, \n"
        "\tmailbox TEXT NOT NULL, \n"
        "\tschedule TEXT NOT NULL, \n"
        "\ttimezone TEXT NOT NULL, \n"
        "\tsince BIGINT NOT NULL, \n"
        "\tbegun_at BIGINT, \n"
        "\tlast_at BIGINT, \n"
        "\ttrouble TEXT NOT NULL, \n"
        "\tPRIMARY KEY (rule, account, mailbox)\n"
        ")"
    ),
    "CREATE TABLE sighting (\n\tid INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, \n"
    "\taccount TEXT NOT NULL, \n\tmessage_id TEXT NOT NULL, \n\tidentity TEXT NOT NULL, \n"
    "\tmailbox TEXT NOT NULL, \n\tuid BIGINT NOT NULL, \n\tseen_at BIGINT NOT NULL\n)",
    "CREATE UNIQUE INDEX sighting_message ON sighting (account, message_id, identity)",
    "CREATE TABLE sent (\n\taccount TEXT NOT NULL, \n\tmailbox TEXT NOT NULL, \n"
    "\tuidvalidity BIGINT NOT NULL, \n\thigh_uid BIGINT NOT NULL, \n\tPRIMARY KEY (account)\n)",
    "CREATE TABLE written_to (\n\taccount TEXT NOT NULL, \n\taddress TEXT NOT NULL, \n"
    "\tlast_at BIGINT NOT NULL, \n\tPRIMARY KEY (account, address)\n)\n WITHOUT ROWID\n\n",
    "CREATE TABLE answered (\n\taccount TEXT NOT NULL, \n\tmessage_id TEXT NOT NULL, \n"
    "\tsent_at BIGINT NOT NULL, \n\tanswer TEXT NOT NULL, \n"
    "\tPRIMARY KEY (account, message_id)\n)\n WITHOUT ROWID\n\n",
    "CREATE TABLE brake_count (\n\tbrake TEXT NOT NULL, \n\trun BIGINT NOT NULL, \n\tat BIGINT NOT NULL, \n"
    "\tcount BIGINT NOT NULL, \n\tPRIMARY KEY (brake, run, at)\n)",
    "CREATE TEMP TABLE paused AS SELECT target, since, reason FROM pause",
    "DROP TABLE pause",
    "CREATE TABLE pause (\n\ttarget TEXT NOT NULL, \n\tsince BIGINT NOT NULL, \n\treason TEXT NOT NULL, \n"
    "\tnew_only BOOLEAN DEFAULT '0' NOT NULL, \n\tPRIMARY KEY (target)\n)",
    "INSERT INTO pause SELECT target, since, reason, 0 FROM paused",
    "DROP TABLE paused",
    "CREATE INDEX effect_assign ON effect (rule, target, id) WHERE action = 'assign'",
)


def _to_4(connection: Connection) -> None:
    """`unmatched`: what `apply` need not look at again."""
    connection.exec_driver_sql(
        "CREATE TABLE unmatched (\n\taccount TEXT NOT NULL, \n\tmailbox TEXT NOT NULL, \n"
        "\tfingerprint TEXT NOT NULL, \n\tuidvalidity BIGINT NOT NULL, \n\tuids TEXT NOT NULL, \n"
        "\tkept_at BIGINT NOT NULL, \n\tPRIMARY KEY (account, mailbox, fingerprint)\n)"
    )


MIGRATIONS: Mapping[int, Migration] = {1: _to_2, 2: _to_3, 3: _to_4}
"""`MIGRATIONS[n]` makes version n + 1 out of version n. It says its own DDL: `schema.py` moves on."""


def migrate(
    database: Database, *, migrations: Mapping[int, Migration] = MIGRATIONS, newest: int = schema.VERSION
) -> None:
    """Create the tables or bring them up to date. Raises StoreBroken if the journal is newer than we are."""
    with database.write() as connection:
        found = _version(connection)
        if found is None:
            schema.metadata.create_all(connection)
            connection.execute(
                insert(schema.meta),
                [{"name": "version", "value": str(newest)}, {"name": "instance", "value": uuid.uuid4().hex}],
            )
            return
        _refuse_newer(database, found, newest)
        for version in range(found, newest):
            migrations[version](connection)
        if found < newest:
            connection.execute(
                update(schema.meta).where(schema.meta.c.name == "version").values(value=str(newest))
            )


def check(database: Database, *, newest: int = schema.VERSION) -> None:
    """For a reader, who may not migrate: the journal must be of this version."""
    with database.read() as connection:
        found = _version(connection)
    if found is None:
        raise StoreBroken(f"{database.path} has no journal in it yet. `mailrules run` writes the first one.")
    _refuse_newer(database, found, newest)
    if found < newest:
        raise StoreBroken(
            f"{database.path} was written by an older mailrules. `mailrules run` brings it up to date."
        )


def _version(connection: Connection) -> int | None:
    if not inspect(connection).has_table("meta"):
        return None
    value = connection.scalar(select(schema.meta.c.value).where(schema.meta.c.name == "version"))
    return None if value is None else int(value)


def _refuse_newer(database: Database, found: int, newest: int) -> None:
    if found > newest:
        raise StoreBroken(
            f"{database.path} was written by a newer mailrules (journal version {found}; this one knows "
            f"{newest}). Install that version again, or restore a backup made before it."
        )
