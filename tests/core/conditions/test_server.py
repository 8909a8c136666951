"""search, gmail, gmail_label."""

from __future__ import annotations

import pytest

from mailrules.core.message import GMAIL_LABELS, Unavailable, gmail_fact, search_fact
from mailrules.core.search import Everything
from tests.core.conditions.speaking import condition, judge, mail, matches, problem, trace


def test_search_takes_the_server_at_its_word() -> None:
    """What SEARCH selected matches, unconfirmed; what nobody asked is needed; a refusal is unknown."""
    fact = search_fact('OR FROM "a" SEEN')
    when = "search: 'OR FROM \"a\" SEEN'"
    assert matches(when, facts={fact: True}) and not matches(when, facts={fact: False})
    assert judge(when, mail()).needs == {fact}
    refused = Unavailable("NO", passing=True)
    assert judge(when, mail(facts={fact: refused})).causes == (refused,)
    assert condition(when).search() == Everything(exact=False)
    assert trace(when, mail(facts={fact: True})).value is True


def test_gmail() -> None:
    """X-GM-RAW works the same."""
    fact = gmail_fact("category:promotions")
    assert matches("gmail: category:promotions", facts={fact: True})
    assert judge("gmail: category:promotions", mail()).needs == {fact}


@pytest.mark.parametrize(
    ("test", "expected"),
    [("travel", True), ("trav", False), ("{starts_with: tr}", True), ("[a, \\Inbox]", True)],
)
def test_gmail_label(test: str, expected: bool) -> None:
    """It has that label, in any case."""
    assert matches(f"gmail_label: {test}", facts={GMAIL_LABELS: frozenset(["Travel", "\\Inbox"])}) is expected


def test_where_there_are_no_labels_it_is_unknown() -> None:
    """Elsewhere than on Gmail it can't be judged."""
    assert judge("gmail_label: a", mail(facts={GMAIL_LABELS: Unavailable("no Gmail")})).truth is None


@pytest.mark.parametrize(
    "expression", ["ALL", "(OR SEEN (FLAGGED))", 'FROM "a (b"', 'SUBJECT "a\\"b"', "UID 1:5"]
)
def test_good_expressions(expression: str) -> None:
    """Balanced expressions on one line are taken as they are."""
    assert condition("search: '" + expression + "'").argument() == expression


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("search: ''", "is empty"),
        ("search: '  '", "is empty"),
        ("search: '(SEEN'", "parentheses"),
        ("search: 'SEEN)('", "parentheses"),
        ("search: 'FROM \"a'", "quote"),
        ('search: "SEEN\\r\\nA1 DELETE x"', "one line"),
        ('search: "SEEN\\0"', "one line"),
        ("search: 'FROM {5}'", "literal"),
        ("search: 'RETURN (ALL) SEEN'", "search keys alone"),
        ("search: CHARSET UTF-8 SEEN", "search keys alone"),
        ("search: [SEEN]", "takes text here"),
        ("gmail: ''", "one line"),
        ('gmail: "a\\nb"', "one line"),
    ],
)
def test_errors(when: str, words: str) -> None:
    """What could break out of the command, or is no expression, is refused at load."""
    assert words in problem(when)
