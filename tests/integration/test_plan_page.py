"""docs/plan.md is what people see: each of its commands is run, and each screen compared."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.integration.pages import ROOT, Stage, follow, staged, steps
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
    """`plan`, `plan --save`, `apply FILE`, `plan --against`: every screen, in 80 columns, is as shown."""
    found = steps(PAGE.read_text())
    assert sum("mailrules" in step.command for step in found) == 7
    follow(stage, PAGE)
