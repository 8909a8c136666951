"""docs/first-steps.md is what a newcomer sees: each of its commands is run, and each screen compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.newcomer import ADDRESS
from tests.integration.pages import ROOT, Stage, follow, staged, steps
from tests.lab.ca import LabCA
from tests.lab.dovecot import Dovecot

PAGE = ROOT / "docs" / "first-steps.md"


@pytest.fixture
def stage(dovecot: Dovecot, lab_ca: LabCA, tmp_path: Path) -> Stage:
    return staged(dovecot, lab_ca, tmp_path, user=ADDRESS)


def test_the_page_is_what_a_newcomer_sees(stage: Stage) -> None:
    """From `init` to `log`: every screen, in 80 columns, is as the page shows it."""
    found = steps(PAGE.read_text())
    assert [step.command.split()[1] for step in found if step.command.startswith("mailrules")] == [
        "init", "plan", "apply", "log", "explain", "undo", "log",
    ]  # fmt: skip
    follow(stage, PAGE)
