"""A journal that can't be written: who is held up by it. Said once when it begins and once when it ends."""

from __future__ import annotations

import logging
import threading

from mailrules import clock

log = logging.getLogger("mailrules.service")


class Outage:
    """Shared by all watchers of a worker, so that a thousand of them say it in one voice. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held_up: set[str] = set()
        self._since = 0.0

    def begin(self, who: str, error: Exception) -> None:
        """This one can't go on, and why."""
        with self._lock:
            first = not self._held_up
            self._held_up.add(who)
            if first:
                self._since = clock.timer()
                log.error("STOPPED: %s", error)

    def end(self, who: str) -> None:
        """This one goes on, or does not wait for the journal any more. Nothing happens if it never did."""
        with self._lock:
            if who not in self._held_up:
                return
            self._held_up.remove(who)
            if not self._held_up:
                seconds = clock.timer() - self._since
                log.warning("the journal can be written again after %.0f s: going on", seconds)
