"""Whether an account may log in now, while it is in doubt whether it is let in."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from mailrules import clock

CONFIRM = 60.0
"""Seconds before the one second try of a refused login."""
MOST_REFUSALS = 2
"""Refused logins in all, before a person has to act."""


@dataclass(slots=True)
class LoginGate:
    """Lets one connection of an account try at a time while its login is in doubt.

    A wrong password is tried twice, a minute apart, and then never again until the configuration
    changes or a person says `resume` (RFC 5530: "no point in trying the same login again later").
    """

    refusals: int = 0
    until: float = 0.0
    trying: bool = False
    good: bool = False
    error: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def enter(self) -> float | None:
        """Seconds to wait before connecting; 0 for "go"; None for "not until a person acts"."""
        with self.lock:
            if self.good:
                return 0.0
            if self.refusals >= MOST_REFUSALS:
                return None
            wait = self.until - clock.timer()
            if wait > 0:
                return wait
            if self.trying:
                return 0.5
            self.trying = True
            return 0.0

    def succeeded(self) -> None:
        with self.lock:
            self.refusals, self.trying, self.good, self.error = 0, False, True, ""

    def failed(self) -> None:
        """The connection failed before the login was answered."""
        with self.lock:
            self.trying = False

    def refused(self, error: str) -> float | None:
        """Seconds until it is tried once more; None for "not until a person acts"."""
        with self.lock:
            self.refusals, self.trying, self.good, self.error = self.refusals + 1, False, False, error
            self.until = clock.timer() + CONFIRM
            return CONFIRM if self.refusals < MOST_REFUSALS else None

    def reset(self) -> None:
        """A person said `resume`, or the configuration has changed."""
        with self.lock:
            self.refusals, self.until, self.trying, self.error = 0, 0.0, False, ""
