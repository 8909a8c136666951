"""What is left to do for a rule that looks at the same mail again and again."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import Any

import pytest

from mailrules import config
from mailrules.adapters.imap.search import criteria
from mailrules.core.actions.base import PlannedEffect
from mailrules.core.repeating import asks_memory, left_to_do, worth_looking
from mailrules.core.search import Everything, usable

NOW = datetime(2026, 11, 26, tzinfo=UTC)
ACCOUNT = "accounts: {work: {host: h.example, username: u, password: {env: P}, smtp: {host: s.example}}}\n"


def planned(action: str, **more: Any) -> PlannedEffect:
    values: dict[str, Any] = {
        "rule": "r", "revision": "1", "step": 0, "action": action, "arguments": {}, "leaves": False,
        "once": False,
    }  # fmt: skip
    return PlannedEffect(**(values | more))


def left(*effects: PlannedEffect, flags: Iterable[str] = (), done: Collection[tuple[str, str]] = ()) -> Any:
    return left_to_do(effects, "r", mailbox="INBOX", flags=frozenset(flags), done=done)


def asked(rule: str) -> str:
    (parsed,) = config.parse(f"{ACCOUNT}rules:\n  - {{name: r, schedule: {{every: 1h}}, {rule}}}\n").rules
    search = usable(worth_looking(parsed), trusted=False, now=NOW)
    return "everything" if isinstance(search, Everything) else criteria(search).text


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("when: always, then: [{mark: read}]", "UNSEEN"),
        ("when: always, then: [{mark: unread}]", "SEEN"),
        ("when: {older_than: 30d}, then: [{flag: $Old}]", "(BEFORE 30-Oct-2026 UNKEYWORD $Old)"),
        ("when: {larger_than: 1MB}, then: [trash]", "LARGER 1000000"),
        ("when: always, then: [{flag: [$A, flagged]}]", "OR UNKEYWORD $A UNFLAGGED"),
        ("when: always, then: [{flag: $A}, {unflag: $B}]", "OR UNKEYWORD $A KEYWORD $B"),
        ("when: always, then: [{flag: $A}, {copy: B}]", "everything"),
        ("when: always, then: [{flag: 'x{{ message.size }}'}]", "everything"),
        ("when: {subject: x}, then: [trash]", "everything"),
    ],
)
def test_the_server_leaves_out_what_is_done(rule: str, words: str) -> None:
    """SEARCH is asked for what the condition accepts, and of that for what the actions would change."""
    assert asked(rule) == words


def test_flags_that_are_set_are_not_set_again() -> None:
    """Case does not matter; of several flags, one that is missing is enough."""
    flag = planned("flag", arguments={"flags": ["$A", "\\Seen"]})
    assert left(flag, flags={"$a", "\\Seen"}) == ()
    assert left(flag, flags={"$A"}) == (flag,)
    unflag = planned("unflag", arguments={"flags": ["$A"]})
    assert left(unflag, flags={"$B"}) == ()
    assert left(unflag, flags={"$a"}) == (unflag,)


def test_what_was_done_before_is_not_done_again() -> None:
    """A copy by its arguments, a forward by its target, a note or assignment by being there at all."""
    copy = planned("copy", arguments={"mailbox": "B"})
    forward = planned("forward", once=True, target="a@example.com", arguments={"subject": "today"})
    note = planned("log", arguments={"text": "at 12:30"})
    done = {("copy", '{"mailbox": "B"}'), ("forward", "a@example.com"), ("log", '{"text": "at 11:30"}')}
    assert left(copy, forward, note, done=done) == ()
    assert left(planned("assign", arguments={"to": ["ann"]}), done={("assign", '{"to": ["bob"]}')}) == ()
    assert left(copy, forward, note) == (copy, forward, note)


def test_what_leaves_is_planned_but_not_to_where_it_is() -> None:
    """A rule over `*` that moves to Archive finds Archive, too."""
    away = planned("move", leaves=True, arguments={"mailbox": "Archive"})
    here = planned("move", leaves=True, arguments={"mailbox": "INBOX"})
    assert left(away, here) == (away,)


def test_protectors_say_nothing_and_failures_are_told() -> None:
    """Another rule's row is not for this log; what could not be rendered is."""
    other = planned("stop", rule="vip", state="skipped")
    failed = planned("flag", state="failed", arguments={})
    assert left(other, failed) == (failed,)


def test_memory_is_asked_only_where_it_matters() -> None:
    """Flags are seen on the message, and what leaves has left."""
    assert not asks_memory([planned("flag"), planned("trash", leaves=True)])
    assert asks_memory([planned("flag"), planned("copy")])
