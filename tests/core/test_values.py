"""mailrules.core.values: scalars of the file."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from mailrules.core.values import (
    Plain,
    describe,
    parse_bool,
    parse_duration,
    parse_int,
    parse_size,
    parse_text,
)


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("30s", timedelta(seconds=30)),
        ("15m", timedelta(minutes=15)),
        ("4h", timedelta(hours=4)),
        ("7d", timedelta(days=7)),
        ("2w", timedelta(weeks=2)),
        (" 1.5 h ", timedelta(minutes=90)),
        (timedelta(1), timedelta(1)),
    ],
)
def test_durations(text: Any, span: timedelta) -> None:
    """A number and a unit."""
    assert parse_duration(text) == span


@pytest.mark.parametrize("text", ["7", "d", "7 days", "-1d", "٣d", "1e9w", "999999999999w", None, 7, ["7d"]])
def test_what_is_no_duration(text: Any) -> None:
    """Anything else is refused with a sentence."""
    with pytest.raises(ValueError, match=r"duration.*\."):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("10", 10), (10, 10), ("500 KB", 500_000), ("5MB", 5_000_000), ("2 MiB", 2 << 20),
     ("1.5k", 1500), (Plain("3gib"), 3 << 30), ("7b", 7)],
)  # fmt: skip
def test_sizes(text: Any, size: int) -> None:
    """Bytes, or a number with a unit; KB is 1,000 and KiB 1,024."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "KB", "-1", -1, True, None, "5 XB", "9" * 30, "9999999999GB"])
def test_what_is_no_size(text: Any) -> None:
    """Anything else is refused with a sentence."""
    with pytest.raises(ValueError, match=r"size.*\."):
        parse_size(text)


def test_truth_is_written_true_or_false_without_quotes() -> None:
    """YAML 1.1's other words, and quoted ones, are text."""
    assert (
        parse_bool(Plain("true")) is True and parse_bool(Plain("False")) is False and parse_bool(True) is True
    )
    for value in ("true", Plain("yes"), Plain("on"), Plain("NO"), 1, None):
        with pytest.raises(ValueError, match="true or false"):
            parse_bool(value)


def test_whole_numbers() -> None:
    """Numbers are written without quotes, in digits."""
    assert parse_int(Plain("-42")) == -42 and parse_int(7) == 7
    for value in ("42", Plain("4.2"), Plain("0x1"), True, None, Plain("9" * 40)):
        with pytest.raises(ValueError, match="whole number"):
            parse_int(value)


def test_text_stays_what_was_written() -> None:
    """`NO`, `1.10` and `12:30` are text where text is expected."""
    assert [parse_text(Plain(text)) for text in ("NO", "1.10", "12:30")] == ["NO", "1.10", "12:30"]
    assert type(parse_text(Plain("x"))) is str
    with pytest.raises(ValueError, match="a list"):
        parse_text(["x"])


def test_values_are_described_in_the_words_of_the_file() -> None:
    """For error messages."""
    assert [describe(v) for v in (None, {"a": 1}, {}, [1], [], "x")] == [
        "nothing", "a mapping", "an empty mapping", "a list", "an empty list", "'x'",
    ]  # fmt: skip
