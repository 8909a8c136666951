"""docs/plan.md is what people see: each of its commands is run, and each screen compared."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.integration.test_first_steps import ROOT, Stage, staged, steps
from tests.lab.ca import LabCA
from tests.lab.dovecot import PASSWORD, Dovecot

PAGE = ROOT / "docs" / "plan.md"
USER = "planner@example.org"


def rules_of(page: str, port: int) -> str:
    """The page's rules, for the account that the lab has."""
    (rules,) = re.findall(r"(?ms)^```yaml\n(.*?)^```", page)
    account = f"host: 127.0.0.1, port: {port}, username: {USER}, password: {{env: LAB_PASSWORD}}"
    return f"accounts:\n  work: {{{account}}}\nrules:\n{rules}"


@pytest.fixture
def stage(dovecot: Dovecot, lab_ca: LabCA, tmp_path: Path) -> Stage:
    made = staged(dovecot, lab_ca, tmp_path, user=USER)
    made.environment["LAB_PASSWORD"] = PASSWORD
    (made.directory / "rules.yaml").write_text(rules_of(PAGE.read_text(), made.port))
    return made


def test_the_page_is_what_people_see(stage: Stage) -> None:
    """`plan`, `plan --save`, `apply FILE`, `plan --against`: every screen, in 80 columns, is as shown.

    With MAILRULES_REWRITE the page is written anew.
    """
    page = PAGE.read_text()
    found = steps(page)
    assert sum("mailrules" in step.command for step in found) == 7
    for step in found:
        status, shown = stage.run(step.command, step.screen)
        where = f"docs/plan.md:{step.line}: {step.command}"
        assert status == 0, (where, shown)
        assert all(len(line) <= 80 for line in shown), where
        same = [stage.plain(line) for line in shown] == [stage.plain(line) for line in step.screen]
        if os.environ.get("MAILRULES_REWRITE") and not same:
            page = page.replace(step.text(step.screen), step.text(map(stage.public, shown)), 1)
            PAGE.write_text(page)
            continue
        assert same, (where, shown)
