"""Noticing that the journal was put back to an older copy (RELIABILITY R9).

An old journal does not know what was forwarded since: going on with it would forward again. So a number
in the journal grows while it is written, and a small file beside it follows. A journal that is behind
its file is a restored one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection, select

from mailrules.adapters.store import schema
from mailrules.adapters.store.counters import take
from mailrules.adapters.store.database import StoreBroken
from mailrules.clock import timer
from mailrules.core.errors import NotPermitted

FILE = "generation"
EVERY = 30.0
"""Seconds of writing after which the number grows, where nothing irrevocable is done."""


class Generation:
    """The number in one journal and in the file beside it. Only the writer has one.

    `accept`: the journal may be behind its file, and the first transaction takes it past it.
    """

    def __init__(self, path: Path, *, accept: bool = False) -> None:
        self._journal = path
        self._file = path.with_name(FILE)
        self._accept = accept
        self._due = float("-inf")

    def check(self, connection: Connection) -> None:
        """Raises StoreBroken if the file knows of a later journal than this one."""
        seen = _read(self._file)
        if seen is None or self._accept:
            return
        instance, number = seen
        if instance != _instance(connection) or number > _number(connection):
            raise StoreBroken(
                f"{self._journal} is older than the last one used here: it was restored from a copy, or "
                "replaced. What was forwarded since then would be forwarded again. Put the newest journal "
                "back; or go on with this one: `mailrules resync --baseline now` takes the mail that is "
                "there as done, `mailrules resync --since TIME` judges what has come since then."
            )

    def grow(self, connection: Connection, irrevocable: bool) -> Callable[[], None] | None:
        """Within a transaction: let the number grow, if it is time. Call the answer after the commit.

        Whenever something irrevocable is about to happen it is time: no copy from before goes unnoticed.
        """
        if timer() < self._due and not irrevocable:
            return None
        self._due = timer() + EVERY
        number = take(connection, "generation", 1)
        if self._accept:
            self._accept = False
            behind = (_read(self._file) or ("", 0))[1] - number
            if behind >= 0:
                number = take(connection, "generation", behind + 1) + behind
        text = json.dumps({"instance": _instance(connection), "generation": number})

        def follow() -> None:
            # After the journal: killed in between, the journal is ahead of its file, which is harmless.
            try:
                _write(self._file, text)
            except OSError:
                self._due = float("-inf")  # a full disk stops the journal itself soon enough, and says so

        return follow


def _instance(connection: Connection) -> str | None:
    return connection.scalar(select(schema.meta.c.value).where(schema.meta.c.name == "instance"))


def _number(connection: Connection) -> int:
    found = connection.scalar(select(schema.counter.c.value).where(schema.counter.c.name == "generation"))
    return found or 0


def _read(path: Path) -> tuple[str, int] | None:
    try:
        data = json.loads(path.read_text())
        return str(data["instance"]), int(data["generation"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None  # not there, or cut off while it was written: it proves nothing
    except OSError as error:
        raise NotPermitted(
            f"cannot read {path}: {error.strerror}. Give it to the user that mailrules runs as."
        ) from error


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".new")
    with open(temporary, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
