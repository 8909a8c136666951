"""T16: a great many messages at once."""

from __future__ import annotations

import smtplib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy import text

from tests.faults.checker import Verdict, check
from tests.faults.conftest import FULL
from tests.faults.lacking import Lacking
from tests.faults.stage import SCENARIOS, Stage, numbered
from tests.faults.working import handled, memory, working
from tests.lab.dovecot import Dovecot
from tests.lab.smtp import SmtpSink

MOST_MEMORY = 300  # MB


@pytest.mark.timeout(1200 if FULL else 240)
@pytest.mark.parametrize("name", ["flag", "move"])
def test_a_flood_of_mail(
    name: str,
    dovecot: Dovecot,
    sink: SmtpSink,
    tmp_path: Path,
    expect_clean: Callable[[str, Verdict, str], None],
) -> None:
    """Every message of a flood to one mailbox is judged and acted on once, and memory stays bounded."""
    count, seconds = (10_000, 60.0) if FULL else (1_000, 0.0)
    stage = Stage(dovecot, sink, tmp_path, SCENARIOS[name])
    with working(stage) as program:
        stage.numbers.extend(range(1, count + 1))
        began = time.monotonic()
        senders = [
            threading.Thread(target=flood, args=(stage, stage.numbers[n::4], seconds)) for n in range(4)
        ]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        sent = time.monotonic() - began
        handled(stage, program, timeout=600 if FULL else 120)
        took = time.monotonic() - began
        most = memory(program)
    stage.settle()
    expect_clean(
        "T16", check(stage), f"{name}: {count} in {sent:.0f} s, all done after {took:.0f} s, {most} MB"
    )
    assert most < MOST_MEMORY


def test_a_retry_does_not_wait_for_the_mail_to_stop(sink: SmtpSink, tmp_path: Path) -> None:
    """What is due while mail keeps coming is done between, not when it has ended."""
    with Lacking() as server:
        stage = Stage(cast(Dovecot, server), sink, tmp_path, SCENARIOS["forward"])
        stage.baseline()
        sink.plan("rcpt", "451 4.3.0 later")
        first = stage.deliver()
        stage.run()
        with stage.store._database.write() as connection:
            soon = (time.time() + 0.5) * 1e6
            connection.execute(text("UPDATE effect SET next_try = :soon"), {"soon": int(soon)})
        more = iter(range(8))

        def arrive(*_: object) -> None:
            if next(more, None) is not None:
                time.sleep(0.2)
                stage.deliver()

        server.script(rb"UID SEARCH", arrive)
        stage.run()
        order = [number for _, number in stage.sent()]
        assert first in order and order[-1] != first, order


def flood(stage: Stage, numbers: list[int], seconds: float) -> None:
    """Deliver these over LMTP, evenly over so many seconds (0: as fast as they go)."""
    began = time.monotonic()
    server = stage.server
    with smtplib.LMTP(server.host, server.lmtp_port) as client:
        for place, number in enumerate(numbers):
            time.sleep(max(0.0, began + seconds * place / len(numbers) - time.monotonic()))
            client.sendmail("sender@example.test", [stage.user], numbered(number))
