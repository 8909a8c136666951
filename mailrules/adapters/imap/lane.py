"""Who may compute over mail in bulk: one thread at a time, so that new mail elsewhere need not wait for many.

Python runs one thread at once. Each step between new mail and its move waits for all that compute, a
millisecond for each: one costs little, eight that judge large mailboxes cost half a second. And even that one
lets a few messages pass between its pieces.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

BULK = 200
"""Messages from which judging them is work in bulk."""
PATIENCE = 0.05
"""Seconds that bulk work waits between two pieces, at most: where mail never stops coming it goes on, too."""


class Lane:
    """Is left while its holder waits for a server: one that freezes keeps nobody from computing."""

    def __init__(self) -> None:
        self._place = threading.Lock()
        self._mine = threading.local()
        self._calm = threading.Condition(threading.Lock())
        self._few = 0  # threads that work on a few messages now

    @contextmanager
    def work(self, messages: int) -> Iterator[None]:
        """Around the judging of so many messages. Few are never held up."""
        if messages < BULK or getattr(self._mine, "held", False):
            yield
            return
        self._place.acquire()
        self._mine.held = True
        try:
            yield
        finally:
            self._mine.held = False
            self._place.release()

    @contextmanager
    def few(self, messages: int) -> Iterator[None]:
        """Around all that is done with so many messages: if they are few, bulk work lets them pass."""
        if messages >= BULK or getattr(self._mine, "few", False):
            yield
            return
        self._count(1)
        self._mine.few = True
        try:
            yield
        finally:
            self._mine.few = False
            self._count(-1)

    def let_pass(self) -> None:
        """Between two pieces of bulk work: until those who work on a few messages are through, or wait."""
        if self._few and not getattr(self._mine, "few", False):
            with self._calm:
                self._calm.wait_for(lambda: not self._few, PATIENCE)

    def _count(self, one: int) -> None:
        with self._calm:
            self._few += one
            if not self._few:
                self._calm.notify_all()

    @contextmanager
    def left(self) -> Iterator[None]:
        """Around whatever may wait for a server."""
        if getattr(self._mine, "few", False):
            self._count(-1)
            try:
                yield
            finally:
                self._count(1)
        elif getattr(self._mine, "held", False):
            self._place.release()
            try:
                yield
            finally:
                self.let_pass()
                self._place.acquire()
        else:
            yield
