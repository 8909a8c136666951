"""core/actions/reply.py: what a reply is, in the file and rendered."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from mailrules.core.errors import Declined
from mailrules.core.message import ALL_HEADERS, MissingFact
from mailrules.core.offline import message_from_bytes
from tests.core.actions.act import RENDER, actions, message, problem
from tests.core.answering_cases import changed

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def rendered(value: Any, headers: str, **context: Any) -> tuple[str, dict[str, Any], str]:
    [action] = actions({"reply": value})
    return action.render(
        message_from_bytes(headers.encode() + b"\nHello\n", now=NOW), replace(RENDER, **context)
    )


def test_long_form() -> None:
    """It goes to the sender, with `Auto:` before the subject, once in seven days."""
    assert rendered({"text": "Hello {{ message.from.name }}"}, changed()) == (
        "reply",
        {"to": ["ann@acme.example"], "subject": "Auto: Hi", "text": "Hello Ann", "once_every": 604800.0},
        "ann@acme.example",
    )
    _, arguments, _ = rendered({"text": "x", "subject": "Away", "once_every": "2w"}, changed(subject=None))
    assert (arguments["subject"], arguments["once_every"]) == ("Away", 14 * 86400)
    assert rendered({"text": "x"}, changed(subject=None))[1]["subject"] == "Auto: your message"


def test_declined() -> None:
    """What must not be answered is declined, with the reason."""
    with pytest.raises(Declined, match="not answered: it came from a list"):
        rendered({"text": "x"}, changed(list_id="<a.b>"))


def test_own_addresses() -> None:
    """The account's addresses count, what it sends as, and those that the rule adds."""
    to_info = changed(to="info@our.example")
    with pytest.raises(Declined, match="addresses"):
        rendered({"text": "x"}, to_info)
    assert rendered({"text": "x"}, to_info, addresses=("info@our.example",))
    assert rendered({"text": "x", "addresses": "info@our.example"}, to_info)
    with pytest.raises(Declined, match="account itself"):
        own = changed(return_path="<info@our.example>")
        rendered({"text": "x", "addresses": ["info@our.example"]}, own)


def test_facts() -> None:
    """It reads the whole header, and asks for it at once."""
    [action] = actions({"reply": {"text": "x"}})
    assert ALL_HEADERS in action.facts() and (action.once, action.needs_smtp) == (True, True)
    with pytest.raises(MissingFact) as missing:
        action.render(message(), RENDER)
    assert missing.value.fact == ALL_HEADERS


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "needs a text"),
        ("I am away", "needs a text"),
        ({"subject": "x"}, "needs a text"),
        ({"text": " "}, "is empty"),
        ({"text": "x", "to": "a@b.example"}, "has no 'to'"),
        ({"text": "x", "once_evry": "7d"}, "Did you mean 'once_every'?"),
        ({"text": "x", "once_every": "1h"}, "from 1d to 366d"),
        ({"text": "x", "once_every": "often"}, "duration"),
        ({"text": "x", "addresses": ["me"]}, "not an address"),
        ({"text": "{{ nobody }}"}, "unknown name"),
    ],
)
def test_no_reply(value: Any, words: str) -> None:
    """What can't be a reply is an error that says what to write."""
    assert words in problem({"reply": value})[1]


def test_one_answer_a_rule() -> None:
    """A rule answers once."""
    assert "twice" in problem({"reply": {"text": "a"}}, {"reply": {"text": "b"}})[1]
