"""The rules in force, kept and read again."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from mailrules import config
from mailrules.adapters.store import Store
from mailrules.config import rules_then
from mailrules.core.rule import Rule
from mailrules.house import House

ACCOUNTS = """
accounts:
  work: {host: imap.example.org, username: me, password: {env: SECRET_NAME}, vars: {team: sales}}
"""
RULES = """
lists:
  vip: [alice@example.com, "@board.example"]
  unused: [x]
defaults: {vars: {team: none}}
settings: {timezone: Europe/Berlin}
rules:
  - &first
    name: norway
    when: {subject: [NO, on, "1.10", 12:30, ~]}
    then: [{flag: $No}, {move: "{{ vars.team }}/{{ received.year }}"}]   # a comment
  - name: important
    when: {from: {in: vip}, received: {between: "18:00-08:00"}}
    unless: {seen: true}
    then: [{flag: flagged}]
    stop: true
    limits: {per_hour: 5}
  - {<<: *first, name: merged, dry_run: true}
"""


def said(rule: Rule) -> str:
    """Everything of a rule but where it stands."""
    return re.sub(" at 0x[0-9a-f]+", "", repr(replace(rule, text="", source={})))


def test_rules_come_back_as_they_were() -> None:
    """Order, conditions, actions, lists and traps of YAML: all as before, and by the same hash."""
    before = config.parse(ACCOUNTS + RULES.replace(", ~]", "]"))
    text = rules_then.kept(before)
    assert "SECRET_NAME" not in text and "unused" not in text
    later = config.parse(ACCOUNTS + "lists: {vip: [bob@example.com]}\nrules: []\n")
    again = rules_then.rules_of(text, later)
    assert [rule.name for rule in again] == ["norway", "important", "merged"]
    assert [rule.revision for rule in again] == [rule.revision for rule in before.rules]
    assert [said(rule) for rule in again] == [said(rule) for rule in before.rules]


def test_what_cannot_be_read_is_left_out() -> None:
    """A text of another time must not keep anybody from the rest."""
    now = config.parse(ACCOUNTS + "rules: []\n")
    assert rules_then.rules_of("rules: [", now) == ()
    assert rules_then.rules_of("just text", now) == ()
    text = (
        "rules:\n- {name: a, when: {what_was_that: 1}, then: [keep]}\n- {name: b, when: always, then: [keep]}"
    )
    assert [rule.name for rule in rules_then.rules_of(text, now)] == ["b"]


def test_a_house_keeps_them_once(tmp_path: Path) -> None:
    """Under the hash of the file that each run names; nobody takes the whole set for a rule."""
    now = config.parse(ACCOUNTS + RULES.replace(", ~]", "]"))
    with Store.open(tmp_path) as store:
        House(now, store).begin()
        House(now, store).begin()
        assert store.rule_text(now.text_hash, "") == rules_then.kept(now)
        assert store.rules_recorded() == ["important", "merged", "norway"]
