"""replied_to, unanswered_for."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from mailrules.core.message import ANSWER, INTERNALDATE, WRITTEN_TO, Answer
from mailrules.core.search import Everything, Key
from tests.core.conditions.speaking import CAN_T, NOW, condition, judge, mail, matches, problem, trace

DAY = timedelta(days=1)


@pytest.mark.parametrize("wanted", [True, False])
def test_replied_to(wanted: bool) -> None:
    """One of the addresses in From was written to; without an address nobody was."""
    when = f"replied_to: {str(wanted).lower()}"
    known: dict[Any, Any] = {WRITTEN_TO: {"a@b.example": NOW}}
    assert matches(when, "From: A <a@b.example>", facts=known) is wanted
    assert matches(when, "From: A <a@b.example>", facts={WRITTEN_TO: {}}) is not wanted
    assert matches(when) is not wanted and matches(when, "From: root") is not wanted


def test_replied_to_asks_sent() -> None:
    """Nobody guesses: it is needed, or can't be had. SEARCH leaves nobody out."""
    assert judge("replied_to: false", mail("From: a@b.example")).needs == {WRITTEN_TO}
    unknown = judge("replied_to: false", mail("From: a@b.example", facts={WRITTEN_TO: CAN_T}))
    assert unknown.truth is None and unknown.causes == (CAN_T,)
    assert condition("replied_to: true").search() == Everything(exact=False)


def test_replied_to_shows_when() -> None:
    """For each address, when it was last written to."""
    message = mail("From: A@B.example, c@d.example", facts={WRITTEN_TO: {"a@b.example": NOW}})
    traced = trace("replied_to: true", message)
    assert traced.value == {"a@b.example": "2026-03-04T12:00:00Z", "c@d.example": None}


OLD: dict[str, Any] = {"received": NOW - DAY}


@pytest.mark.parametrize(("answer", "expected"), [(None, True), (Answer(NOW, ""), False)])
def test_unanswered_for(answer: Answer | None, expected: bool) -> None:
    """That old, and nothing in Sent names it."""
    for age in ("4h", "1d"):
        when = f"unanswered_for: {age}"
        assert matches(when, "Message-ID: <a@b>", facts={ANSWER: answer}, **OLD) is expected


def test_young_mail_is_not_asked_about() -> None:
    """What is not that old does not match, whatever Sent says; nobody looks there."""
    assert not matches("unanswered_for: 25h", "Message-ID: <a@b>", **OLD)
    assert judge("unanswered_for: 4h", mail("Message-ID: <a@b>", **OLD)).needs == {ANSWER}
    unknown = judge("unanswered_for: 4h", mail("Message-ID: <a@b>", facts={ANSWER: CAN_T}, **OLD))
    assert unknown.truth is None
    assert judge("unanswered_for: 4h", mail(facts={INTERNALDATE: CAN_T})).truth is None


def test_without_message_id_it_stays_unanswered() -> None:
    """Nobody can name it."""
    assert matches("unanswered_for: 4h", **OLD)


def test_unanswered_for_spares_young_mail() -> None:
    """SEARCH may leave out what is too young."""
    assert condition("unanswered_for: 4h").search() == Key("OLDER", (4 * 3600,))


def test_unanswered_for_shows_the_answer() -> None:
    """When it came, when it was answered, by which message."""
    message = mail("Message-ID: <a@b>", facts={ANSWER: Answer(NOW, "x@us")}, **OLD)
    assert trace("unanswered_for: 4h", message).value == {
        "received": "2026-03-03T12:00:00Z", "answered": "2026-03-04T12:00:00Z", "by": "x@us",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("replied_to: yes", "true or false"),
        ("replied_to: [true]", "true or false"),
        ("unanswered_for: 4", "duration"),
    ],
)
def test_errors(when: str, words: str) -> None:
    """What it takes is said."""
    assert words in problem(when)
