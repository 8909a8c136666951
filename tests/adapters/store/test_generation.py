"""A journal that was put back to an older copy is noticed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mailrules.adapters.store import Store, StoreBroken, generation
from mailrules.core.errors import NotPermitted

from .journal_words import decided, flag, forward, record


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the number grow with every transaction."""
    monkeypatch.setattr(generation, "EVERY", 0.0)


def copy(state: Path, to: Path) -> None:
    with Store.open(state) as store, store._database.read() as connection:
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql(f"VACUUM INTO '{to}'")
        connection.exec_driver_sql("BEGIN")


def test_an_older_copy_is_refused(tmp_path: Path) -> None:
    """A copy put back after more was done is not gone on with, and what to do is said."""
    state = tmp_path / "state"
    with Store.open(state) as store:
        record(store, decided(1, flag()))
    copy(state, tmp_path / "backup.db")
    with Store.open(state) as store:
        record(store, decided(2, flag()))
    shutil.copy(tmp_path / "backup.db", state / "journal.db")
    with pytest.raises(StoreBroken, match="restored from a copy"):
        Store.open(state)
    with Store.open(state, read_only=True) as reader:  # looking does no harm
        assert len(list(reader.log())) == 1
    (state / "generation").unlink()
    Store.open(state).close()


def test_another_journal_is_refused(tmp_path: Path) -> None:
    """So is one that was never used here."""
    for name in ("a", "b"):
        with Store.open(tmp_path / name) as store:
            record(store, decided(1, flag()))
    shutil.copy(tmp_path / "b" / "journal.db", tmp_path / "a" / "journal.db")
    with pytest.raises(StoreBroken, match="or replaced"):
        Store.open(tmp_path / "a")


def test_the_newest_goes_on(tmp_path: Path) -> None:
    """Start after start, with and without a torn file beside it."""
    state = tmp_path / "state"
    for uid in range(1, 4):
        with Store.open(state) as store:
            record(store, decided(uid, flag()))
    (state / "generation").write_text('{"instance": "cut o')
    with Store.open(state) as store:
        assert len(list(store.log())) == 3


def test_the_number_grows_seldom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not every transaction pays for the file."""
    monkeypatch.setattr(generation, "EVERY", 30.0)
    with Store.open(tmp_path) as store:
        record(store, decided(1, flag()))
        before = (tmp_path / "generation").read_text()
        for uid in range(2, 10):
            record(store, decided(uid, flag()))
        assert (tmp_path / "generation").read_text() == before


def test_a_file_that_cannot_be_read_is_not_passed_over(tmp_path: Path) -> None:
    """It may know of a later journal: nothing is done until it can be read."""
    Store.open(tmp_path).close()
    (tmp_path / "generation").unlink(missing_ok=True)
    (tmp_path / "generation").mkdir()
    with pytest.raises(NotPermitted, match="Give it to the user that mailrules runs as"):
        Store.open(tmp_path)


def test_it_grows_whenever_something_cannot_be_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy from before a commit point is older, be it by a second."""
    monkeypatch.setattr(generation, "EVERY", 30.0)
    with Store.open(tmp_path) as store:
        (row,) = record(store, decided(1, forward()))
        before = (tmp_path / "generation").read_text()
        store.advance([row.id], frm="planned", to="intent", at=row.created_at)
        assert (tmp_path / "generation").read_text() == before
        store.advance([row.id], frm="intent", to="commit", at=row.created_at)
        assert (tmp_path / "generation").read_text() != before
