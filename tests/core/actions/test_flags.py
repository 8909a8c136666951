"""core/actions/flags.py: flag, unflag, mark."""

from __future__ import annotations

from typing import Any

import pytest

from mailrules.core.errors import RenderError
from tests.core.actions.act import actions, effect, problem


@pytest.mark.parametrize(
    ("entry", "long_form"),
    [
        ({"flag": "seen"}, ("flag", {"flags": ["\\Seen"]})),
        (
            {"flag": ["FLAGGED", "\\answered", "Draft", "$Todo"]},
            ("flag", {"flags": ["\\Flagged", "\\Answered", "\\Draft", "$Todo"]}),
        ),
        ({"unflag": "$Todo"}, ("unflag", {"flags": ["$Todo"]})),
        ({"mark": "read"}, ("flag", {"flags": ["\\Seen"]})),
        ({"mark": "unread"}, ("unflag", {"flags": ["\\Seen"]})),
        ({"mark": "flagged"}, ("flag", {"flags": ["\\Flagged"]})),
        ({"mark": "unflagged"}, ("unflag", {"flags": ["\\Flagged"]})),
        ({"flag": "$team-{{ vars.team }}"}, ("flag", {"flags": ["$team-sales"]})),
    ],
)
def test_long_form(entry: Any, long_form: Any) -> None:
    """System flags in any letter case, keywords as written; `mark` is reported as flag or unflag."""
    assert effect(entry) == long_form


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"flag": "a b"}, "not a keyword"),
        ({"flag": "a*"}, "not a keyword"),
        ({"flag": ""}, "not a keyword"),
        ({"flag": "é"}, "not a keyword"),
        ({"flag": "a\r\nb"}, "not a keyword"),
        ({"flag": "x" * 101}, "not a keyword"),
        ({"flag": "]"}, "not a keyword"),
        ({"flag": "\\Sean"}, "Did you mean 'seen'?"),
        ({"flag": "deleted"}, "trash"),
        ({"flag": "\\Deleted"}, "trash"),
        ({"flag": "recent"}, "Only the server"),
        ({"flag": "unread"}, "mark: unread"),
        ({"flag": ["$a", "$A"]}, "twice"),
        ({"flag": []}, "needs a flag"),
        ({"flag": {"a": 1}}, "expected text"),
        ({"mark": "raed"}, "Did you mean 'read'?"),
        ({"mark": ["read"]}, "expected read"),
    ],
)
def test_no_flags(entry: Any, words: str) -> None:
    """What is no flag, or not to be set here, is an error that says what to write."""
    assert words in problem(entry)[1]


def test_flags_from_mail_are_keywords_only() -> None:
    """A value from mail may name a keyword that is one, never a system flag."""
    entry = {"flag": "{{ message.subject }}"}
    assert effect(entry, subject="$Urgent")[1] == {"flags": ["$Urgent"]}
    for subject in ("seen", "\\Seen", "a b", "", "deleted", "(\\Deleted)"):
        with pytest.raises(RenderError):
            effect(entry, subject=subject)


def test_later_rules_see_the_change() -> None:
    """`changes` names what may change in lower case, `change_flags` does it, in any letter case."""
    flag, unflag, mark, chosen = actions(
        {"flag": ["seen", "$Todo"]}, {"unflag": "$Done"}, {"mark": "unflagged"}, {"flag": "{{ rule }}"}
    )
    assert flag.changes() == {"\\seen", "$todo"} and unflag.changes() == {"$done"}
    assert mark.changes() == {"\\flagged"} and chosen.changes() == {"*"}
    before = frozenset({"\\SEEN", "$done", "x"})
    assert flag.change_flags(before, {"flags": ["\\Seen", "$Todo"]}) == {"\\Seen", "$Todo", "$done", "x"}
    assert unflag.change_flags(before, {"flags": ["$Done"]}) == {"\\SEEN", "x"}
    assert mark.change_flags(frozenset({"\\Flagged"}), {"flags": ["\\Flagged"]}) == frozenset()
