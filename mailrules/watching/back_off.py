"""How long a connection that fails, or finds no place, or no journal, is left alone."""

from __future__ import annotations

import random

from mailrules import clock
from mailrules.core.retry import LONGEST, full_jitter

JOURNAL = 10.0
"""Seconds at most before a journal that could not be written is tried again."""
HEALTHY = 300.0
"""Seconds a connection must have lasted for its failures to be forgotten."""
QUICK = 8.0
"""Seconds to wait at most in a short outage, however many failures."""
OF_OUTAGE = 1 / 12
"""In a longer one: this part of how long it has lasted. After five minutes that is 25 s (T23)."""
FORBEARANCE = 900.0
"""Seconds after which a server that takes us in and throws us out again is no longer met with QUICK."""


class BackOff:
    """What became of one watcher's connections so far, and how long it waits before the next."""

    __slots__ = ("_connected_at", "_down_since", "_failing_since", "_failures", "_turned_away")

    def __init__(self) -> None:
        self._connected_at = 0.0
        self._down_since = clock.timer()
        self._failures = 0
        self._failing_since = 0.0
        self._turned_away = 0

    def turned_away(self) -> float:
        """There was no place among those that connect: seconds until it asks again."""
        # In a long queue everybody looks less often.
        self._turned_away = min(self._turned_away + 1, 12)
        return 0.2 * 1.3**self._turned_away * random.uniform(0.5, 1.0)  # noqa: S311

    def admitted(self) -> None:
        """There is a place: it connects now."""
        self._turned_away = 0

    def connected(self) -> None:
        """The server has let us in."""
        self._connected_at = clock.timer()

    def failed(self, asked: float | None) -> float:
        """It failed: seconds until the next try. `asked`: what the server asks for, at least."""
        now = clock.timer()
        if self._connected_at and now - self._connected_at > HEALTHY:
            self._failures = 0
        if self._connected_at:
            self._down_since = now
        self._connected_at = 0.0  # it earns its forgiveness once
        if self._failures == 0:
            self._failing_since = now
        self._failures += 1
        most = LONGEST
        if now - self._failing_since < FORBEARANCE:
            most = max(QUICK, (now - self._down_since) * OF_OUTAGE)  # one that is back is found again soon
        return max(full_jitter(self._failures, most=most), asked or 0.0)


def journal_again() -> float:
    """Seconds until the journal is tried again, spread so that not all watchers do it at once."""
    return random.uniform(JOURNAL / 2, JOURNAL)  # noqa: S311
