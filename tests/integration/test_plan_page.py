"""docs/plan.md is what people see: each of its commands is run, and each screen compared."""

from __future__ import annotations

import re
from pathlib import Path

from tests.integration.test_first_steps import ADDRESS, ROOT, Stage, stage, steps
from tests.lab.dovecot import PASSWORD

__all__ = ["stage"]

PAGE = ROOT / "docs" / "plan.md"


def rules_of(page: str, port: int) -> str:
    """The page's rules, for the account that the lab has."""
    (rules,) = re.findall(r"(?ms)^```yaml\n(.*?)^```", page)
    account = f"host: 127.0.0.1, port: {port}, username: {ADDRESS}, password: {{env: LAB_PASSWORD}}"
    return f"accounts:\n  work: {{{account}}}\nrules:\n{rules}"


def test_the_page_is_what_people_see(stage: Stage) -> None:
    """`plan`, `plan --save`, `apply FILE`, `plan --against`: every screen, in 80 columns, is as shown."""
    page = PAGE.read_text()
    (Path(stage.directory) / "rules.yaml").write_text(rules_of(page, stage.port))
    stage.environment["LAB_PASSWORD"] = PASSWORD
    found = steps(page)
    assert sum("mailrules" in step.command for step in found) == 7
    for step in found:
        status, shown = stage.run(step.command, step.screen)
        where = f"docs/plan.md:{step.line}: {step.command}"
        assert status == 0, (where, shown)
        assert all(len(line) <= 80 for line in shown), where
        assert [stage.plain(line) for line in shown] == [stage.plain(line) for line in step.screen], where
