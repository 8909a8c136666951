"""core/actions/assign.py: who may be chosen, and what is done for them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mailrules.core.errors import RenderError
from tests.core.actions.act import RENDER, actions, effect, problem


@pytest.mark.parametrize(
    ("value", "arguments"),
    [
        (["a", "b"], {"to": ["a", "b"], "by": "round_robin", "with": "keyword"}),
        (
            {"to": ["a", "b"], "by": "least_loaded", "with": "mailbox"},
            {"to": ["a", "b"], "by": "least_loaded", "with": "mailbox"},
        ),
        ("a", {"to": "a", "by": "round_robin", "with": "keyword", "flags": ["$Assigned_a"]}),
        (
            {"to": "Team/Ann", "with": "mailbox"},
            {"to": "Team/Ann", "by": "round_robin", "with": "mailbox", "mailbox": "Team/Ann"},
        ),
        (["{{ vars.team }}", "b"], {"to": ["sales", "b"], "by": "round_robin", "with": "keyword"}),
    ],
)
def test_long_form(value: Any, arguments: Any) -> None:
    """All who may be chosen; if there is only one, that person."""
    assert effect({"assign": value}) == ("assign", arguments)


def test_leaving_and_flags() -> None:
    """Into a mailbox the message leaves; a keyword may be any of theirs."""
    [keyword] = actions({"assign": ["a", "B"]})
    [mailbox] = actions({"assign": {"to": "a", "with": "mailbox"}})
    assert (keyword.leaves, mailbox.leaves) == (False, True)
    assert keyword.changes() == {"$assigned_a", "$assigned_b"} and mailbox.changes() == frozenset()
    assert actions({"assign": ["{{ vars.team }}"]})[0].changes() == {"*"}
    assert "only one can" in problem({"assign": {"to": "a", "with": "mailbox"}}, {"move": "X"})[1]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "needs people"),
        ([], "needs people"),
        ({"by": "round_robin"}, "needs people"),
        (["a", "A"], "stands twice"),
        (["a b"], "with: mailbox"),
        (["é"], "with: mailbox"),
        ([""], "can't be part"),
        ({"to": ["a/"], "with": "mailbox"}, "empty level"),
        (["{{ message.from.localpart }}"], "mail may not choose"),
        ({"to": ["a"], "by": "roundrobin"}, "Did you mean 'round_robin'?"),
        ({"to": ["a"], "with": "label"}, "expected keyword or mailbox"),
        ({"to": ["a"], "whith": "keyword"}, "Did you mean 'with'?"),
        ([f"p{n}" for n in range(101)], "more than 100"),
    ],
)
def test_no_assign(value: Any, words: str) -> None:
    """Whom nothing can be assigned to is an error when the file is loaded."""
    assert words in problem({"assign": value})[1]


def test_a_var_that_is_no_name() -> None:
    """What a template comes to is checked when it is filled in."""
    with pytest.raises(RenderError, match="can't be part of a keyword"):
        effect({"assign": ["{{ vars.team }}"]}, context=replace(RENDER, vars={"team": "a b"}))


def test_assigned_once() -> None:
    """A rule assigns once."""
    assert "stands twice" in problem({"assign": "a"}, {"assign": "b"})[1]
