"""Clocks. Timers run on CLOCK_BOOTTIME, which counts suspend; the wall clock is for people and journals."""

from __future__ import annotations

import time
from datetime import UTC, datetime

_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def timer() -> float:
    """Seconds since boot, suspend included (PEP 418); never steps with the wall clock."""
    return time.clock_gettime(_BOOTTIME)


def suspended() -> float:
    """Seconds this machine has spent suspended since boot; a jump means it just woke up."""
    return time.clock_gettime(_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


def now() -> datetime:
    """The wall clock, aware, UTC."""
    return datetime.now(UTC)
