"""How long to wait before trying again. Pure: chance is passed in, nobody sleeps here."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta

LADDER = (
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=6),
)
"""Waits after the first, second, … failed try of one message or effect (RELIABILITY R10)."""
OUTAGE = (*LADDER[:3], *(timedelta(hours=1) for _ in range(120)))
"""Waits while a server can't be reached: about five days, as RFC 5321 section 4.5.4.1 has it."""
SPREAD = 0.5
"""Each wait is up to this share shorter or longer, so that what failed together does not return together."""
LONGEST_WAIT = LADDER[-1] * (1 + SPREAD)
"""No wait is longer: what is due later than that was written by a clock that has been set back since."""
LONGEST = 300.0
"""Seconds between attempts to connect, at most."""


def next_try(
    tries: int, rng: random.Random | None = None, *, ladder: Sequence[timedelta] | None = None
) -> timedelta | None:
    """The wait after `tries` failed tries (1 or more); None: enough, quarantine it.

    Every rung of the ladder is used once: the first try and five more.
    """
    ladder = LADDER if ladder is None else ladder
    if tries > len(ladder):
        return None
    wait = ladder[max(tries, 1) - 1]
    return wait * (rng or _CHANCE).uniform(1 - SPREAD, 1 + SPREAD)


def full_jitter(failures: int, rng: random.Random | None = None, *, most: float = LONGEST) -> float:
    """Seconds before connecting again after this many failures in a row: `random(0, min(most, 2^n))`."""
    # 2^9 is past the limit; larger powers would only overflow.
    return (rng or _CHANCE).uniform(0, min(most, LONGEST, 2.0 ** min(max(failures, 0), 9)))


_CHANCE = random.Random()  # noqa: S311 - spreads load, keeps no secret
