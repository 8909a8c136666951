"""T21, T22: the wall clock is set while work goes on; the machine sleeps."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from mailrules.adapters.store import Store
from tests.conftest import required
from tests.faults.checker import Verdict, check
from tests.faults.conftest import FULL, Record
from tests.faults.stage import SCENARIOS, Stage
from tests.faults.working import Load, handled, working
from tests.lab.dovecot import Dovecot
from tests.lab.program import Program, account
from tests.lab.proxy import FaultProxy
from tests.lab.smtp import SmtpSink

HOUR, DAY = 3600.0, 86400.0
FIRST_WAIT = 10.0  # instead of a minute
Expect = Callable[[str, Verdict, str], None]


class WallClock:
    """The worker's wall clock: how far it is off, from now on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0.0
        self.set(0.0)

    def set(self, offset: float) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(str(offset))
        new.replace(self.path)
        self.offset = offset


def waits(stage: Stage) -> dict[int, float]:
    """Effects that wait, and how long they were to wait when that was written, in seconds."""
    with Store.open(stage.state, read_only=True) as store, store._database.read() as connection:
        rows = connection.execute(text("SELECT id, next_try - changed_at FROM effect WHERE state = 'later'"))
        return {row[0]: row[1] / 1e6 for row in rows}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("step", [-DAY, DAY, -HOUR, HOUR] if FULL else [-DAY, HOUR])
def test_the_clock_is_set_while_mail_comes(
    step: float, dovecot: Dovecot, sink: SmtpSink, tmp_path: Path, expect_clean: Expect, record: Record
) -> None:
    """Nothing is lost or doubled, and what waits for its next try has it after the time it was to wait."""
    wall = WallClock(tmp_path / "clock")
    stage = Stage(dovecot, sink, tmp_path / "stage", SCENARIOS["forward"])
    late = []
    changes = {"clock": str(wall.path), "feed": 0.5, "first_wait": FIRST_WAIT}
    with working(stage, changes=changes) as program:
        for turn in range(4 if FULL else 1):
            with Load(stage, rate=2) as load:
                time.sleep(2)
                with load.paused():
                    handled(stage, program, timeout=30)
                    sink.plan("rcpt", "451 4.3.0 later")
                    stage.deliver()
                    program.wait_for(lambda: bool(waits(stage)), timeout=20)
                    began = time.monotonic()
                ((one, wait),) = waits(stage).items()
                time.sleep(0.6)
                wall.set(0.0 if turn % 2 else step)
                program.wait_for(lambda one=one: one not in waits(stage), timeout=60)  # type: ignore[misc]
                late.append(time.monotonic() - began - wait)
                assert -0.1 * wait - 1 < late[-1] < 0.1 * wait + 3, (wait, late, program.said())
        handled(stage, program, timeout=60)
        assert program.said().count("the clock was set by") == len(late)
    stage.settle()
    words = ", ".join(f"{seconds:+.1f}" for seconds in late)
    expect_clean("T21", check(stage), f"set by {step / HOUR:+.0f} h; next tries {words} s late")


@pytest.mark.timeout(300)
def test_summer_time_ends_while_mail_comes(
    dovecot: Dovecot, sink: SmtpSink, tmp_path: Path, expect_clean: Expect
) -> None:
    """Over the hour that comes twice, and the one that never comes, mail is handled as ever."""
    wall = WallClock(tmp_path / "clock")
    stage = Stage(dovecot, sink, tmp_path / "stage", SCENARIOS["everything"])
    changes = {"clock": str(wall.path), "feed": 0.5}
    with working(stage, changes=changes, environment={"TZ": "Europe/Berlin"}) as program:
        for change in (datetime(2026, 10, 25, 1, tzinfo=UTC), datetime(2027, 3, 28, 1, tzinfo=UTC)):
            wall.set(change.timestamp() - time.time() - 3)
            with Load(stage, rate=2):
                time.sleep(6)
        handled(stage, program, timeout=60)
    stage.settle()
    expect_clean("T21", check(stage), "summer time ends, and begins")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("step", [-DAY, DAY, -HOUR, HOUR] if FULL else [-DAY])
def test_the_clock_is_set_under_libfaketime(
    step: float, dovecot: Dovecot, sink: SmtpSink, tmp_path: Path, expect_clean: Expect
) -> None:
    """The same with every clock that the process can ask, as libfaketime shows it."""
    # Not a script: libfaketime breaks time.sleep (clock_nanosleep with an absolute time), which waits for it.
    stage = Stage(dovecot, sink, tmp_path / "stage", SCENARIOS["forward"])
    offset = tmp_path / "faketime"
    offset.write_text("+0\n")
    environment = {
        "LD_PRELOAD": libfaketime(),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with working(stage, changes={"feed": 0.5}, environment=environment) as program:
        for seconds in (step, 0.0):
            with Load(stage, rate=2):
                time.sleep(2)
                offset.write_text(f"{seconds:+.0f}\n")
                time.sleep(3)
        handled(stage, program, timeout=60)
        assert "the clock was set by" in program.said()
    stage.settle()
    expect_clean("T21", check(stage), f"libfaketime, set by {step / HOUR:+.0f} h")


def libfaketime() -> str:
    """The library to preload; skips, loudly, where it is not installed."""
    for folder in Path("/usr/lib").glob("*/faketime"):
        if (folder / "libfaketimeMT.so.1").exists():
            return str(folder / "libfaketimeMT.so.1")
    words = "libfaketime is not installed (Debian: apt install faketime)"
    if required("faketime") or shutil.which("faketime"):
        pytest.fail(words)
    pytest.skip(words)


# -- sleep ------------------------------------------------------------------------------------------------
@pytest.mark.timeout(900)
def test_a_worker_that_was_stopped_finds_its_sockets_dead(
    dovecot: Dovecot, sink: SmtpSink, tmp_path: Path, expect_clean: Expect
) -> None:
    """Stopped, its connection cut meanwhile: within 45 s after it goes on, mail is acted on."""
    with FaultProxy((dovecot.host, dovecot.imap_port)) as proxy:
        stage = Stage(dovecot, sink, tmp_path, SCENARIOS["everything"], imap_port=proxy.port)
        with working(stage) as program:
            stage.deliver(2)
            handled(stage, program, timeout=20)
            assert program.worker is not None
            os.kill(program.worker.pid, signal.SIGSTOP)
            proxy.cut()
            stage.deliver(2)
            time.sleep(600 if FULL else 5)
            os.kill(program.worker.pid, signal.SIGCONT)
            began = time.monotonic()
            handled(stage, program, timeout=45)
            took = time.monotonic() - began
        stage.settle()
    expect_clean("T22", check(stage), f"stopped for {600 if FULL else 5} s; done {took:.1f} s after")


@pytest.mark.timeout(300)
def test_after_a_suspend_everything_reconnects(
    dovecot: Dovecot, sink: SmtpSink, tmp_path: Path, expect_clean: Expect
) -> None:
    """When the two clocks say that the machine slept, the connection is made anew, within half a minute."""
    asleep = WallClock(tmp_path / "suspended")
    with FaultProxy((dovecot.host, dovecot.imap_port)) as proxy:
        stage = Stage(dovecot, sink, tmp_path / "stage", SCENARIOS["flag"], imap_port=proxy.port)
        with working(stage, changes={"suspended": str(asleep.path)}) as program:
            stage.deliver()
            handled(stage, program, timeout=20)
            proxy.stall()  # the old connection is dead, and nobody tells
            stage.deliver()
            asleep.set(3600.0)
            program.wait_for("resumed after a suspend of 3600 s", timeout=15)
            proxy.unstall()
            began = time.monotonic()
            handled(stage, program, timeout=45)
            took = time.monotonic() - began
            assert program.said().count("lab/INBOX connected") == 2
        stage.settle()
    expect_clean("T22", check(stage), f"a suspend: done {took:.1f} s after")


# -- schedules --------------------------------------------------------------------------------------------
@pytest.mark.timeout(300)
def test_a_schedule_over_both_changes_of_the_clocks(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """02:30 in Berlin: at 03:00 on the day that has none, once on the day that has two; what months of sleep
    have missed is run once."""
    offset = tmp_path / "faketime"

    def set_to(moment: datetime) -> None:
        offset.write_text(f"{(moment - datetime.now(UTC)).total_seconds():+.0f}\n")

    def ran(program: Program) -> datetime | None:
        (status,) = program.json("status")
        last = status["rules"][0]["schedule"]["last"]
        return None if last is None else datetime.fromisoformat(last)

    def ran_between(program: Program, first: datetime, last: datetime) -> None:
        program.wait_for(lambda: first <= (ran(program) or first.min.replace(tzinfo=UTC)) <= last, timeout=60)

    environment = {
        "LD_PRELOAD": libfaketime(),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    rules = (
        f"accounts:\n{account(dovecot, user)}settings: {{timezone: Europe/Berlin}}\nrules:\n"
        '  - {name: night, schedule: {cron: "30 2 * * *"}, when: always, then: [{flag: $N}]}\n'
    )
    spring, autumn = datetime(2027, 3, 28, 1, tzinfo=UTC), datetime(2027, 10, 31, 0, 30, tzinfo=UTC)
    set_to(spring - timedelta(seconds=10))
    with Program(tmp_path, rules, environment=environment) as program:
        program.start()
        program.wait_for("connected")
        ran_between(program, spring, spring + timedelta(seconds=30))
        set_to(autumn - timedelta(minutes=20))
        ran_between(program, autumn - timedelta(minutes=20), autumn - timedelta(minutes=10))
        set_to(autumn - timedelta(seconds=5))
        ran_between(program, autumn, autumn + timedelta(seconds=60))
        before = ran(program)
        set_to(autumn + timedelta(minutes=59, seconds=55))
        time.sleep(30)  # the clock is looked after every 20 s
        assert ran(program) == before
        assert program.stop() == 0
