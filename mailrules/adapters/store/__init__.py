"""The store: the journal, the run log and what waits for people, in one SQLite file.

One process opens it for writing, under the lock of the state directory (`mailrules.state`); any number
may read it at the same time.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import select

from mailrules.adapters.store import schema
from mailrules.adapters.store.ballast import Room
from mailrules.adapters.store.brakes import SENDS, covering, in_words
from mailrules.adapters.store.database import (
    FILE,
    Database,
    StoreBroken,
    StoreError,
    StoreFull,
    StoreMissing,
    file_of,
)
from mailrules.adapters.store.deaths import Buried, Deaths
from mailrules.adapters.store.desk import JUDGE
from mailrules.adapters.store.earlier import Acted, Earlier
from mailrules.adapters.store.effects import LARGEST_SET
from mailrules.adapters.store.generation import FILE as GENERATION
from mailrules.adapters.store.generation import Generation
from mailrules.adapters.store.hands import ACTING, JUDGING, SCHEDULED, SETTLING, Hands, doing
from mailrules.adapters.store.journal import Fenced
from mailrules.adapters.store.mailboxes import Look, Mailboxes
from mailrules.adapters.store.migrations import check, migrate
from mailrules.adapters.store.past import Met, Past, RunRow
from mailrules.adapters.store.recording import Recording, Swept
from mailrules.adapters.store.renumbering import Renumbering
from mailrules.adapters.store.resync import Resync, Resynced
from mailrules.adapters.store.rows import (
    TURNS,
    Decided,
    EffectRow,
    LogQuery,
    MailboxRow,
    PauseRow,
    RuleHits,
    State,
    Troubled,
)
from mailrules.adapters.store.runlog import STATES, RunLog, timestamp
from mailrules.adapters.store.schedules import ScheduleRow, Schedules
from mailrules.adapters.store.sending import A_DAY, A_MINUTE, Sending
from mailrules.adapters.store.sent_mail import Answered, SentMail, SentTo
from mailrules.adapters.store.sightings import Sighting, SightingBook
from mailrules.adapters.store.undoing import PlannedUndo, Recorded, Undoing, taken_back
from mailrules.adapters.store.unmatched import Unmatched
from mailrules.adapters.store.upsert import upsert


class Store(
    Mailboxes,
    Hands,
    Recording,
    Sending,
    Deaths,
    Renumbering,
    Resync,
    Earlier,
    RunLog,
    Schedules,
    SightingBook,
    SentMail,
    Undoing,
    Unmatched,
    Past,
):
    """All of it; see the classes it is made of. Every method is one transaction, from any thread."""

    def __init__(self, database: Database, instance: str) -> None:
        self._database = database
        self._instance = instance
        self._paused = None
        self.limits = {}
        self._open = {}
        self._turn, self._next = threading.Lock(), threading.Lock()
        self._resting = float("-inf")

    @classmethod
    def open(cls, state: str | Path, *, read_only: bool = False, put_back: bool = False) -> Self:
        """Open the journal in a state directory; a writer creates it and brings its tables up to date.

        `put_back`: it may be older than the last one used here; `resync` is the first to write it then.
        Raises ConfigError (a URL we can't use), NotPermitted, StoreMissing, StoreBroken (damaged, newer
        than this program, or put back from a copy), StoreError (try later).
        """
        database = Database(file_of(state), read_only=read_only)
        try:
            if read_only:
                check(database)
            else:
                database.insist(lambda: migrate(database))
                generation = Generation(database.path, accept=put_back)
                with database.read() as connection:
                    generation.check(connection)
                database.before_commit = generation.grow
                database.ballast.room()  # makes it, if there is room
            with database.read() as connection:
                instance = connection.scalar(
                    select(schema.meta.c.value).where(schema.meta.c.name == "instance")
                )
        except BaseException:
            database.close()
            raise
        return cls(database, instance or "")

    @property
    def read_only(self) -> bool:
        return self._database.read_only

    @property
    def path(self) -> Path:
        """The file."""
        return self._database.path

    def close(self) -> None:
        """Close it; the writer's close writes the WAL back."""
        self._database.close()

    def answers(self) -> bool:
        """Whether the journal can be used now. A full disk is an answer: a new start would not help."""
        if self._database.unkept:
            return False
        try:
            with self._database.read() as connection:
                connection.execute(select(schema.meta.c.value).limit(1))
        except StoreFull:
            return True
        except StoreError:
            return False
        return True

    def room(self) -> Room:
        """How much room the journal has on its disk, and whether that is enough to begin something new."""
        return self._database.ballast.room()

    def demand_room(self) -> None:
        """Raises StoreFull, in words for a person, while nothing new may be begun."""
        self._database.demand_room()

    def get(self, name: str) -> str | None:
        """A remembered value."""
        with self._database.read() as connection:
            return connection.scalar(select(schema.meta.c.value).where(schema.meta.c.name == name))

    def remembered(self, prefix: str) -> dict[str, str]:
        """The remembered values whose names begin so."""
        name = schema.meta.c.name
        with self._database.read() as connection:
            query = select(name, schema.meta.c.value).where(name.startswith(prefix, autoescape=True))
            return {row.name: row.value for row in connection.execute(query)}

    def set(self, name: str, value: str) -> None:
        """Remember a value."""
        self.set_all({name: value})

    def set_all(self, values: Mapping[str, str]) -> None:
        """Remember several values at once."""
        name = schema.meta.c.name
        with self._database.read() as connection:
            query = select(name, schema.meta.c.value).where(name.in_(values))
            known = {row.name: row.value for row in connection.execute(query)}
        new = [{"name": key, "value": value} for key, value in values.items() if known.get(key) != value]
        if not new:
            return
        with self._database.write() as connection:
            upsert(connection, schema.meta, new)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


__all__ = [
    "ACTING",
    "A_DAY",
    "A_MINUTE",
    "FILE",
    "GENERATION",
    "JUDGE",
    "JUDGING",
    "LARGEST_SET",
    "SCHEDULED",
    "SENDS",
    "SETTLING",
    "STATES",
    "TURNS",
    "Acted",
    "Answered",
    "Buried",
    "Decided",
    "EffectRow",
    "Fenced",
    "LogQuery",
    "Look",
    "MailboxRow",
    "Met",
    "PauseRow",
    "PlannedUndo",
    "Recorded",
    "Resynced",
    "Room",
    "RuleHits",
    "RunRow",
    "ScheduleRow",
    "SentTo",
    "Sighting",
    "State",
    "Store",
    "StoreBroken",
    "StoreError",
    "StoreFull",
    "StoreMissing",
    "Swept",
    "Troubled",
    "covering",
    "doing",
    "in_words",
    "taken_back",
    "timestamp",
]
