"""subject."""

from __future__ import annotations

import pytest

from mailrules.core.search import Everything, Key, Or
from tests.core.conditions.speaking import condition, groups, mail, matches, problem, trace


@pytest.mark.parametrize(
    ("test", "subject", "expected"),
    [
        ("invoice", "Your INVOICE", True),
        ("[bill, invoice]", "Your invoice", True),
        ("[bill, invoice]", "Your letter", False),
        ("1.10", "costs 1.10", True),
        ("NO", "no way", True),
        ("{is: invoice}", "Invoice", True),
        ("{starts_with: 're:', ends_with: now}", "Re: buy now", True),
        ("{starts_with: 're:', ends_with: now}", "Re: buy later", False),
        ("{regex: '^\\[[0-9]+\\]'}", "[42] x", True),
        ("{contains: A, case_sensitive: true}", "a", False),
        ("{in: words}", "a Lottery", True),
        ("{in: words, starts_with: re}", "a lottery", False),
        ("grüße", "=?utf-8?q?Viele_Gr=C3=BC=C3=9Fe?=", True),
        ("GRÜSSE", "=?iso-8859-1?q?Viele_Gr=FC=DFe?=", True),
    ],
)
def test_subject(test: str, subject: str, expected: bool) -> None:
    """A scalar means contains; operators compare decoded, folded text."""
    assert matches(f"subject: {test}", f"Subject: {subject}", lists={"words": ("lottery",)}) is expected


def test_absent_and_empty_subjects() -> None:
    """An absent subject matches nothing but `exists: false`; an empty one is there."""
    assert not matches("subject: {is: ''}")
    assert matches("subject: {is: ''}", "Subject:")
    assert matches("subject: {exists: false}") and not matches("subject: {exists: false}", "Subject:")


def test_operators_hold_of_the_same_occurrence() -> None:
    """Of two Subject fields one must satisfy everything."""
    when = "subject: {contains: a, ends_with: z}"
    assert not matches(when, "Subject: a", "Subject: z")
    assert matches(when, "Subject: x", "Subject: a z")


def test_groups() -> None:
    """Named groups have the text as it is."""
    assert groups("subject: {regex: 'invoice (?P<number>\\S+)'}", "Subject: An Invoice Nr/7") == {
        "number": "Nr/7"
    }
    assert condition("subject: {regex: '(?P<a>x)?'}").group_names() == {"a": True}


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("subject:", "has no value"),
        ("subject: ''", "write exists: true"),
        ("subject: []", "empty list"),
        ("subject: [a, {b: c}]", "takes text here, not a mapping"),
        ("subject: {contain: x}", "Did you mean 'contains'?"),
        ("subject: {case_sensitive: true}", "has no operator"),
        ("subject: {contains: x, case_sensitive: maybe}", "true or false"),
        ("subject: {exists: true, contains: x}", "stands alone"),
        ("subject: {regex: '(?=a)'}", "lookahead"),
        ("subject: {regex: ['a', '(']}", "missing )"),
        ("subject: {in: nope}", "Add it under 'lists:'"),
    ],
)
def test_errors(when: str, words: str) -> None:
    """Each says what to write instead."""
    assert words in problem(when).replace("Write exists", "write exists")


def test_trace() -> None:
    """The value is the decoded subject."""
    shown = trace("subject: {is: [a, '7']}", mail("Subject: =?utf-8?q?=C3=A9?="))
    assert (shown.argument, shown.matched, shown.value) == ({"is": ["a", "7"]}, False, "é")


def test_search() -> None:
    """One ASCII word of each value; nothing for a regex or what is not ASCII."""
    word = Key("SUBJECT", ("nvoice",), text=True)  # the i may be the end of a ligature for fi
    assert condition("subject: the invoice").search() == word
    assert condition("subject: {glob: 'a*invoice?'}").search() == word
    assert isinstance(condition("subject: [cc, bb]").search(), Or)
    assert condition("subject: {exists: true}").search() == Key("HEADER", ("Subject", ""), text=True)
    for when in ("subject: {regex: a}", "subject: ü", "subject: [aa, ü]", "subject: {exists: false}"):
        assert condition(when).search() == Everything(exact=False)
    # 'ß' folds to 'ss': a server that looks for the one may not find the other
    assert condition("subject: strasse").search() == Key("SUBJECT", ("r",), text=True)
