"""T8: the server is restarted again and again while mail comes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.checker import check
from tests.faults.conftest import FULL
from tests.faults.stage import SCENARIOS, Stage
from tests.faults.working import Load, handled, working
from tests.lab.ca import LabCA
from tests.lab.dovecot import Dovecot, Layout
from tests.lab.smtp import SmtpSink


@pytest.mark.dovecot
@pytest.mark.timeout(1200 if FULL else 240)
@pytest.mark.parametrize("down", [0.0, 5.0])
def test_a_server_that_is_restarted_again_and_again(
    down: float, lab_ca: LabCA, sink: SmtpSink, tmp_path: Path, expect_clean: Callable[..., None]
) -> None:
    """Killed and stopped in turn under load: nothing is lost or doubled, and it is found again soon."""
    # Each 10 s for 10 min; long outages are told apart, because back-off grows while they last.
    times = (60 if not down else 20) if FULL else 3
    worst = 0.0
    with Dovecot(Layout(users=10), ca=lab_ca) as server:
        stage = Stage(server, sink, tmp_path, SCENARIOS["everything"])
        with working(stage) as program:
            with Load(stage, rate=2) as load:
                for turn in range(times):
                    time.sleep(max(1.0, (10.0 if FULL else 3.0) - down))
                    seen = program.said().count("lab/INBOX connected")
                    with load.paused():
                        server.kill() if turn % 2 else server.stop()
                        time.sleep(down)
                        server.start()
                    up = time.monotonic()
                    program.wait_for(
                        lambda seen=seen: program.said().count("lab/INBOX connected") > seen,  # type: ignore[misc]
                        timeout=40,
                    )
                    worst = max(worst, time.monotonic() - up)
            handled(stage, program, timeout=120)
        stage.settle()
        expect_clean("T8", check(stage), f"{times} restarts, down {down:.0f} s; found again in {worst:.1f} s")
        assert " Panic: " not in server.log()
    assert worst < 10 + 2
