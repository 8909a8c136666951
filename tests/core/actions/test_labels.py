"""core/actions/labels.py: label, unlabel."""

from __future__ import annotations

from typing import Any

import pytest

from mailrules.core.errors import RenderError
from tests.core.actions.act import RENDER, actions, effect, message, problem


@pytest.mark.parametrize(
    ("entry", "long_form"),
    [
        ({"label": "Travel"}, ("label", {"labels": ["Travel"]})),
        ({"label": ["Grüße/2026", "\\inbox"]}, ("label", {"labels": ["Grüße/2026", "\\Inbox"]})),
        ({"unlabel": "\\STARRED"}, ("unlabel", {"labels": ["\\Starred"]})),
        ({"label": "Team/{{ vars.team }}"}, ("label", {"labels": ["Team/sales"]})),
        ({"label": "Lists/{{ message.list_id }}"}, ("label", {"labels": ["Lists/a-b.example"]})),
    ],
)
def test_long_form(entry: Any, long_form: Any) -> None:
    """Gmail's own labels in any letter case, others as written; mail fills one level."""
    assert effect(entry, list_id="<a/b.example>") == long_form


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("label", "needs a label"),
        ({"label": []}, "needs a label"),
        ({"label": ""}, "is empty"),
        ({"label": "a*"}, "wildcards"),
        ({"label": "inbox"}, "write '\\Inbox'"),
        ({"label": "\\Trash"}, "write 'trash'"),
        ({"unlabel": "\\Spam"}, "write 'junk'"),
        ({"label": "\\Inbx"}, "Did you mean 'inbox'?"),
        ({"label": ["A", "a"]}, "twice"),
        ({"label": {"a": 1}}, "expected text"),
        ({"label": "{{ message.subject }}"}, "mail may not choose"),
    ],
)
def test_no_labels(entry: Any, words: str) -> None:
    """What is no label, or not to be set here, is an error that says what to write."""
    assert words in problem(entry)[1]


def test_put_on_and_taken_off() -> None:
    """One rule can't put a label on and take it off, nor put it on twice."""
    assert "both put on and taken off" in problem({"label": "A"}, {"unlabel": "a"})[1]
    assert "twice" in problem({"label": "A"}, {"label": ["B", "A"]})[1]


def test_gmails_own_are_written_out() -> None:
    """A template can't come to one of Gmail's own labels, and an empty one fails."""
    for name in ("\\Inbox", "inbox", ""):
        [action] = actions({"label": "{{ vars.team }}"})

        context = type(RENDER)(account="work", rule="r", vars={"team": name})
        with pytest.raises(RenderError):
            action.render(message(), context)


def test_later_rules_see_the_change() -> None:
    """`change_labels` does it, in any letter case."""
    label, unlabel = actions({"label": "Travel"}, {"unlabel": "Deals"})
    before = frozenset({"travel", "deals", "\\Inbox"})
    assert label.change_labels(before, {"labels": ["Travel"]}) == {"Travel", "deals", "\\Inbox"}
    assert unlabel.change_labels(before, {"labels": ["Deals"]}) == {"travel", "\\Inbox"}


def test_out_of_the_inbox() -> None:
    """Only `unlabel: \\Inbox` takes the message away; with a move it would leave twice."""
    put_on, off, away = (*actions({"label": "\\Inbox"}, {"unlabel": "A"}), *actions({"unlabel": "\\Inbox"}))
    assert (put_on.leaves, off.leaves, away.leaves) == (False, False, True)
    assert "only one can" in problem({"unlabel": "\\Inbox"}, {"move": "A"})[1]
