"""Points at which a process may die, and dying there: every step that the outside world or the journal sees.

::

    points = Points(at=17)
    install(points)             # in a process of its own: it changes the product's classes
    ...                         # the 17th step ends the process, as SIGKILL would: nothing is cleaned up

A step is before, inside and after a transaction of the journal; before and after something is sent over
IMAP or SMTP, and after its answer; around the start of a script's guard, its go and its result.
"""

from __future__ import annotations

import functools
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection

from mailrules.adapters import command, files, webhook
from mailrules.adapters.imap.wire import Guarded
from mailrules.adapters.smtp_session import Session
from mailrules.adapters.store import generation
from mailrules.adapters.store.database import Database

DIED = 70
"""Exit status of a process that ended at its point."""


class Points:
    """Counts the steps that any thread makes, and ends the process at the `at`-th, counted from 1."""

    def __init__(self, at: int | None, *, last_words: Callable[[list[str]], None]) -> None:
        self.at = at
        self.passed: list[str] = []
        self._last_words = last_words
        self._lock = threading.Lock()

    def reach(self, name: str) -> None:
        with self._lock:  # never released by who dies: no other thread makes one more step
            self.passed.append(name)
            if len(self.passed) == self.at:
                self._last_words(self.passed)
                os._exit(DIED)


def install(points: Points) -> None:
    """Let every step of this process pass `points`."""
    _journal(points)
    _imap(points)
    _around(points, Session, "send", "smtp send")
    _around(points, Session, "getreply", "smtp reply", before=False)
    _around(points, command, "_start_guard", "script guard")
    _around(points, files, "_write", "file written")
    _around(points, files, "_name", "file named")
    _around(points, webhook, "_connect", "web connection")
    _around(points, webhook, "_exchange", "web request")
    _script(points)


def _around(points: Points, owner: Any, name: str, label: str, *, before: bool = True) -> None:
    real = getattr(owner, name)

    @functools.wraps(real)
    def wrapped(*args: Any, **options: Any) -> Any:
        if before:
            points.reach(f"{label}: before")
        answer = real(*args, **options)
        points.reach(f"{label}: after")
        return answer

    setattr(owner, name, wrapped)


def _journal(points: Points) -> None:
    real = Database.write

    @contextmanager
    def write(self: Database, **options: Any) -> Iterator[Connection]:
        caller = sys._getframe(2)  # contextlib stands between
        name = caller.f_code.co_qualname.split(".<locals>")[0].rpartition(".")[2]
        label = f"journal {name} {caller.f_locals.get('to', '')}".strip()
        points.reach(f"{label}: before")
        with real(self, **options) as connection:
            yield connection
            points.reach(f"{label}: inside")
        points.reach(f"{label}: after")

    Database.write = write  # type: ignore[method-assign]
    _around(points, generation, "_write", "journal generation")


def _imap(points: Points) -> None:
    send, receive = Guarded.send, Guarded.receive

    def sending(self: Guarded, data: bytes) -> None:
        label = "imap " + " ".join(bytes(data[:60]).decode("ascii", "replace").split())  # maybe two commands
        points.reach(f"{label}: before")
        send(self, data)
        points.reach(f"{label}: sent")

    def receiving(self: Guarded) -> Any:
        response = receive(self)
        if not response[0].startswith(b"* "):  # what ends a command, or lets it go on
            points.reach("imap answer " + bytes(response[0][:60]).decode("ascii", "replace"))
        return response

    Guarded.send = sending  # type: ignore[method-assign]
    Guarded.receive = receiving  # type: ignore[method-assign]


def _script(points: Points) -> None:
    real = command._watch

    class Ours:
        """Our end of the guard's socket, with a step around what is said to it."""

        def __init__(self, sock: socket.socket) -> None:
            self._sock = sock

        def __getattr__(self, name: str) -> Any:
            return getattr(self._sock, name)

        def sendall(self, data: bytes) -> None:
            points.reach("script go: before")
            self._sock.sendall(data)
            points.reach("script go: after")

    def watch(ours: socket.socket, *args: Any, **options: Any) -> Any:
        result = real(Ours(ours), *args, **options)  # type: ignore[arg-type]
        points.reach("script result")
        return result

    command._watch = watch
