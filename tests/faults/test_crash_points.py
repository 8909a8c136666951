"""T1: the process dies at every step of every kind of effect, and again in the pass that recovers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import FULL
from tests.faults.forked import ForkedStage
from tests.faults.stage import SCENARIOS
from tests.faults.zygote import Zygote
from tests.lab.dovecot import Dovecot
from tests.lab.smtp import SmtpSink
from tests.lab.web import WebSink

PAIRS = 220 if FULL else 9
"""Pairs of deaths for each scenario, about."""
NOTE = "pairs of deaths, all kinds of effects"


@pytest.mark.timeout(3 * 3600 if FULL else 300)
@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_a_process_that_dies_twice(
    name: str,
    server_for: Callable[[str], Dovecot],
    sink: SmtpSink,
    tmp_path: Path,
    expect_clean: Callable[..., None],
) -> None:
    """Wherever it dies, and the next one after it: what is left to do is done once, and nothing is lost."""
    scenario = SCENARIOS[name]
    with Zygote(tmp_path) as zygote, WebSink() as web:
        server = server_for(scenario.capability)
        stage = ForkedStage(server, sink, tmp_path, scenario, zygote=zygote, web=web)
        stage.add_foreign()
        stage.baseline()
        stage.deliver()
        steps = stage.run().points
        pairs = 0
        for first, seconds in _plan(steps):
            for second in seconds:
                stage.deliver()
                if not stage.run(at=first).died:
                    break
                stage.time_passes()
                again = stage.run(at=second)
                pairs += again.died
                stage.settle()
                if not again.died:
                    break
        verdict = stage.check()
        assert "Traceback" not in zygote.output.read_text()
    verdict.runs = pairs
    assert pairs >= PAIRS * 2 // 3
    expect_clean("T1", verdict, NOTE)


def _plan(steps: tuple[str, ...]) -> Iterator[tuple[int, Iterator[int]]]:
    """Where to die first, and where then: a lattice that has every step as the first one and as the second.

    A slice has few pairs: their first steps are those between the decision and the end of the effects.
    """
    count = len(steps)
    if FULL:
        stride = max(1, count * count // PAIRS)
        for first in range(1, count + 1):
            yield first, itertools.count(1 + first * 7 % stride, stride)
        return
    start = next(n for n, step in enumerate(steps, 1) if step.startswith("journal record"))
    end = next(n for n, step in enumerate(steps, 1) if step.startswith("journal end_run"))
    for n in range(PAIRS):
        first = start + n * (end - start) // (PAIRS - 1)
        # A recovery begins with the login, which changes nothing, and then does about what is left.
        yield first, iter([20 + (n * 5 + 3) % PAIRS * (count - first) // PAIRS])


def test_every_kind_of_step_is_there(dovecot: Dovecot, sink: SmtpSink, tmp_path: Path) -> None:
    """A pass has steps in the journal, IMAP, SMTP and around the script: none is left out."""
    with Zygote(tmp_path) as zygote:
        stage = ForkedStage(dovecot, sink, tmp_path, SCENARIOS["everything"], zygote=zygote)
        stage.baseline()
        stage.deliver()
        steps = " | ".join(stage.run().points)
    for wanted in (
        "journal record: inside", "journal advance intent: before", "journal advance commit: after",
        "journal advance done: inside", "UID STORE", "UID COPY", "UID MOVE", "imap answer",
        "smtp send: after", "smtp reply", "script guard: before", "script go: after", "script result",
    ):  # fmt: skip
        assert wanted in steps, (wanted, steps)
