"""When a scheduled rule is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from mailrules.core.rule import Schedule
from mailrules.core.timetable import Cron, due_time, instant, next_time

BERLIN = ZoneInfo("Europe/Berlin")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")  # half an hour of daylight saving
APIA = ZoneInfo("Pacific/Apia")  # 30 December 2011 never was there


def cron(text: str) -> Schedule:
    return Schedule(cron=text)


def walk(schedule: Schedule, begin: datetime, end: datetime, zone: ZoneInfo) -> list[str]:
    """A clock that moves from one due moment to the next; the wall's time with its offset."""
    found = []
    now = next_time(schedule, begin, zone)
    while now is not None and now < end:
        found.append(now.astimezone(zone).isoformat(timespec="minutes"))
        now = next_time(schedule, now, zone)
    return found


def test_a_time_that_spring_skips_is_due_at_the_first_moment_after() -> None:
    """Berlin, 29 March 2026: 02:30 does not exist, and 03:00 is the first moment after."""
    days = walk(
        cron("30 2 * * *"), datetime(2026, 3, 28, tzinfo=BERLIN), datetime(2026, 3, 31, tzinfo=BERLIN), BERLIN
    )
    assert days == ["2026-03-28T02:30+01:00", "2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]


def test_many_times_that_spring_skips_are_due_once() -> None:
    """Every ten minutes: what lay in the hour that is missing is one moment."""
    times = walk(
        cron("*/10 * * * *"),
        datetime(2026, 3, 29, 1, 35, tzinfo=BERLIN), datetime(2026, 3, 29, 3, 15, tzinfo=BERLIN), BERLIN,
    )  # fmt: skip
    assert [time[11:16] for time in times] == ["01:40", "01:50", "03:00", "03:10"]


def test_a_time_that_autumn_repeats_is_due_once() -> None:
    """Berlin, 25 October 2026: of two times 02:30, the first counts."""
    days = walk(
        cron("30 2 * * *"),
        datetime(2026, 10, 24, tzinfo=BERLIN), datetime(2026, 10, 27, tzinfo=BERLIN), BERLIN,
    )  # fmt: skip
    assert days == ["2026-10-24T02:30+02:00", "2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]


def test_from_within_the_repeated_hour_the_next_is_behind_it() -> None:
    """Asked at 02:10 for the second time, what is due at 02:30 was due already."""
    again = datetime(2026, 10, 25, 2, 10, fold=1, tzinfo=BERLIN)
    assert next_time(cron("30 2 * * *"), again, BERLIN) == datetime(2026, 10, 26, 2, 30, tzinfo=BERLIN)
    assert next_time(cron("0 * * * *"), again, BERLIN) == datetime(2026, 10, 25, 3, tzinfo=BERLIN)


def test_half_an_hour_of_daylight_saving() -> None:
    """Lord Howe goes from 02:00 to 02:30 in October, and from 02:00 back to 01:30 in April."""
    spring = walk(
        cron("15 2 * * *"),
        datetime(2026, 10, 3, tzinfo=LORD_HOWE), datetime(2026, 10, 6, tzinfo=LORD_HOWE), LORD_HOWE,
    )  # fmt: skip
    assert spring == ["2026-10-03T02:15+10:30", "2026-10-04T02:30+11:00", "2026-10-05T02:15+11:00"]
    autumn = walk(
        cron("45 1 * * *"),
        datetime(2026, 4, 4, tzinfo=LORD_HOWE), datetime(2026, 4, 7, tzinfo=LORD_HOWE), LORD_HOWE,
    )  # fmt: skip
    assert autumn == ["2026-04-04T01:45+11:00", "2026-04-05T01:45+11:00", "2026-04-06T01:45+10:30"]


def test_a_day_that_never_was() -> None:
    """Samoa went over the date line: what was due on the missing day is due when the next one begins."""
    missing = datetime(2011, 12, 30, 3, 0)
    assert instant(missing, APIA) == datetime(2011, 12, 31, tzinfo=APIA)


@pytest.mark.parametrize("zone", [BERLIN, LORD_HOWE])
@pytest.mark.parametrize("text", ["*/7 * * * *", "30 2 * * *", "0 3 1,15 * *", "45 1-3 * * sun"])
def test_over_a_whole_year_it_only_moves_forward(text: str, zone: ZoneInfo) -> None:
    """From one due moment the next is later, and asked from anywhere between, it is the same one."""
    now = datetime(2026, 3, 1, tzinfo=UTC)
    for _ in range(400):
        later = next_time(cron(text), now, zone)
        assert later is not None and later > now
        assert next_time(cron(text), later - timedelta(seconds=1), zone) == later
        now = later


def test_every_counts_real_time() -> None:
    """A span is as long as it is, whatever the clocks are set to."""
    begin = datetime(2026, 3, 29, 0, tzinfo=BERLIN)
    assert next_time(Schedule(every=86400), begin, BERLIN) == begin.astimezone(UTC) + timedelta(days=1)


@pytest.mark.parametrize(
    ("field", "day"),
    [("mon", 1), ("1", 1), ("0", 7), ("7", 7), ("sun", 7), ("6", 6), ("SAT", 6), ("2", 2), ("5", 5)],
)
def test_weekdays_are_as_people_count_them(field: str, day: int) -> None:
    """1 is Monday, 0 and 7 are Sunday."""
    found = next_time(cron(f"0 3 * * {field}"), datetime(2026, 11, 26, tzinfo=UTC), BERLIN)
    assert found is not None and found.astimezone(BERLIN).isoweekday() == day


def test_ranges_of_weekdays() -> None:
    """`mon-fri` is working days, `fri-sun` runs over the end of the week, `5-7` too."""
    assert Cron.parse("0 0 * * mon-fri").weekdays == {1, 2, 3, 4, 5}
    assert Cron.parse("0 0 * * fri-sun").weekdays == {5, 6, 0}
    assert Cron.parse("0 0 * * 5-7").weekdays == {5, 6, 0}
    assert Cron.parse("0 0 * * *").weekdays == {0, 1, 2, 3, 4, 5, 6}


def test_day_of_month_or_weekday() -> None:
    """With both given, one is enough, as in crontab(5)."""
    times = walk(
        cron("0 6 1 * mon"), datetime(2026, 10, 30, tzinfo=BERLIN), datetime(2026, 11, 10, tzinfo=BERLIN),
        BERLIN,
    )  # fmt: skip
    assert [time[5:10] for time in times] == ["11-01", "11-02", "11-09"]


def test_the_29th_of_february_comes_again() -> None:
    """Even over 2100, which has none."""
    found = next_time(cron("0 0 29 2 *"), datetime(2096, 3, 1, tzinfo=UTC), UTC)
    assert found == datetime(2104, 2, 29, tzinfo=UTC)


def test_missed_runs_are_due_once() -> None:
    """After three days without a look, one is due, and when that is settled the next one to come."""
    since, now = datetime(2026, 11, 20, 4, tzinfo=UTC), datetime(2026, 11, 23, 12, tzinfo=UTC)
    due = due_time(cron("0 3 * * *"), since, now, UTC)
    assert due is not None and due <= now
    assert due_time(cron("0 3 * * *"), now, now, UTC) == datetime(2026, 11, 24, 3, tzinfo=UTC)
    assert due_time(Schedule(every=60), now, now, UTC) == now + timedelta(seconds=60)


def test_a_clock_set_back_does_not_silence_a_rule() -> None:
    """A last run of next year was of a wrong clock; one of a few seconds ahead is the last run."""
    now = datetime(2026, 11, 23, 2, 59, 58, tzinfo=UTC)
    ahead = now + timedelta(days=365)
    assert due_time(cron("0 3 * * *"), ahead, now, UTC) == datetime(2026, 11, 23, 3, tzinfo=UTC)
    shortly = now + timedelta(seconds=3)
    assert due_time(cron("0 3 * * *"), shortly, now, UTC) == datetime(2026, 11, 24, 3, tzinfo=UTC)
