"""mailrules.core.lasting: rules whose word lasts."""

from __future__ import annotations

import pytest

from mailrules.core.conditions import TABLE
from mailrules.core.lasting import asks_only_its_own, fingerprint, lasts
from tests.core.test_decision import parsed

PASSING = {
    "older_than", "newer_than", "seen", "flagged", "answered", "draft", "deleted", "keyword", "replied_to",
    "duplicate", "unanswered_for", "script", "search", "gmail", "gmail_label",
}  # fmt: skip


def rule(when: str, name: str = "r") -> str:
    return f"  - {{name: {name}, when: {when}, then: [keep]}}\n"


def test_which_conditions_last() -> None:
    """Those on what IMAP fixes under a UID; not flags, the time, other mail, or what others are asked."""
    assert {name for name, condition in TABLE.items() if not condition.lasting} == PASSING


@pytest.mark.parametrize(
    "when, last, own",
    [
        ("{subject: x}", True, True),
        ("always", True, True),
        ("{all: [{body: x}, {not: {any: [{larger_than: 5}, {sent: {weekday: [sat]}}]}}]}", True, True),
        ("{subject: x, seen: true}", False, True),
        ("{not: {any: [{subject: x}, {all: [{older_than: 3d}]}]}}", False, True),
        ("{search: DRAFT, subject: x}", False, False),
        ("{subject: x, duplicate: 7d}", False, False),
        ("{any: [{subject: x}, {replied_to: true}]}", False, False),
        ("{script: [/bin/true]}", False, False),
    ],
)
def test_a_rule_lasts_if_all_in_its_condition_does(when: str, last: bool, own: bool) -> None:
    """However deep it stands; what runs a script or notes something is not asked once more than needed."""
    (read,) = parsed(rule(when)).rules
    assert (lasts(read), asks_only_its_own(read)) == (last, own)


def test_another_fingerprint_for_whatever_changes_what_is_said() -> None:
    """Another text, order, list or setting is another one; a comment is not."""
    first, second = rule("{subject: x}"), rule("{from: {in: vips}}", "s")
    lists = "lists: {vips: [%s@example.com]}\n"
    one = parsed(first + second + lists % "a").rules
    same = parsed(first + "  # why\n" + second + lists % "a").rules
    other = parsed(first + second + lists % "b").rules
    assert fingerprint(one, "UTC") == fingerprint(same, "UTC")
    different = [(one, "UTC"), (one, "Europe/Berlin"), (one[:1], "UTC"), (one[::-1], "UTC"), (other, "UTC")]
    assert len({fingerprint(rules, zone) for rules, zone in different}) == 5
