"""older_than, newer_than, received, sent."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrules.core.conditions.date import parse_date
from mailrules.core.message import Message
from mailrules.core.search import And, Everything, Key, Or, Search, usable
from tests.core.conditions.speaking import NOW, condition, mail, matches, problem, trace


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_age() -> None:
    """Older is that long ago or longer, newer is less; together they are all mail."""
    for when, ago, expected in [
        ("older_than: 7d", timedelta(days=7), True),
        ("older_than: 7d", timedelta(days=7) - timedelta(seconds=1), False),
        ("newer_than: 7d", timedelta(days=7), False),
        ("newer_than: 7d", timedelta(days=6), True),
        ("newer_than: 7d", timedelta(days=-1), True),
    ]:
        assert matches(when, received=NOW - ago) is expected


@pytest.mark.parametrize(
    ("test", "received", "expected"),
    [
        ("{since: 2026-03-01}", "2026-02-28T23:30:00+00:00", True),  # in Berlin it is March
        ("{since: 2026-03-01}", "2026-02-28T22:30:00+00:00", False),
        ("{before: 2026-03-01}", "2026-02-28T22:30:00+00:00", True),
        ("{before: 2026-03-01}", "2026-02-28T23:30:00+00:00", False),
        ("{on: 2026-03-01}", "2026-03-01T22:30:00+00:00", True),
        ("{on: [2026-03-01, 2026-03-03]}", "2026-03-03T12:00:00+00:00", True),
        ("{on: 2026-03-01}", "2026-03-02T12:00:00+00:00", False),
        ("{since: 2026-03-01, before: 2026-03-02}", "2026-03-01T12:00:00+00:00", True),
        ("{weekday: sat}", "2026-03-07T12:00:00+01:00", True),
        ("{weekday: [Sat, sunday]}", "2026-03-08T12:00:00+01:00", True),
        ("{weekday: sat}", "2026-03-08T12:00:00+01:00", False),
        ("{between: '09:00-17:00'}", "2026-03-02T09:00:00+01:00", True),
        ("{between: '09:00-17:00'}", "2026-03-02T17:00:00+01:00", False),
        ("{between: '9:00 - 17:00'}", "2026-03-02T16:59:59+01:00", True),
        ("{between: '18:00-08:00'}", "2026-03-02T18:00:00+01:00", True),
        ("{between: '18:00-08:00'}", "2026-03-02T07:59:00+01:00", True),
        ("{between: '18:00-08:00'}", "2026-03-02T08:00:00+01:00", False),
        ("{between: ['08:00-09:00', '20:00-24:00']}", "2026-03-02T23:59:59+01:00", True),
        ("{between: '18:00-08:00', weekday: fri}", "2026-03-06T20:00:00+01:00", True),
        ("{between: '18:00-08:00', weekday: fri}", "2026-03-07T02:00:00+01:00", True),
        ("{between: '18:00-08:00', weekday: fri}", "2026-03-06T02:00:00+01:00", False),
        ("{between: '18:00-08:00', weekday: sun}", "2026-03-02T02:00:00+01:00", True),
    ],
)
def test_received(test: str, received: str, expected: bool) -> None:
    """Days and times are those of the settings' zone; over midnight the weekday is the start's."""
    assert matches(f"received: {test}", received=at(received)) is expected


def test_the_zone_is_that_of_the_settings() -> None:
    """The same moment is another day elsewhere."""
    moment = at("2026-02-28T23:30:00+00:00")
    assert not matches("received: {since: 2026-03-01}", received=moment, zone=UTC)


def test_sent() -> None:
    """Date is read tolerantly; without a readable one nothing matches."""
    assert matches("sent: {on: 2026-03-01}", "Date: Sun, 1 Mar 2026 10:00:00 +0100 (CET)")
    assert matches("sent: {on: 2026-03-01}", "Date: 01 Mar 26 10:00 GMT")
    assert not matches("sent: {since: 1970-01-01}", "Date: yesterday")
    assert not matches("sent: {since: 1970-01-01}")
    assert trace("sent: {since: 2026-01-01}", mail("Date: Sun, 1 Mar 2026 10:00:00 +0000")).value == (
        "2026-03-01T11:00:00+01:00"
    )


@given(st.text(alphabet="0123456789 :+-,()ADFMSTUWabcdehilnoprtuvy", max_size=60))
def test_reading_a_date_never_raises(text: str) -> None:
    """Any text is a moment or none."""
    moment = parse_date(text)
    assert moment is None or moment.tzinfo is not None


@pytest.mark.parametrize(
    "raw",
    ["Mon, 1 Jan 0001 00:00:00 +1400", "Fri, 31 Dec 9999 23:59:59 -1200", "1 Jan 99999 00:00",
     "1 Jan 2026 10:00 +9999", "1 Jan 2026 99:99:99", "Thu, 31 Jun 2026 10:00:00 +0000"],
)  # fmt: skip
def test_impossible_dates_raise_nothing(raw: str) -> None:
    """The edges of the calendar are judged like any day, or match nothing."""
    condition("sent: {since: 2000-01-01, weekday: mon}").judge(mail(f"Date: {raw}"))


moments = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))
days = st.dates(date(2020, 1, 1), date(2030, 1, 1))


def selected(search: Search, message: Message, zone_hours: int) -> bool:
    """What a server in that zone selects, for the keys of dates."""
    day = (message.internaldate + timedelta(hours=zone_hours)).date()
    if isinstance(search, Key):
        (wanted,) = search.arguments
        assert isinstance(wanted, date)
        return day >= wanted if search.name == "SINCE" else day < wanted
    if isinstance(search, And):
        return all(selected(part, message, zone_hours) for part in search.parts)
    if isinstance(search, Or):
        return any(selected(part, message, zone_hours) for part in search.parts)
    assert isinstance(search, Everything)
    return True


@given(moments, days, st.integers(-12, 14), st.sampled_from(["since", "before", "on"]))
def test_search_selects_at_least_what_matches(moment: datetime, day: date, hours: int, key: str) -> None:
    """Whatever zone a server reckons in, it leaves out nothing that the condition accepts."""
    when = condition(f"received: {{{key}: {day}}}")
    message = mail(received=moment)
    if when.judge(message).truth:
        assert selected(usable(when.search(), trusted=False), message, hours)


@given(moments, st.integers(1, 100), st.integers(-12, 14), st.sampled_from(["older_than", "newer_than"]))
def test_search_for_ages_selects_at_least_what_matches(
    moment: datetime, age: int, hours: int, key: str
) -> None:
    """The same for ages, which become dates once the moment is known."""
    when = condition(f"{key}: {age}d")
    message = mail(received=moment)
    message.fetched_at = datetime(2025, 1, 1, 13, 14, tzinfo=UTC)
    if when.judge(message).truth:
        assert selected(usable(when.search(), trusted=False, now=message.fetched_at), message, hours)


def test_search_of_ages_spares_work() -> None:
    """Ages are asked as dates, two days wide; without a moment everything is selected."""
    older = condition("older_than: 30d").search()
    assert usable(older, trusted=False) == Everything(exact=False)
    assert usable(older, trusted=False, now=datetime(2026, 3, 31, tzinfo=UTC)) == Key(
        "BEFORE", (date(2026, 3, 4),)
    )
    newer = condition("newer_than: 30d").search()
    assert usable(newer, trusted=False, now=datetime(2026, 3, 31, 1, tzinfo=UTC)) == Key(
        "SINCE", (date(2026, 2, 27),)
    )
    assert usable(condition("older_than: 99999w").search(), trusted=False, now=NOW).exact is False


def test_search_of_sent_is_only_for_the_trusted() -> None:
    """Date is text that servers read differently."""
    search = condition("sent: {since: 2026-03-03}").search()
    assert search == Key("SENTSINCE", (date(2026, 3, 1),), text=True)
    assert condition("received: {weekday: sat}").search() == Everything(exact=False)


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("older_than: 7", "is not a duration"),
        ("older_than: [7d]", "takes a duration"),
        ("received: 2026-01-01", "takes a mapping"),
        ("received: {}", "empty mapping"),
        ("received: {from: 2026-01-01}", "unknown key 'from'"),
        ("received: {since: 2026-02-30}", "is not a date"),
        ("received: {since: 1.3.2026}", "Write year-month-day"),
        ("received: {since: [2026-01-01]}", "takes one date"),
        ("received: {weekday: mo}", "Did you mean 'mon'?"),
        ("received: {weekday: []}", "empty list"),
        ("received: {between: '25:00-01:00'}", "as in 18:00-08:00"),
        ("received: {between: '09:00-09:00'}", "as in 18:00-08:00"),
        ("received: {between: '24:00-08:00'}", "as in 18:00-08:00"),
        ("received: {between: morning}", "as in 18:00-08:00"),
        ("received: {since: 2026-02-01, before: 2026-02-01}", "leave no day between them"),
    ],
)
def test_errors(when: str, words: str) -> None:
    """Each says what to write instead."""
    assert words in problem(when)
