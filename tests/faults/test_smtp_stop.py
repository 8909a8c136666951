"""T56: told to stop in the middle of sending."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tests.faults.checker import check
from tests.faults.conftest import FULL
from tests.faults.sending import ExpectClean, leaving, states
from tests.faults.stage import Stage
from tests.lab.dovecot import Dovecot
from tests.lab.program import Program
from tests.lab.smtp import ACCEPT_THEN_DROP, ScriptedSmtp


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("then", "wait", "state"),
    [
        ("250 2.0.0 queued", 10.0, "done"),  # longer than IMAP is given to end
        (ACCEPT_THEN_DROP, 0.5, "unknown"),
        pytest.param(
            ACCEPT_THEN_DROP, 100.0, "unknown",
            marks=pytest.mark.skipif(not FULL, reason="takes as long as a stop may: MAILRULES_FAULTS=full"),
        ),
    ],
)  # fmt: skip
def test_stopped_in_the_middle_of_sending(
    then: str, wait: float, state: str, dovecot: Dovecot, tmp_path: Path, expect_clean: ExpectClean
) -> None:
    """A worker that is told to stop waits for the last reply: done if it comes, else unknown, and never
    sent again."""
    reached, over = threading.Event(), threading.Event()

    def answer() -> str:
        reached.set()
        over.wait(wait)
        return then

    with ScriptedSmtp(("8BITMIME",)) as sink:
        stage = Stage(dovecot, sink, tmp_path, leaving("forward"))
        stage.baseline()
        rules = stage.configure().read_text()
        stage.close()
        sink.replies["."] = answer
        with Program(tmp_path, rules) as program:
            program.start()
            number = stage.deliver()
            assert reached.wait(30), program.said()
            started = time.monotonic()
            assert program.stop(timeout=100) == 0, program.said()
            took = time.monotonic() - started
            over.set()
            sink.replies.clear()
            assert took < 90
        stage.configure()
        stage.run()
        assert states(stage)[number] == state
        assert len(sink.messages) == 1
        stage.settle()
        assert len(sink.messages) == 1
        expect_clean("T56", check(stage), f"told to stop after the dot; {state}")


def test_stopped_before_the_end(dovecot: Dovecot, tmp_path: Path, expect_clean: ExpectClean) -> None:
    """A worker that is told to stop before the message is whole ends soon, and sends it when it is back."""
    reached = threading.Event()

    def answer() -> None:
        reached.set()
        time.sleep(15)

    with ScriptedSmtp(("8BITMIME",)) as sink:
        stage = Stage(dovecot, sink, tmp_path, leaving("forward"))
        stage.baseline()
        rules = stage.configure().read_text()
        stage.close()
        sink.replies["DATA"] = answer
        with Program(tmp_path, rules) as program:
            program.start()
            number = stage.deliver()
            assert reached.wait(30), program.said()
            started = time.monotonic()
            assert program.stop(timeout=30) == 0, program.said()
            assert time.monotonic() - started < 10
        sink.replies.clear()
        stage.configure()
        assert states(stage)[number] in ("later", "intent")
        stage.settle()
        assert not stage.unknown
        expect_clean("T56", check(stage), "told to stop before the dot")
