"""One SQLite file: how it is opened, locked and what its errors mean.

A writer opens it once and uses that one connection from every thread under a lock; it alone writes and
checkpoints (sqlite.org/wal.html, "the WAL-reset bug"). Everybody else opens it read-only, at any time.
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from sqlalchemy import Connection, Engine, StaticPool, create_engine, event, exc

from mailrules.adapters.store.ballast import NO_ROOM, Ballast, Room
from mailrules.core.errors import ConfigError, NotPermitted, PermanentError, TransientError

log = logging.getLogger("mailrules.store")

T = TypeVar("T")

FILE = "journal.db"
BUSY = 10.0
"""Seconds to wait for SQLite's own lock. Only a backup tool could hold it."""


class StoreError(TransientError):
    """The journal can't be read or written now. No journal, no effect."""


class StoreFull(StoreError):
    """The disk is full: nothing more can be recorded, so nothing more is done."""


class StoreBroken(PermanentError):
    """The file is not a journal that this version can use."""


class StoreMissing(PermanentError):
    """There is no journal there, and this command only reads."""


def file_of(state: str | Path) -> Path:
    """The journal's file in a state directory. Raises ConfigError for a URL."""
    if "://" in str(state):
        scheme = str(state).partition("://")[0]
        raise ConfigError(
            [
                f"state: {scheme}:// is not supported by this version. "
                "Name a directory; the journal is kept there."
            ]
        )
    return Path(state) / FILE


class Database:
    """The file, open. `read` and `write` give a transaction; `write` commits it at the end of the block."""

    def __init__(self, path: Path, *, read_only: bool) -> None:
        self.path = path
        self.read_only = read_only
        self.before_commit: Callable[[Connection, bool], Callable[[], None] | None] = lambda *_: None
        """Called at the end of every transaction that writes, with what `write` was told; what it gives is
        called after the commit."""
        self.ballast = Ballast(path.parent, writer=not read_only)
        self._lock = threading.RLock()
        self.unrest = 0
        """How many transactions there were after which something may wait that did not before."""
        self._flushing = threading.Lock()
        self._wal: int | None = None
        self._commits = self._flushed = 0
        self.unkept = ""
        """Why nothing can be made durable any more; only a new start helps."""
        if read_only and not path.exists():
            raise StoreMissing(f"there is no journal at {path}. `mailrules run` creates it.")
        try:
            self._open()
        except StoreFull:  # the files that SQLite keeps beside it need room too
            if read_only or not self.ballast.drop():
                raise
            self._open()

    def _open(self) -> None:
        if not self.read_only:
            _create(self.path)
        self._engine = _engine(self.path, read_only=self.read_only)
        with self._translated():
            self._connection = self._engine.connect()
        if not self.read_only:
            self._begin_wal_anew()  # what another process has written last may not be on the disk yet

    @property
    def lock(self) -> AbstractContextManager[object]:
        """Held, it keeps every other thread from reading and writing; for what takes two transactions."""
        return self._lock

    @property
    def dialect(self) -> str:
        return self._engine.dialect.name

    def close(self) -> None:
        with self._lock, self._flushing:
            self._connection.close()
            self._engine.dispose()
            if self._wal is not None:
                os.close(self._wal)
                self._wal = None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view. Keep it short: other threads wait, and the WAL grows."""
        with self._lock, self._translated(), self._connection.begin():
            yield self._connection

    @contextmanager
    def write(
        self, *, irrevocable: bool = False, durable: bool = True, calm: bool = False
    ) -> Iterator[Connection]:
        """One transaction, durable when the block is left; undone if it raises.

        `irrevocable`: after it something happens that an older copy of the journal must not hide.
        Not `durable`: it survives the death of the process, but a power cut may undo it, together with all
        that was written after it and was not durable either. `calm`: it makes no message and no effect wait;
        any other makes `unrest` grow.
        """
        if self.read_only:
            raise NotPermitted(f"{self.path} is open for reading only.")
        with self._lock:
            if not calm:
                self.unrest += 1
            try:
                with self._translated(), self._connection.begin():
                    yield self._connection
                    afterwards = self.before_commit(self._connection, irrevocable)
            except BaseException:
                self.unrest += 1  # whoever counted within it has counted what did not happen
                raise
            self._commits += 1
            commits = self._commits
            if afterwards is not None:
                self._flush(commits)
                afterwards()
        if durable:
            self._flush(commits)

    def _flush(self, commits: int) -> None:
        """Until so many commits are on the disk.

        Whoever comes while another one waits for the disk waits once, for all that is committed by then.
        """
        with self._flushing:
            if self._flushed >= commits:
                return
            if self.unkept:
                raise StoreError(self.unkept)
            reached = self._commits  # whoever has counted has committed
            try:
                if self._wal is None:
                    wal = self.path.with_name(self.path.name + "-wal")
                    self._wal = os.open(wal, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise _from_os(error, self.path) from error
            try:
                os.fdatasync(self._wal)
            except OSError as error:
                # Linux may drop what it could not write and say OK the next time: no later flush counts.
                self.unkept = (
                    f"the disk did not keep what was written to the journal {self.path}: {error.strerror}. "
                    "Nothing more is done until mailrules is started anew. Look what ails the disk."
                )
                raise StoreError(self.unkept) from error
            self._flushed = reached

    def insist(self, work: Callable[[], T]) -> T:
        """Do one transaction that must not fail for want of room: what has been done, what a person decides.

        If the disk is full, the ballast is dropped, the WAL is begun anew in its own blocks, and it is done
        once more. Raises StoreFull if that does not help.
        """
        drops = self.ballast.drops
        try:
            return work()
        except StoreFull as full:
            if self.read_only:
                raise
            if self.ballast.drop():
                log.error("%s The ballast is dropped, so that what was done can be recorded.", full)
            dropped = self.ballast.drops > drops  # by us, or meanwhile by another thread
            if not (self._begin_wal_anew() or dropped):
                raise
        return work()

    def _begin_wal_anew(self) -> bool:
        """Write the WAL back, so that the next transaction takes its blocks and no new ones."""
        with self._lock:
            try:
                cursor = self._connection.connection.cursor()
                _, frames, back = cursor.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            except sqlite3.Error:
                return False  # no room for that either
            return bool(frames > 0 and frames == back)

    def demand_room(self) -> None:
        """Before something new is begun. Raises StoreFull while there is too little room for its outcome."""
        room = self.ballast.room()
        if not room.enough:
            raise StoreFull(too_little(room, self.path.parent))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except exc.DBAPIError as error:
            if isinstance(error, exc.IntegrityError | exc.ProgrammingError):
                raise  # ours, not the world's
            raise _translate(error.orig, self.path, self.ballast) from error
        except sqlite3.Error as error:  # from a statement of `bulk`
            if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
                raise
            raise _translate(error, self.path, self.ballast) from error


def _create(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite gives -wal and -shm the mode of the database.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise NotPermitted(f"cannot write the state in {path.parent}: {error.strerror}.") from error
    except OSError as error:
        raise _from_os(error, path) from error


def too_little(room: Room, directory: Path) -> str:
    """Why nothing new is begun, and what to do."""
    free, needed = (f"{size / 2**20:.1f} MB" for size in (room.free, room.needed))
    short = "the user's quota is used up" if room.free >= room.needed else f"only {free} are free"
    return (
        f"no room for the journal in {directory}: {short}, and {needed} are needed. "
        "Make room there; until then nothing new is done, and mail stays where it is."
    )


def _full(path: Path) -> StoreFull:
    return StoreFull(
        f"no room left for the journal in {path.parent}. Make room there; nothing is done until then."
    )


def _from_os(error: OSError, path: Path) -> StoreError | NotPermitted:
    if error.errno in NO_ROOM:
        return _full(path)
    if error.errno == errno.EROFS:
        return NotPermitted(f"cannot write the state in {path.parent}: {error.strerror}.")
    return StoreError(f"the journal {path} can't be opened: {error.strerror}.")


def _engine(path: Path, *, read_only: bool) -> Engine:
    def connect() -> sqlite3.Connection:
        if not read_only:
            return _connect(path, "mode=rw")
        connection = _connect(path, "mode=ro")
        try:
            connection.execute("SELECT 1 FROM sqlite_master").fetchall()
        except sqlite3.OperationalError:
            connection.close()
            if path.with_name(path.name + "-wal").exists():
                raise
            # Nobody has it open, and we may not create the -shm file that WAL mode wants.
            connection = _connect(path, "immutable=1")
        return connection

    # StaticPool: the one connection, whichever thread asks.
    engine = create_engine("sqlite://", creator=connect, poolclass=StaticPool)
    begin = "BEGIN" if read_only else "BEGIN IMMEDIATE"

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _connect(path: Path, options: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?{options}",
        uri=True,
        timeout=BUSY,
        check_same_thread=False,  # `Database` locks
        isolation_level=None,  # BEGIN is ours (above), so that DDL is in the transaction too
    )
    try:
        if options == "mode=rw":
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA journal_size_limit = 67108864")
        # NORMAL: a commit writes the WAL, a checkpoint flushes it. `Database._flush` flushes what has to be
        # durable, for all threads at once, and outside of the lock.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _translate(error: BaseException | None, path: Path, ballast: Ballast) -> TransientError | PermanentError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    match code:
        case sqlite3.SQLITE_FULL:
            return _full(path)
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return StoreBroken(
                f"{path} is not a journal, or is damaged ({error}). Restore it from a backup, "
                "or move it away to start anew."
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return NotPermitted(f"the journal {path} may not be written by this user.")
        case sqlite3.SQLITE_CANTOPEN if not os.access(path, os.R_OK):
            return NotPermitted(f"the journal {path} may not be read by this user.")
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_CANTOPEN if ballast.room(fresh=True).exhausted:
            return _full(path)  # shared memory, or a sync that finds no blocks, is not called FULL
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreError(f"another program keeps the journal {path} locked.")
    return StoreError(f"the journal {path} fails: {error}.")
