"""Whether the suite sees what it is there for: bugs made on purpose, and deaths that must show them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.checker import Verdict
from tests.faults.conftest import Record
from tests.faults.forked import ForkedStage
from tests.faults.mutations import MUTATIONS
from tests.faults.stage import SCENARIOS
from tests.faults.zygote import Zygote
from tests.lab.dovecot import Dovecot
from tests.lab.smtp import SmtpSink

DEATHS = (
    "journal start_run: before",
    "journal start_run: after",
    "UID FETCH",
    "journal record: after",
    "journal advance intent: after",
    "journal advance done: after",
    "UID MOVE",
    "smtp send: after",
    "script go: after",
)
"""Steps to die at, in the last place where a pass makes each."""


def _verdict(dovecot: Dovecot, sink: SmtpSink, directory: Path, mutation: str | None) -> Verdict:
    with Zygote(directory) as zygote:
        stage = ForkedStage(
            dovecot, sink, directory, SCENARIOS["everything"], zygote=zygote, mutation=mutation
        )
        stage.baseline()
        stage.deliver()
        steps = stage.run().points
        for wanted in DEATHS:
            places = [n for n, step in enumerate(steps, 1) if wanted in step]
            # The dot of a message is the second to last that is sent over SMTP; QUIT comes after it.
            place = places[-2] if wanted.startswith("smtp") else places[-1]
            stage.deliver()
            assert stage.run(at=place).died
            stage.settle()
        return stage.check()


def test_the_plan_without_a_bug_is_clean(dovecot: Dovecot, sink: SmtpSink, tmp_path: Path) -> None:
    """The same deaths, in the program as it is, leave nothing lost, doubled or wrong."""
    verdict = _verdict(dovecot, sink, tmp_path, None)
    assert verdict.clean, verdict.notes


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_bug_is_caught(
    mutation: str, dovecot: Dovecot, sink: SmtpSink, tmp_path: Path, record: Record
) -> None:
    """A deliberate bug in the journal's protocol makes the verdict anything but clean."""
    verdict = _verdict(dovecot, sink, tmp_path, mutation)
    assert not verdict.clean
    figures = f"lost {verdict.lost}, doubled {verdict.doubled}, wrong {verdict.wrong}"
    record("a bug on purpose", len(DEATHS), note=f"{mutation.replace('_', ' ')}: caught ({figures})")
