"""Schemas: from older to newer in one step, never back, and no change goes unnoticed."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Connection

from mailrules.adapters.store import Store, StoreBroken
from mailrules.adapters.store.database import Database
from mailrules.adapters.store.migrations import MIGRATIONS, check, migrate
from mailrules.adapters.store.schema import VERSION
from tests.lab.journal import opened

DUMPS = Path(__file__).parent


def dump(path: Path) -> str:
    with opened(path) as connection:
        rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql > '' ORDER BY type DESC, name")
        return "".join(f"{sql};\n" for (sql,) in rows if "sqlite_sequence" not in sql)


def version(path: Path) -> str:
    with opened(path) as connection:
        return str(connection.execute("SELECT value FROM meta WHERE name = 'version'").fetchone()[0])


def test_the_schema_is_what_its_version_says(store: Store) -> None:
    """Tables that changed need a new version, a migration, and a new dump."""
    expected = DUMPS / f"schema_v{VERSION}.sql"
    assert dump(store.path) == expected.read_text()


@pytest.mark.parametrize("old", sorted(MIGRATIONS))
def test_each_old_version_becomes_this_one(tmp_path: Path, old: int) -> None:
    """A journal of every older version ends with the same tables as a fresh one."""
    path = tmp_path / "journal.db"
    with opened(path) as connection:
        connection.executescript((DUMPS / f"schema_v{old}.sql").read_text())
        connection.execute("INSERT INTO meta VALUES ('version', ?), ('instance', 'x')", (str(old),))
    Store.open(tmp_path).close()
    with Store.open(tmp_path / "fresh") as fresh:
        assert dump(path) == dump(fresh.path)


def test_every_older_version_has_its_migration() -> None:
    """There is a way from each version to the next."""
    assert set(MIGRATIONS) == set(range(1, VERSION))


def add_column(connection: Connection) -> None:
    connection.exec_driver_sql("ALTER TABLE pause ADD COLUMN colour TEXT")


def break_down(connection: Connection) -> None:
    add_column(connection)
    connection.exec_driver_sql("UPDATE nowhere SET x = 1")


def test_a_migration_is_all_or_nothing(store: Store) -> None:
    """One that fails leaves the old tables and the old version; the next start tries again."""
    before = dump(store.path)
    database = Database(store.path, read_only=False)
    with pytest.raises(Exception, match="nowhere"):
        migrate(database, migrations={VERSION: break_down}, newest=VERSION + 1)
    assert (dump(store.path), version(store.path)) == (before, str(VERSION))
    migrate(database, migrations={VERSION: add_column}, newest=VERSION + 1)
    assert "colour" in dump(store.path)
    assert version(store.path) == str(VERSION + 1)
    database.close()


def test_a_newer_journal_is_refused(store: Store) -> None:
    """A version from the future is not touched, and the message says what to do."""
    path = store.path
    store.set("version", str(VERSION + 1))
    store.close()
    for read_only in (False, True):
        with pytest.raises(StoreBroken, match=r"written by a newer mailrules.*Install that version again"):
            Store.open(path.parent, read_only=read_only)


def test_a_reader_does_not_migrate(store: Store) -> None:
    """A reader of an older journal says who brings it up to date."""
    database = Database(store.path, read_only=True)
    with pytest.raises(StoreBroken, match="written by an older mailrules"):
        check(database, newest=VERSION + 1)
    database.close()
