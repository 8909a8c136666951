"""duplicate."""

from __future__ import annotations

from datetime import timedelta

import pytest

from mailrules.core.message import SIGHTINGS, Earlier, Sightings
from mailrules.core.search import Everything
from tests.core.conditions.speaking import CAN_T, NOW, condition, judge, mail, matches, problem, trace


def seen(ago: timedelta | None) -> dict[object, object]:
    earlier = None if ago is None else Earlier(NOW - ago, "Team", 7)
    return {SIGHTINGS: Sightings(NOW, earlier)}


@pytest.mark.parametrize(
    ("ago", "expected"),
    [
        (None, False),
        (timedelta(hours=1), True),
        (timedelta(days=7), True),
        (timedelta(days=7, seconds=1), False),
    ],
)
def test_the_time_between_the_two_counts(ago: timedelta | None, expected: bool) -> None:
    """Another one was seen before this one, no longer before than that."""
    assert matches("duplicate: 7d", "Message-ID: <a@b>", facts=seen(ago)) is expected


def test_without_message_id_it_is_none() -> None:
    """Nobody is asked then."""
    assert not matches("duplicate: 7d") and not matches("duplicate: 7d", "Message-ID:  ")


def test_what_is_needed_and_what_can_not_be_had() -> None:
    """The journal is asked; where there is none, it is unknown. SEARCH leaves nobody out."""
    assert judge("duplicate: 7d", mail("Message-ID: <a@b>")).needs == {SIGHTINGS}
    assert judge("duplicate: 7d", mail("Message-ID: <a@b>", facts={SIGHTINGS: CAN_T})).causes == (CAN_T,)
    assert condition("duplicate: 7d").search() == Everything(exact=False)


def test_explain_shows_the_earlier_one() -> None:
    """Where and when it was seen."""
    traced = trace("duplicate: 7d", mail("Message-ID: <a@b>", facts=seen(timedelta(hours=2))))
    assert traced.matched and traced.argument == "7d"
    assert traced.value == {
        "message_id": "a@b",
        "earlier": {"mailbox": "Team", "uid": 7, "seen": "2026-03-04T10:00:00Z"},
    }
    alone = trace("duplicate: 7d", mail("Message-ID: <a@b>", facts=seen(None)))
    assert alone.value == {"message_id": "a@b", "earlier": None}


@pytest.mark.parametrize("value", ["true", "7", "[7d]", "soon"])
def test_errors(value: str) -> None:
    """It takes a duration."""
    assert "duration" in problem(f"duplicate: {value}")
