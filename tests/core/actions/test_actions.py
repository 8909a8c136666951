"""core/actions/__init__.py: the table, what may stand under `then`, and conflicts inside one rule."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from mailrules.core.actions import TABLE, parse_then
from mailrules.core.errors import Report
from mailrules.core.values import Plain
from tests.core.actions.act import CONTEXT, actions, problem


def test_table_is_whole() -> None:
    """Every action stands in the table under its own key, has a manual with an example, and a schema."""
    for key, kind in TABLE.items():
        assert kind.key == key
        assert kind.__doc__ and f"- {key}" in kind.__doc__
        assert kind.bare or kind.value_schema
        Draft202012Validator.check_schema(dict(kind.value_schema))
        assert kind.model_json_schema()["type"] == "object"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("kep", "Did you mean 'keep'?"),
        ({"moov": "A"}, "Did you mean 'move'?"),
        ("webhook", "needs a URL"),
        ("save", "needs a directory"),
        ("assign", "needs people"),
        ({"move": "A", "stop": True}, "its own line"),
        ({}, "expected an action"),
        (None, "found nothing"),
        ([], "found an empty list"),
        ({"archive": "Old"}, "takes no value"),
        ("move", "needs the name of a mailbox"),
        ("flag", "needs a flag"),
        ("forward", "needs an address"),
    ],
)
def test_entries_that_are_no_actions(entry: Any, words: str) -> None:
    """A bare word or a mapping with one key; everything else says what was expected."""
    assert words in problem(entry)[1]


@pytest.mark.parametrize("data", [None, Plain("archive"), {"move": "A"}])
def test_then_is_a_list(data: Any) -> None:
    """`then` without dashes is an error that shows them."""
    report = Report()
    assert parse_then(data, path=("then",), report=report, context=CONTEXT) == ()
    assert "'- move: Archive'" in report.problems[0].message and report.problems[0].path == ("then",)


def test_empty_then() -> None:
    """An empty list is an error, not silence."""
    assert "empty" in problem()[1]


def test_all_problems_at_once() -> None:
    """Each wrong entry is told at its own place."""
    report = Report()
    entries = [{"moov": "A"}, {"flag": "a b"}, "keep"]
    found = parse_then(entries, path=("then",), report=report, context=CONTEXT)
    assert [p.path for p in report.problems] == [("then", 0, "moov"), ("then", 1, "flag")]
    assert [a.key for a in found] == ["keep"]


LEAVING = [{"move": "A"}, {"move": "B"}, "archive", "trash", "junk", {"delete": "permanently"}]


@pytest.mark.parametrize("first", LEAVING)
@pytest.mark.parametrize("second", LEAVING)
def test_a_message_leaves_once(first: Any, second: Any) -> None:
    """Two actions that take the message away can't stand in one rule."""
    assert "only one can" in problem(first, second)[1]


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ({"copy": "A"}, {"copy": "A"}, "twice"),
        ({"flag": "seen"}, {"unflag": "Seen"}, "both set and cleared"),
        ({"flag": "seen"}, {"mark": "unread"}, "both set and cleared"),
        ({"flag": ["$a", "seen"]}, {"mark": "read"}, "set twice"),
        ({"unflag": "$a"}, {"unflag": ["$b", "$A"]}, "cleared twice"),
        ({"forward": "a@b.c"}, {"forward": ["x@y.z", "A@B.C"]}, "twice"),
        ({"redirect": "a@b.c"}, {"redirect": "a@b.c"}, "twice"),
        ({"script": ["x", "y"]}, {"script": ["x", "y"]}, "twice"),
        ({"log": "x"}, {"log": "x"}, "twice"),
        ("keep", "keep", "twice"),
        ("keep", "trash", "takes it away"),
        ("trash", "keep", "takes it away"),
    ],
)
def test_conflicts(first: Any, second: Any, words: str) -> None:
    """The same thing twice, or two that undo each other, are told at the second."""
    path, message = problem(first, second)
    assert words in message and path[0] == 1


def test_what_goes_together() -> None:
    """Different targets are no conflict."""
    assert (
        len(
            actions(
                {"copy": "A"},
                {"copy": "B"},
                {"flag": "seen"},
                {"unflag": "$x"},
                {"forward": "a@b.c"},
                {"redirect": "a@b.c"},
                {"script": ["x", "1"]},
                {"script": ["x", "2"]},
                {"log": "a"},
                {"log": "b"},
                {"move": "A"},
            )
        )
        == 11
    )
