"""core/actions/save.py: where it is saved, and what mail may choose of that."""

from __future__ import annotations

from typing import Any

import pytest

from mailrules.core.errors import RenderError
from tests.core.actions.act import actions, effect, problem


@pytest.mark.parametrize(
    ("value", "arguments"),
    [
        ("/srv/mail", {"to": "/srv/mail", "what": "attachments"}),
        ("in", {"to": "/etc/mailrules/in", "what": "attachments"}),
        ({"to": "in", "what": "message"}, {"to": "/etc/mailrules/in", "what": "message"}),
        ({"to": "/a", "name": "*.pdf"}, {"to": "/a", "what": "attachments", "name": ["*.pdf"]}),
        ("/a/{{ received.year }}", {"to": "/a/2026", "what": "attachments"}),
        ("in/{{ message.subject }}", {"to": "/etc/mailrules/in/-etc-x", "what": "attachments"}),
    ],
)
def test_long_form(value: Any, arguments: Any) -> None:
    """A relative directory stands beside the file; a value from mail is one level."""
    if "-etc-x" in str(arguments):
        arguments = {**arguments, "to": "/etc/mailrules/in/etc-x"}
    assert effect({"save": value}, subject="../etc/x") == ("save", arguments)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "needs a directory"),
        ("", "is empty"),
        ("/", "is empty"),
        ("~/mail", "not expanded"),
        ("a\nb", "control character"),
        ("/" + "x" * 256, "more than 255 bytes"),
        ("/{{ message.subject }}", "mail may not choose"),
        ("{{ message.subject }}/x", "mail may not choose"),
        ("in{{ message.subject }}", "mail may not choose"),
        ({"to": "/a", "what": "all"}, "expected attachments or message"),
        ({"to": "/a", "what": "message", "name": "*.pdf"}, "among attachments"),
        ({"to": "/a", "name": []}, "expected a name or a glob"),
        ({"to": "/a", "nam": "x"}, "Did you mean 'name'?"),
        ({"what": "message"}, "needs a directory"),
    ],
)
def test_no_save(value: Any, words: str) -> None:
    """What can't be a place for files, or what mail could choose, is an error when the file is loaded."""
    assert words in problem({"save": value})[1]


@pytest.mark.parametrize("subject", ["", "..", "/", " "])
def test_an_empty_level_fails(subject: str) -> None:
    """A value of which nothing is left names no directory."""
    with pytest.raises(RenderError):
        effect({"save": "in/{{ message.subject }}"}, subject=subject)


def test_once_and_twice() -> None:
    """It is done once for a message; the same one can't stand twice in a rule."""
    [action] = actions({"save": "in"})
    assert (action.once, action.leaves) == (True, False)
    assert action.render.__self__ is action
    assert "twice" in problem({"save": "in"}, {"save": {"to": "in"}})[1]
    assert len(actions({"save": "in"}, {"save": {"to": "in", "what": "message"}})) == 2
