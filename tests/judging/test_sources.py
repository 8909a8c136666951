"""Which facts of an account's messages somebody tells, and for how long Message-IDs are kept."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

from mailrules import config
from mailrules.adapters.store import Sighting, Store
from mailrules.clock import now
from mailrules.judging.sources import Sources, longest_memory
from mailrules.performing.errands import Errands

ACCOUNTS = """
accounts:
  work: {host: a.example, username: u, password: {env: PW}}
  home: {host: b.example, username: u, password: {env: PW}}
rules:
"""
RULES = """
  - {name: a, accounts: [work], when: {any: [{duplicate: 1d}, {not: {duplicate: 7d}}]}, then: [keep]}
  - {name: b, enabled: false, when: {duplicate: 2w}, then: [keep]}
"""


def parsed(rules: str) -> config.Config:
    return config.parse(ACCOUNTS + rules, environ={"PW": "x"})


def test_the_longest_that_a_live_rule_says() -> None:
    """Anywhere in its condition, for its accounts."""
    assert longest_memory(parsed(RULES), "work") == timedelta(days=7)
    assert longest_memory(parsed(RULES), "home") is None


def test_message_ids_are_kept_only_where_a_rule_asks() -> None:
    """Elsewhere nobody is told of messages; another configuration counts at once."""
    sources = Sources(None, Errands(), threading.Event())
    with_rules = parsed(RULES)
    assert not sources.of("home", with_rules, {}).noting
    ways = sources.of("work", with_rules, {})
    assert ways.noting and set(ways.sources) == {"written_to", "answer", "script", "sightings"}
    assert sources.of("work", with_rules, {}).sources["sightings"] is ways.sources["sightings"]
    assert not sources.of("work", parsed("  - {name: a, when: always, then: [keep]}\n"), {}).noting


def test_what_nobody_asks_for_is_forgotten(tmp_path: Path) -> None:
    """When a process begins."""
    with Store.open(tmp_path) as store:
        for account in ("work", "home"):
            store.note_sightings(account, [Sighting("a@x", "one", "INBOX", 1, now())])
        Sources(store, Errands(), threading.Event()).tidy(parsed(RULES))
        assert store.sightings("work", ["a@x"]) and not store.sightings("home", ["a@x"])


def test_nothing_is_kept_for_an_account_that_nobody_asks_about() -> None:
    """What tells facts is made with the first question, and then is the same for all mailboxes."""
    sources = Sources(None, Errands(), threading.Event())
    ways = sources.of("work", parsed(RULES), {})
    assert not sources._letters and not sources._questions and not sources._witnesses
    told = ways.sources["written_to"]
    assert told is ways.sources["answer"] is sources.of("work", parsed(RULES), {}).sources["answer"]
    assert not sources._questions
