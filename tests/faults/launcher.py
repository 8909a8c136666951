"""mailrules with other clocks and shorter waits: what a test can't wait for comes sooner.

`LAB_CHANGES` is JSON. In seconds: `sweep`, `timeout`, `idle_answer`, `feed` (how often the main loop looks
round), `first_wait` (of the ladder of retries). `clock` and `suspended` name files that hold a number of
seconds, added to what the wall clock and `clock.suspended` say, read at every call. `brakes`: whether sending
has its brakes (default: no; faults come in numbers).
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from mailrules import ahead, clock, run
from mailrules.__main__ import main
from mailrules.adapters.imap import connection, idling
from mailrules.adapters.store import sending
from mailrules.cli import run as run_command
from mailrules.core import retry
from mailrules.watching import worker

MANY = 10**9


def _offset(path: Path) -> Callable[[], float]:
    def read() -> float:
        try:
            return float(path.read_text() or 0)
        except FileNotFoundError:
            return 0.0

    return read


def change(changes: dict[str, object]) -> None:
    if not changes.get("brakes"):
        sending.A_MINUTE = sending.A_DAY = MANY
    if "sweep" in changes:
        worker.SWEEP = float(str(changes["sweep"]))
    if "timeout" in changes:
        ahead.Login = functools.partial(  # type: ignore[misc, assignment]
            connection.Login, timeout=float(str(changes["timeout"]))
        )
    if "idle_answer" in changes:
        idling.IDLE_ANSWER = float(str(changes["idle_answer"]))
    if "feed" in changes:
        run_command.FEED = float(str(changes["feed"]))
    if "first_wait" in changes:
        first = timedelta(seconds=float(str(changes["first_wait"])))
        retry.LADDER = (first, *retry.LADDER[1:])
        run.SOON = first / 10
    if "clock" in changes:
        now, offset = clock.now, _offset(Path(str(changes["clock"])))
        clock.now = lambda: now() + timedelta(seconds=offset())
    if "suspended" in changes:
        suspended, more = clock.suspended, _offset(Path(str(changes["suspended"])))
        clock.suspended = lambda: suspended() + more()


if __name__ == "__main__":
    change(json.loads(os.environ["LAB_CHANGES"]))
    sys.exit(main())
