"""header, list_id, exists."""

from __future__ import annotations

import pytest

from mailrules.core.message import header_fact
from mailrules.core.search import And, Key, Or
from tests.core.conditions.speaking import condition, groups, mail, matches, problem, trace


def test_header() -> None:
    """A scalar means contains, in any occurrence; every named header must fit."""
    lines = ("X-Spam: Yes, score=5", "Received: from a", "Received: from b")
    assert matches("header: {x-spam: yes}", *lines)
    assert matches("header: {Received: from b}", *lines)
    assert matches("header: {Received: b, X-Spam: score}", *lines)
    assert not matches("header: {Received: c, X-Spam: score}", *lines)
    assert not matches("header: {X-Other: {contains: a}}", *lines)
    assert matches("header: {X-Other: {exists: false}, Received: {exists: true}}", *lines)


def test_one_occurrence_satisfies_the_whole_mapping() -> None:
    """Operators of one mapping hold of the same occurrence."""
    when = "header: {Received: {contains: from, ends_with: b}}"
    assert not matches(when, "Received: from a", "Received: by b")
    assert matches(when, "Received: by b", "Received: from b")


def test_header_groups_trace_and_facts() -> None:
    """Groups of all headers, values by the names as written, only these headers asked for."""
    when = "header: {X-A: {regex: '(?P<a>.)'}, X-B: {regex: '(?P<a>.)(?P<b>.)'}}"
    assert groups(when, "X-B: 12", "X-A: 3") == {"a": "3", "b": "2"}
    assert trace(when, mail("X-B: 1", "X-B: 2")).value == {"X-A": None, "X-B": ["1", "2"]}
    assert condition(when).facts() == {header_fact("x-a"), header_fact("x-b")}
    assert isinstance(condition("header: {A: xx, B: yy}").search(), And)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Python List <python.lists.example.org>", True),
        ("<PYTHON.lists.example.org>", True),
        ("python.lists.example.org", True),
        ('"<odd>" <python.lists.example.org>', True),
        ("<xpython.lists.example.org>", False),
        ("python.lists.example.org <other>", False),
    ],
)
def test_list_id(value: str, expected: bool) -> None:
    """The id is what stands in `<…>`; a scalar means is."""
    assert matches("list_id: python.lists.example.org", f"List-Id: {value}") is expected


def test_list_id_operators() -> None:
    """Text operators see the id alone."""
    assert matches("list_id: {ends_with: .example.org}", "List-Id: <a.example.org>")
    assert not matches("list_id: {contains: Python}", "List-Id: Python <a.example.org>")
    assert matches("list_id: {exists: false}")
    assert condition("list_id: a.b").search() == Key("HEADER", ("List-Id", "a.b"), text=True)


def test_exists() -> None:
    """One name, or any of several."""
    assert matches("exists: x-a", "X-A:")
    assert matches("exists: [X-B, X-A]", "X-A: 1")
    assert not matches("exists: [X-B, X-C]", "X-A: 1")
    assert trace("exists: X-A", mail("X-A: 1", "X-A: 2")).value == {"x-a": 2}
    assert condition("exists: A").search() == Key("HEADER", ("a", ""), text=True)
    assert isinstance(condition("exists: [A, B]").search(), Or)


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("header: X-Spam", "takes names and values"),
        ("header: {}", "takes names and values"),
        ("header: {'X Y': 1}", "is not the name of a header"),
        ("header: {'X:': 1}", "Leave out the colon"),
        ("header: {X: {is: 1, foo: 2}}", "unknown key 'foo' in header X"),
        ("header: {X: {regex: '('}}", "missing )"),
        ("exists: 'X:'", "Leave out the colon"),
        ("exists: {X: 1}", "takes text here"),
    ],
)
def test_errors(when: str, words: str) -> None:
    """Each says what to write instead."""
    assert words in problem(when)
