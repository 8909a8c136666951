"""core/actions/exchange.py: a script's standard input, and its answers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrules.core.actions.exchange import parse_answers, script_input
from mailrules.core.errors import PermanentError

RAW = b"Subject: =?utf-8?q?=C3=A9?=\r\nX-A: 1\r\nx-a: 2\r\n folded\r\n\r\nbody\r\n"


def given_to(form: str, raw: bytes = RAW) -> bytes:
    return script_input(form, raw, account="work", mailbox="INBOX", uid=7, rule="r", flags=["\\Seen"])


def test_forms_of_input() -> None:
    """The whole message, its header with the empty line, nothing, or one JSON object."""
    assert given_to("message") == RAW and given_to("none") == b""
    assert given_to("headers") == RAW[: RAW.index(b"body")]
    assert json.loads(given_to("json")) == {
        "account": "work",
        "mailbox": "INBOX",
        "uid": 7,
        "rule": "r",
        "flags": ["\\Seen"],
        "size": len(RAW),
        "headers": {"subject": ["é"], "x-a": ["1", "2 folded"]},
    }


@given(st.binary(max_size=200))
def test_any_message_gives_json(raw: bytes) -> None:
    """Whatever a message holds, the JSON is one line that can be read."""
    text = given_to("json", raw)
    assert text.count(b"\n") == 1 and json.loads(text)["size"] == len(raw)


ALLOW = {"move": ["Team/*"], "copy": ["*"], "flag": ["seen", "$A*"], "unflag": ["$A"], "log": ["*"]}


def test_answers_in_long_form() -> None:
    """JSON lines become effects, in their order; empty lines don't count."""
    lines = (
        b'{"flag": ["$A1", "seen"]}\n\n {"copy": "X"} \r\n{"unflag": "$A"}\n'
        b'{"log": "ok\\u001b"}\n{"move": "Team/A"}'
    )
    assert parse_answers(lines, ALLOW) == (
        ("flag", {"flags": ["$A1", "\\Seen"]}),
        ("copy", {"mailbox": "X"}),
        ("unflag", {"flags": ["$A"]}),
        ("log", {"text": "ok"}),
        ("move", {"mailbox": "Team/A"}),
    )


def test_answers_are_data() -> None:
    """Nothing in an answer is a template."""
    assert parse_answers(b'{"move": "Team/{{ rule }}"}', ALLOW) == (("move", {"mailbox": "Team/{{ rule }}"}),)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("hello", "not a JSON object"),
        ("[]", "one action"),
        ("{}", "one action"),
        ('{"flag": "seen", "log": "x"}', "one action"),
        ('{"delete": "permanently"}', "not in its `allow`"),
        ('{"forward": "a@b.c"}', "not in its `allow`"),
        ('{"move": "Private"}', "'Private' is not in its `allow`"),
        ('{"move": "Team/../x"}', "'..'"),
        ('{"move": 5}', "expected text"),
        ('{"move": null}', "needs the name"),
        ('{"copy": "a\\r\\nb"}', "control character"),
        ('{"flag": "answered"}', "not in its `allow`"),
        ('{"flag": "\\\\Deleted"}', "can't be set"),
        ('{"flag": ["$A", "$B"]}', "'$B' is not"),
        ("{" * 100_000, "not a JSON"),
    ],
)
def test_refused_answers(line: str, words: str) -> None:
    """One refused line refuses all of them, and says which."""
    with pytest.raises(PermanentError, match="line 2") as error:
        parse_answers(b'{"log": "x"}\n' + line.encode(), ALLOW)
    assert words in str(error.value)


def test_at_most_twenty() -> None:
    """Twenty answers, not one more."""
    assert len(parse_answers(b'{"log": "x"}\n' * 20, ALLOW)) == 20
    with pytest.raises(PermanentError, match="more than 20"):
        parse_answers(b'{"log": "x"}\n' * 21, ALLOW)


def test_a_message_leaves_once() -> None:
    """A second move is refused, also where the rule itself moves."""
    with pytest.raises(PermanentError, match="twice"):
        parse_answers(b'{"move": "Team/A"}\n{"move": "Team/B"}', ALLOW)
    with pytest.raises(PermanentError, match="twice"):
        parse_answers(b'{"move": "Team/A"}', ALLOW, leaves_already=True)


def test_no_allow_no_answers() -> None:
    """Without `allow`, output is only output."""
    assert parse_answers(b'{"move": "Team/A"}', {}) == ()
