"""How many messages make a window."""

from __future__ import annotations

from mailrules.judging.pace import Pace


def test_windows_grow_while_they_are_quick() -> None:
    """From 500 to 10,000, and never beyond."""
    pace, sizes = Pace(), []
    for _ in range(5):
        sizes.append(pace.size)
        pace.learn(pace.size, seconds=0.01, waited=0)
    assert sizes == [500, 5000, 10_000, 10_000, 10_000]


def test_a_slow_server_gets_small_windows() -> None:
    """A window takes about two seconds, and never less than 500 messages."""
    pace = Pace(10_000)
    pace.learn(10_000, seconds=10.0, waited=0)
    assert pace.size == 2000
    pace.learn(2000, seconds=60.0, waited=0)
    assert pace.size == 500


def test_what_waits_is_bounded() -> None:
    """Where all messages are kept until more is known of them, windows stay small."""
    pace = Pace(10_000)
    pace.learn(10_000, seconds=0.5, waited=10_000)
    assert pace.size == 2500
    pace.learn(2500, seconds=0.5, waited=2500)
    assert pace.size == 2500


def test_a_small_rest_says_nothing() -> None:
    """Five messages of new mail do not undo what was learned."""
    pace = Pace(8000)
    pace.learn(5, seconds=0.1, waited=5)
    assert pace.size == 8000
