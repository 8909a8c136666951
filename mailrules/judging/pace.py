"""How many messages make a window: few enough that new mail is looked for soon, many enough to be quick."""

from __future__ import annotations

from dataclasses import dataclass

from mailrules.adapters.imap.fetch import FEW, MOST

GOAL = 2.0
"""Seconds that a window may take: new mail of the same mailbox waits as long."""
MOST_WAITING = 2_500
"""Messages of a window that may wait for more facts: they are kept in memory meanwhile."""
GROWTH = 10


@dataclass(slots=True)
class Pace:
    """The size of the next window, by what the ones before took. Begins small: nothing is known yet."""

    size: int = FEW

    def learn(self, count: int, *, seconds: float, waited: int) -> None:
        """A window of `count` messages took so long, and so many of them waited for facts."""
        if count < self.size / 2 and seconds < GOAL:
            return  # a rest: it says nothing of a whole one
        factor = min(GROWTH, GOAL / max(seconds, 0.001), MOST_WAITING / max(waited, 1))
        self.size = max(FEW, min(MOST, int(count * factor)))
