"""The file: readers beside the writer, death in the middle, a full disk, a foreign or newer file."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mailrules.adapters.store import Store, StoreBroken, StoreError, StoreFull, StoreMissing
from mailrules.adapters.store.database import Database
from mailrules.core.errors import ConfigError, NotPermitted
from mailrules.core.uidset import UidSet

from .journal_words import T0, at, baseline, decided, flag, forward, move, record

needs_permissions = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")


def modes(directory: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}


def pragma(store: Store, text: str) -> Any:
    """Ask SQLite itself, outside any transaction."""
    raw = store._database._connection.connection.cursor()
    return raw.execute(f"PRAGMA {text}").fetchone()[0]


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    """The directory and all that SQLite keeps in it belong to its user alone, whatever the umask."""
    old = os.umask(0)
    try:
        with Store.open(tmp_path / "deep" / "state") as store:
            record(store, decided(1, flag()))
            assert stat.S_IMODE((tmp_path / "deep" / "state").stat().st_mode) == 0o700
            assert modes(tmp_path / "deep" / "state") == {0o600}
    finally:
        os.umask(old)


def test_how_the_file_is_kept(store: Store) -> None:
    """WAL, NORMAL (the rest is `_flush`'s) and foreign keys are really on."""
    with store._database.read() as connection:
        got = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert got == ["wal", 1, 1]


def test_an_intent_is_on_the_disk_before_anything_is_done(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What must survive a power cut is flushed when the call returns; that a move has ended need not be."""
    flushed: list[int] = []
    flush = os.fdatasync

    def fdatasync(file: int) -> None:
        flush(file)
        flushed.append(os.fstat(file).st_ino)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    baseline(store)
    wal = store.path.with_name(store.path.name + "-wal").stat().st_ino

    def flushes(work: Callable[[], object]) -> list[int]:
        flushed.clear()
        work()
        return list(flushed)

    (moved,) = record(store, decided(1, move()))
    (sent,) = record(store, decided(2, forward()))

    def goes(id_: int, to: Any) -> list[int]:
        row = store.effect(id_)
        assert row is not None
        return flushes(lambda: store.advance([id_], frm=row.state, to=to, at=at(3), known=[row]))

    assert goes(moved.id, "intent") == goes(sent.id, "intent") == goes(sent.id, "commit") == [wal]
    assert (goes(sent.id, "done"), goes(moved.id, "done")) == ([wal], [])
    assert flushes(lambda: store.take("work", "INBOX", "judge", 7, [1])) == []
    assert flushes(lambda: store.pause("*", reason="", at=at(4))) == [wal]


def test_who_waits_for_the_disk_waits_together(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits made while one flush is under way share the next one."""
    baseline(store)
    begun, go_on, count = threading.Event(), threading.Event(), []
    flush = os.fdatasync

    def slow(file: int) -> None:
        count.append(file)
        begun.set()
        go_on.wait(10)
        flush(file)

    monkeypatch.setattr(os, "fdatasync", slow)
    threads = [threading.Thread(target=store.set, args=(f"n{n}", "x")) for n in range(8)]
    for thread in threads:
        thread.start()
    assert begun.wait(10)
    for _ in range(1000):
        if store._database._commits >= store._database._flushed + 8:
            break
        time.sleep(0.01)
    go_on.set()
    for thread in threads:
        thread.join()
    assert len(count) == 2


def test_a_flush_that_fails_lets_nothing_happen(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk takes a commit and does not keep it: nothing is done on it, nor later, until a new start."""
    baseline(store)
    (row,) = record(store, decided(1, move()))
    assert store.answers()

    def fails(file: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", fails)
        with pytest.raises(StoreError, match=r"did not keep.*Input/output error.*started anew"):
            store.advance([row.id], frm="planned", to="intent", at=at(1))
    with pytest.raises(StoreError, match="started anew"):
        store.advance([row.id], frm="intent", to="done", at=at(2))
    assert not store.answers()  # the watchdog starts it anew
    store.close()
    with Store.open(store.path.parent) as again:
        assert again.answers()
        again.set("name", "value")


def test_a_url_is_refused(tmp_path: Path) -> None:
    """What this version can't do it says at once."""
    with pytest.raises(ConfigError, match="postgresql:// is not supported"):
        Store.open("postgresql://localhost/mail")


# -- readers --------------------------------------------------------------------------------------
def test_readers_read_while_the_writer_writes(store: Store) -> None:
    """A reader sees what is committed, before and after, and never the middle."""
    record(store, decided(1, flag()))
    with Store.open(store.path.parent, read_only=True) as reader:
        assert len(list(reader.log())) == 1
        with store._database.write():
            assert len(list(reader.log())) == 1
        record(store, decided(2, flag()))
        assert len(list(reader.log())) == 2


def test_a_reader_writes_nothing(store: Store) -> None:
    """What is open for reading refuses to write."""
    with Store.open(store.path.parent, read_only=True) as reader, pytest.raises(NotPermitted):
        reader.pause("*", reason="", at=T0)


def test_reading_without_a_wal(store: Store, tmp_path: Path) -> None:
    """After a clean end there is no WAL; a reader reads all the same, even from a place it may not write."""
    record(store, decided(1, flag()))
    store.close()
    assert not store.path.with_name("journal.db-wal").exists()
    with Store.open(store.path.parent, read_only=True) as reader:
        assert len(list(reader.log())) == 1


def test_reading_from_a_place_one_may_not_write(store: Store, tmp_path: Path) -> None:
    """Nobody has it open and no -shm can be made beside it: it is read as it is."""
    record(store, decided(1, flag()))
    store.close()
    place = tmp_path / "frozen"
    place.mkdir()
    shutil.copy(store.path, place)
    # A directory that even root can't write: -shm exists already, as something that can't be opened.
    (place / "journal.db-shm").mkdir()
    with Store.open(place, read_only=True) as reader:
        assert len(list(reader.log())) == 1


def test_nothing_there(tmp_path: Path) -> None:
    """A reader makes nothing, and says what would."""
    with pytest.raises(StoreMissing, match="`mailrules run` creates it"):
        Store.open(tmp_path / "none", read_only=True)
    assert not (tmp_path / "none").exists()


# -- many threads ---------------------------------------------------------------------------------
def test_many_threads_one_writer(store: Store) -> None:
    """Every thread's work is there in the end, and no two got the same number."""
    baseline(store)

    def work(first: int) -> None:
        for uid in range(first, first + 20):
            (row,) = record(store, decided(uid, flag()))
            store.advance([row.id], frm="planned", to="intent", at=at(1))
            store.advance([row.id], frm="intent", to="done", at=at(2))

    threads = [threading.Thread(target=work, args=(n * 20 + 1,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shown = list(store.log())
    assert {o["uid"] for o in shown} == set(range(1, 161))
    assert len({o["id"] for o in shown}) == 160
    assert {o["state"] for o in shown} == {"done"}
    assert str(store.judged("work", "INBOX")) == "1:160"


# -- death ----------------------------------------------------------------------------------------
DIES = """
    import os, signal, sys
    from mailrules.adapters.store import Store
    from mailrules.adapters.store import recording
    from tests.adapters.store.journal_words import baseline, decided, flag, forward, move, record

    store = Store.open(sys.argv[1])
    baseline(store, (1, 10))
    record(store, decided(11, forward()), decided(12, flag(), move()))
    real = recording.settle
    def dies(*args, **more):
        if sys.argv[2] == "after ranges":
            real(*args, **more)
        os.kill(os.getpid(), signal.SIGKILL)
    if sys.argv[2] != "after commit":
        recording.settle = dies
    record(store, decided(13, forward("eve@example.net")), decided(14, move()))
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ("moment", "judged", "uids"),
    [
        ("before ranges", "1:12", {11, 12}),
        ("after ranges", "1:12", {11, 12}),
        ("after commit", "1:14", {11, 12, 13, 14}),
    ],
)
def test_killed_in_the_middle_of_recording(tmp_path: Path, moment: str, judged: str, uids: set[int]) -> None:
    """Decisions, effects and checkpoint of a window are all there or none is, wherever SIGKILL strikes."""
    died = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(DIES), tmp_path / "state", moment], check=False
    )
    assert died.returncode == -signal.SIGKILL
    with Store.open(tmp_path / "state", read_only=True) as reader:  # the WAL of the dead is read too
        assert {o["uid"] for o in reader.log()} == uids
    with Store.open(tmp_path / "state") as store:
        row = store.mailbox("work", "INBOX")
        assert row is not None
        assert (str(store.judged("work", "INBOX")), row.high_uid) == (judged, max(uids))
        assert {r.uid for r in store.unfinished("work", "INBOX", now=T0)} == uids
        # Going on from there plans what is missing, and nothing twice.
        rows = record(store, decided(11, forward()), decided(13, forward("eve@example.net")))
        assert [r.uid for r in rows] == ([] if moment == "after commit" else [13])


def test_a_torn_wal_loses_only_its_end(tmp_path: Path) -> None:
    """A WAL cut off at any place still gives a whole number of transactions, the first ones."""
    with Store.open(tmp_path / "state") as store:
        pragma(store, "wal_autocheckpoint = 0")
        pragma(store, "wal_checkpoint(TRUNCATE)")
        for uid in range(1, 9):
            record(store, decided(uid, flag()))
        wal = store.path.with_name("journal.db-wal").read_bytes()
        base = store.path.read_bytes()
    counts = []
    for cut in range(0, len(wal) + 1, 1999):
        place = tmp_path / f"cut-{cut}"
        place.mkdir()
        (place / "journal.db").write_bytes(base)
        (place / "journal.db-wal").write_bytes(wal[:cut])
        with Store.open(place) as store:
            rows = store.unfinished("work", "INBOX", now=at(9))
            assert [r.uid for r in rows] == list(range(1, len(rows) + 1))
            counts.append(len(rows))
    assert counts == sorted(counts)
    assert len(set(counts)) > 3


# -- no room, no right ----------------------------------------------------------------------------
def test_a_full_disk_is_said_and_survived(store: Store) -> None:
    """Without room nothing is recorded, so nothing is done; with room again it goes on."""
    baseline(store, (1, 1))
    pages = pragma(store, "page_count")
    pragma(store, f"max_page_count = {pages + 2}")  # SQLITE_FULL, as ENOSPC gives
    with pytest.raises(StoreFull, match="Make room"):
        for uid in range(2, 2000):
            record(store, decided(uid, flag(), subject="x" * 500))
    last = len(store.unfinished("work", "INBOX", now=T0)) + 1
    assert str(store.judged("work", "INBOX")) == f"1:{last}"  # whole windows only
    pragma(store, "max_page_count = 1073741823")
    record(store, decided(last + 1, flag()))
    assert store.judged("work", "INBOX") == UidSet(range(1, last + 2))


HITS_A_LIMIT = """
    import resource, sys
    from mailrules.adapters.store import Store, StoreError
    from tests.adapters.store.journal_words import decided, forward, record

    store = Store.open(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
    for uid in range(1, 10_000):
        try:
            (row,) = record(store, decided(uid, forward(), subject="x" * 500))
        except StoreError as error:
            print(uid - 1, type(error).__name__, error)
            break
        print("may act on", row.uid)
"""


def test_a_write_that_fails_lets_nothing_happen(tmp_path: Path) -> None:
    """The file may grow no further: `record` raises, and what it gave before is what is in the journal."""
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(HITS_A_LIMIT), tmp_path / "state"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    *acted, last = ran.stdout.splitlines()
    assert re.match(r"\d+ Store(Error|Full) .*journal", last)
    assert len(acted) == int(last.split()[0]) > 10
    with Store.open(tmp_path / "state") as store:
        assert len(store.unfinished("work", "INBOX", now=T0)) == len(acted)


def test_a_place_that_is_no_directory(tmp_path: Path) -> None:
    """A state directory that can't be made is a matter of rights, and says which one."""
    (tmp_path / "file").write_text("")
    with pytest.raises(NotPermitted, match=re.escape(str(tmp_path / "file"))):
        Store.open(tmp_path / "file")


@needs_permissions
def test_a_directory_one_may_not_write(tmp_path: Path) -> None:
    """An unwritable state directory is said so."""
    (tmp_path / "state").mkdir(mode=0o500)
    with pytest.raises(NotPermitted):
        Store.open(tmp_path / "state")


def test_a_directory_one_may_not_write_as_another_user(tmp_path: Path) -> None:
    """The same when the tests run as root: a child gives its rights up first."""
    if os.geteuid() != 0:
        pytest.skip("covered by the test above")
    place = Path("/tmp") / f"mailrules-{os.getpid()}"
    place.mkdir(mode=0o755)
    code = """
        import os, sys
        from mailrules.adapters.store import Store
        from mailrules.core.errors import NotPermitted
        os.setuid(65534)
        try:
            Store.open(sys.argv[1])
        except NotPermitted as error:
            print(error)
    """
    try:
        ran = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code), place], capture_output=True, text=True, check=True
        )
    finally:
        shutil.rmtree(place)
    assert f"cannot write the state in {place}" in ran.stdout


# -- other people's files -------------------------------------------------------------------------
def test_a_file_that_is_no_journal(tmp_path: Path) -> None:
    """Something else under that name is left alone, and said."""
    (tmp_path / "journal.db").write_bytes(b"Dear diary, " * 1000)
    for read_only in (False, True):
        with pytest.raises(StoreBroken, match="is not a journal, or is damaged"):
            Store.open(tmp_path, read_only=read_only)
    assert (tmp_path / "journal.db").read_bytes().startswith(b"Dear diary")


def test_an_empty_file(tmp_path: Path) -> None:
    """A file that was created but never written is as good as none."""
    (tmp_path / "journal.db").touch()
    with pytest.raises(StoreBroken, match="writes the first one"):
        Store.open(tmp_path, read_only=True)
    Store.open(tmp_path).close()


def test_integrity_errors_are_not_the_weather(store: Store) -> None:
    """A mistake of ours is not called a passing failure of the disk."""
    with pytest.raises(Exception, match="FOREIGN KEY") as caught, store._database.write() as connection:
        connection.exec_driver_sql(
            "INSERT INTO effect SELECT 5, 99, 'a', 'b', 1, 1, 'i', 'r', '', 0, 0, 'x', '', '{}', 0, 0, 0, 1,"
            " 'hold', NULL, 'k', 'planned', 0, 0, NULL, 1, NULL, NULL, NULL, 1, 1, '{}', NULL, NULL"
        )
    assert not isinstance(caught.value, StoreError)


def test_a_locked_file_is_try_later(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program's lock is waited for, then it is a failure that may pass."""
    monkeypatch.setattr("mailrules.adapters.store.database.BUSY", 0.1)
    database = Database(store.path, read_only=False)
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked"), database.write():
        pass
    other.close()
    with database.write():
        pass
    database.close()


def test_only_the_database_in_use_is_loaded() -> None:
    """Nothing of the schema makes SQLAlchemy load the dialects of others."""
    script = (
        "import sys, mailrules.adapters.store\n"
        "print(sorted({m.split('.')[2] for m in sys.modules if m.startswith('sqlalchemy.dialects.')}))"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "['_typing', 'sqlite']"
