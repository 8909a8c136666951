"""core/actions/note.py: log, keep."""

from __future__ import annotations

from mailrules.core.message import header_fact
from tests.core.actions.act import actions, effect, problem


def test_log() -> None:
    """`log` renders its text, and reads what that needs."""
    entry = {"log": "{{ message.from.address }}: {{ message.subject }}"}
    assert effect(entry, from_="a@b.c", subject="hi") == ("log", {"text": "a@b.c: hi"})
    [action] = actions(entry)
    assert action.facts() == {header_fact("from"), header_fact("subject")}
    assert (action.leaves, action.once, action.changes()) == (False, False, frozenset())


def test_keep() -> None:
    """`keep` does nothing, and says so."""
    assert effect("keep") == ("keep", {})


def test_log_needs_text() -> None:
    """A list is no text."""
    assert "expected text" in problem({"log": ["a"]})[1]
