"""hits.py: rules that matched nothing for long."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailrules import config
from mailrules.adapters.store import Store
from mailrules.adapters.store.schema import rule_hits, run
from mailrules.cli.app import main
from mailrules.setup.hits import quiet

NOW = datetime(2026, 3, 1, tzinfo=UTC)
FILE = """\
accounts:
  work: {host: imap.example.org, username: me@example.org, password: {env: NOBODY_ASKS}}
rules:
  - {name: often, when: {subject: a}, then: [keep]}
  - {name: once, when: {subject: b}, then: [keep]}
  - {name: never, when: {subject: c}, then: [keep]}
  - {name: off, when: {subject: d}, then: [keep], enabled: false}
  - {name: dry, when: {subject: e}, then: [keep], dry_run: true}
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A journal that began 100 days ago, with two rules that matched."""
    with Store.open(tmp_path / "state") as opened:
        with opened._database.write() as connection:  # what a run of that day would have left
            began = NOW - timedelta(days=100)
            about = {"account": "work", "mailbox": "INBOX", "kind": "new", "rules_hash": "", "detail": {}}
            connection.execute(run.insert().values(started_at=began, **about))
            for name, days in (("often", 1), ("once", 40)):
                when = NOW - timedelta(days=days)
                connection.execute(rule_hits.insert().values(rule=name, account="work", hits=3, last_at=when))
        yield opened


def names(found: list[config.Finding]) -> list[str]:
    return [finding.message.split("'")[1] for finding in found]


@pytest.mark.parametrize(
    ("days", "expected"),
    [(30, ["once", "never"]), (60, ["never"]), (200, []), (0, ["often", "once", "never"])],
)
def test_quiet(store: Store, days: int, expected: list[str]) -> None:
    """Named are enabled rules without a match in that time; a young journal says nothing of never."""
    found = quiet(config.parse(FILE), store, now=NOW, within=timedelta(days=days))
    assert names(found) == expected
    assert all(finding.severity == "warning" for finding in found)


def test_words(store: Store) -> None:
    """It says since when, and where the rule stands."""
    found = quiet(config.parse(FILE), store, now=NOW, within=timedelta(days=30))
    assert str(found[0]).startswith("rules.yaml:5:5: the rule 'once' has matched nothing since 2026-01-20.")
    assert "since the journal began on 2025-11-21" in found[1].message


def test_check(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`check --hits` says it beside the rest, and --strict makes it count; without a journal it says so."""
    file = tmp_path / "rules.yaml"
    file.write_text(FILE)
    arguments = ["check", "--config", str(file), "--state", str(tmp_path / "state"), "--hits", "30d"]
    assert main(arguments) == 0
    assert "'never' has matched nothing" in capsys.readouterr().out
    assert main([*arguments, "--strict"]) == 1
    assert main(["check", "--config", str(file), "--hits", "soon"]) == 2
    assert main(["check", "--config", str(file), "--state", str(tmp_path / "none"), "--hits", "30d"]) == 1
