"""The stage and the checker themselves: every scenario, without any fault, is clean."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.checker import Verdict, check
from tests.faults.stage import SCENARIOS, Stage
from tests.lab.dovecot import Dovecot
from tests.lab.smtp import SmtpSink
from tests.lab.web import WebSink


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_a_scenario_without_faults(
    name: str,
    server_for: Callable[[str], Dovecot],
    sink: SmtpSink,
    tmp_path: Path,
    expect_clean: Callable[[str, Verdict], None],
) -> None:
    """Three messages end where the scenario says, each effect once, and others' mail stays."""
    scenario = SCENARIOS[name]
    with WebSink() as web:
        stage = Stage(server_for(scenario.capability), sink, tmp_path, scenario, web=web)
        stage.add_foreign()
        stage.baseline()
        stage.deliver(3)
        stage.run()
        stage.settle()
        expect_clean("stage", check(stage))


def test_the_checker_sees_what_is_not_right(dovecot: Dovecot, sink: SmtpSink, tmp_path: Path) -> None:
    """A second copy, a message that is gone, a send that the journal does not know: each is counted."""
    stage = Stage(dovecot, sink, tmp_path, SCENARIOS["everything"])
    stage.baseline()
    first = stage.deliver(2)
    stage.run()
    stage.settle()
    with dovecot.session(stage.user, "There") as client:
        client.uid("COPY", "1", "Copies")
        client.uid("STORE", "2", "+FLAGS", "(\\Deleted)")
        client.expunge()
    with (tmp_path / "traces").open("a") as traces:
        traces.write(f"{first}\n")
    verdict = check(stage)
    assert (verdict.doubled, verdict.wrong) == (2, 1), verdict.notes
