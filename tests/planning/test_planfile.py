"""mailrules.planning.planfile: a plan that is kept."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailrules import config
from mailrules.adapters.imap.identity import Identity
from mailrules.core.actions.base import PlannedEffect
from mailrules.core.decision import Decision, RuleOutcome
from mailrules.core.errors import NotPermitted, PermanentError
from mailrules.planning.planfile import PlanWriter, SavedPlan, new_file
from mailrules.planning.planned import Planned, Selection, Summary
from tests.json_contract import objects

ALL = Selection()
NOW = datetime(2026, 3, 1, 9, 0, 0, 5, tzinfo=UTC)
RULES = config.parse(
    "accounts:\n  work: {host: localhost, security: none, username: a@example.test, password: {env: X}}\n"
    "rules:\n  - {name: filing, when: always, then: [{move: Work}]}\n"
)


def planned(uid: int, mailbox: str = "INBOX", *, leaves: bool = True) -> Planned:
    effect = PlannedEffect(
        "filing", "rev", 0, "move", {"mailbox": "Wörk"}, leaves=leaves, once=False, because="é"
    )
    return Planned(
        "work", mailbox, 7, uid,
        Identity(f"id-{uid}", "<a@b>", "Grüße\n\x1b[31m", "ann@example.test", NOW - timedelta(days=9), 99,
                 frozenset({"\\Seen", "$Todo"})),
        Decision((RuleOutcome("filing", True, None),), (effect,)),
    )  # fmt: skip


def saved(path: Path, *messages: Planned, selection: Selection = ALL) -> Path:
    with new_file(path) as file:
        writer = PlanWriter(file, config=RULES, selection=selection, made=NOW)
        summary = Summary(messages=10)
        for message in messages:
            summary.count(message)
            writer.add(message)
        writer.end(summary)
    return path


def opened(path: Path) -> SavedPlan:
    return SavedPlan(path.open("rb"), str(path))


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    """Messages, effects and arguments read back are those that were written, mailbox by mailbox."""
    messages = [planned(1), planned(5, leaves=False), planned(2, "Team/A")]
    chosen = Selection(rules=("filing",), since=NOW, scheduled=True)
    plan = opened(saved(tmp_path / "a.plan", *messages, selection=chosen))
    assert (plan.made, plan.selection, plan.rules_hash) == (NOW, chosen, RULES.text_hash)
    assert [(s.mailbox, s.uidvalidity, s.messages, list(s.leaves)) for s in plan.sections] == [
        ("INBOX", 7, 2, [1]), ("Team/A", 7, 1, [2]),
    ]  # fmt: skip
    assert [m for section in plan.sections for m in plan.read(section)] == messages


def test_it_is_private_and_as_the_schema_says(tmp_path: Path) -> None:
    """0600 whatever the umask; each line fits docs/json/planfile.schema.json."""
    before = os.umask(0)
    try:
        path = saved(tmp_path / "a.plan", planned(1))
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(objects("planfile", path.read_text())) == 3


def test_a_plan_of_nothing_is_a_plan(tmp_path: Path) -> None:
    """A plan without messages is whole."""
    plan = opened(saved(tmp_path / "a.plan"))
    assert plan.sections == [] and plan.messages == 0


@pytest.mark.parametrize("cut", ["end", "line", "head"])
def test_what_is_not_whole_is_refused(tmp_path: Path, cut: str) -> None:
    """Cut off at any place, nothing of it is done."""
    path = saved(tmp_path / "a.plan", planned(1), planned(2))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(
        b"".join({"end": lines[:-1], "line": [*lines[:2], lines[2][:40]], "head": lines[1:]}[cut])
    )
    with pytest.raises(PermanentError):
        opened(path)


@pytest.mark.parametrize("change", ["uid", "swap", "drop", "more", "nonsense"])
def test_what_was_changed_is_refused(tmp_path: Path, change: str) -> None:
    """Another number, another order, a line less, a line after the end, or no JSON at all."""
    path = saved(tmp_path / "a.plan", planned(1), planned(2))
    lines = path.read_bytes().splitlines(keepends=True)
    if change == "uid":
        lines[1] = json.dumps(json.loads(lines[1]) | {"uid": 3}).encode() + b"\n"
    elif change == "swap":
        lines[1], lines[2] = lines[2], lines[1]
    elif change == "drop":
        del lines[1]
    elif change == "more":
        lines.append(lines[1])
    else:
        lines[1] = b"[]\n"
    path.write_bytes(b"".join(lines))
    with pytest.raises(PermanentError, match=r"changed|not a plan"):
        opened(path)


def test_what_others_may_write_is_refused(tmp_path: Path) -> None:
    """A plan is done, so nobody else may have had a hand in it."""
    path = saved(tmp_path / "a.plan", planned(1))
    path.chmod(0o620)
    with pytest.raises(NotPermitted, match="chmod 600"):
        opened(path)


def test_nothing_else_is_written_over(tmp_path: Path) -> None:
    """A plan may be replaced by a plan; a file that is something else stays."""
    path = saved(tmp_path / "a.plan", planned(1))
    assert opened(saved(path, planned(1), planned(2))).messages == 2
    rules = tmp_path / "rules.yaml"
    rules.write_text("rules: []\n")
    with pytest.raises(NotPermitted, match="no plan"), new_file(rules):
        pass
    assert rules.read_text() == "rules: []\n"


def test_what_was_broken_off_leaves_nothing(tmp_path: Path) -> None:
    """Stopped in the middle, the file that was there is still the one from before."""
    path = saved(tmp_path / "a.plan", planned(1))
    with pytest.raises(KeyboardInterrupt), new_file(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert opened(path).messages == 1 and os.listdir(tmp_path) == ["a.plan"]
