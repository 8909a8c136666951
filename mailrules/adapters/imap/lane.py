"""Who may compute over mail in bulk: one thread at a time, so that new mail elsewhere need not wait for many.

Python runs one thread at once. Each step between new mail and its move waits for all that compute, a
millisecond for each: one costs little, eight that judge large mailboxes cost half a second.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

BULK = 200
"""Messages from which judging them is work in bulk."""


class Lane:
    """Is left while its holder waits for a server: one that freezes keeps nobody from computing."""

    def __init__(self) -> None:
        self._place = threading.Lock()
        self._mine = threading.local()

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
    def left(self) -> Iterator[None]:
        """Around whatever may wait for a server."""
        if not getattr(self._mine, "held", False):
            yield
            return
        self._place.release()
        try:
            yield
        finally:
            self._place.acquire()
