"""mailrules.core.evidence: flags that rules read alike."""

from __future__ import annotations

import pytest

from mailrules.core.evidence import FlagReading
from tests.core.test_decision import parsed

RULES = (
    "  - {name: a, when: {any: [{seen: false}, {not: {keyword: [$Todo, done*]}}]}, then: [keep]}\n"
    "  - {name: b, when: {subject: x}, then: [{flag: flagged}]}\n"
    "  - {name: c, when: {flagged: true}, then: [keep], enabled: false}\n"
)


@pytest.mark.parametrize(
    "one, other, alike",
    [
        ("", "", True),
        ("", r"\Recent", True),
        ("", r"\SEEN", False),
        (r"\Seen", r"\seen", True),
        ("", "$todo", False),
        ("$Todo", "$Todo $Other", True),
        ("", r"\Flagged", True),
    ],
)
def test_only_what_a_condition_tells_apart_counts(one: str, other: str, alike: bool) -> None:
    """A flag that no enabled rule's condition reads may change; one that changes a condition may not."""
    reading = FlagReading(parsed(RULES).rules)
    assert reading.alike(frozenset(one.split()), frozenset(other.split())) is alike
