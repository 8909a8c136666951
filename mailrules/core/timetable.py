"""When a scheduled rule is due: cron and spans, in a time zone, over daylight saving. Pure.

`cron` names times of a clock on the wall: one that daylight saving skips is due at the first moment after,
one that it repeats is due once. `every` counts real time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from mailrules.core.rule import Schedule

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")  # 0 and 7 are Sunday, as people count
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    ("weekday", 0, 7, {name: number for number, name in enumerate(_WEEKDAYS)}),
)
_LONGEST_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_FARTHEST = 366 * 9
"""Days within which every time that exists comes again: 29 February may be eight years away (2096, 2104)."""
_SET_BACK = timedelta(minutes=5)
"""A clock that is put right by less than this makes nothing due twice."""


@dataclass(frozen=True, slots=True)
class Cron:
    """The five fields, as the values they name; weekdays from 0, which is Sunday, to 6."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool  # both day fields are restricted: then one of them is enough (crontab(5))

    @classmethod
    def parse(cls, text: str) -> Cron:
        """Raises ValueError with a sentence, if these are not five fields that can ever fire."""
        fields = text.split()
        if len(fields) != len(_FIELDS):
            raise ValueError(
                f"{len(fields)} fields instead of five. "
                'Write minute, hour, day, month, weekday: "0 3 * * mon".'
            )
        minutes, hours, days, months, weekdays = (
            _field(field, *rule) for field, rule in zip(fields, _FIELDS, strict=True)
        )
        possible = any(day <= _LONGEST_MONTH[month - 1] for month in months for day in days)
        if fields[4].startswith("*") and not possible:
            raise ValueError(
                f"there is no day {fields[2]} in month {fields[3]}: it would never run. Choose another."
            )
        return cls(
            minutes=tuple(sorted(minutes)),
            hours=tuple(sorted(hours)),
            days=frozenset(days),
            months=frozenset(months),
            weekdays=frozenset(day % 7 for day in weekdays),
            either=not fields[2].startswith("*") and not fields[4].startswith("*"),
        )

    def on(self, day: date) -> bool:
        """Whether it is due on that day."""
        if day.month not in self.months:
            return False
        in_month, in_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return in_month or in_week if self.either else in_month and in_week

    def times(self, begin: datetime) -> Iterator[datetime]:
        """The times on the wall's clock, from `begin` on, ascending; without a zone."""
        for ahead in range(_FARTHEST):
            day = begin.date() + timedelta(days=ahead)
            if self.on(day):
                for hour in self.hours:
                    for minute in self.minutes:
                        moment = datetime.combine(day, time(hour, minute))
                        if moment >= begin:
                            yield moment


parse = lru_cache(maxsize=500)(Cron.parse)


def next_time(schedule: Schedule, after: datetime, zone: tzinfo) -> datetime | None:
    """The first moment after `after` at which it is due, in UTC; None: none within nine years."""
    after = after.astimezone(UTC)
    if schedule.every is not None:
        return after + timedelta(seconds=schedule.every)
    begin = after.astimezone(zone).replace(tzinfo=None, second=0, microsecond=0)
    for moment in parse(schedule.cron or "").times(begin):
        found = instant(moment, zone)
        if found > after:
            return found
    return None


def due_time(schedule: Schedule, since: datetime, now: datetime, zone: tzinfo) -> datetime | None:
    """When it is due next, given that everything up to `since` is settled; what is past is due now, once.

    A `since` that has yet to come was written before somebody set the clock back: it is as good as now.
    """
    if since - now > _SET_BACK:
        since = now
    return next_time(schedule, since, zone)


def instant(moment: datetime, zone: tzinfo) -> datetime:
    """When the wall's clock shows this time: for the first time, where it does so twice; the first moment
    after, where it never does. In UTC."""
    early = moment.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if early.astimezone(zone).replace(tzinfo=None) == moment:
        return early
    # A gap: with the offset before it (fold 0) the moment lies behind it, with the one after it before.
    low, high = moment.replace(tzinfo=zone, fold=1).astimezone(UTC), early
    before = low.astimezone(zone).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) // timedelta(seconds=2) * timedelta(seconds=1)
        low, high = (middle, high) if middle.astimezone(zone).utcoffset() == before else (low, middle)
    return high


def zone_of(name: str) -> tzinfo:
    """The time zone of this name; UTC, if it has none here."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return UTC


def _field(field: str, name: str, low: int, high: int, names: dict[str, int]) -> set[int]:
    found: set[int] = set()
    for part in field.split(","):
        match = re.fullmatch(r"(\*|(\w+)(?:-(\w+))?)(?:/(\d{1,4}))?", part, re.ASCII)
        if match is None:
            raise ValueError(
                f"'{part}' is no {name}. Write a number, a range 1-5, a list 1,3 or a step */10."
            )
        span, first, last, step = match.groups()
        begin = low if span == "*" else _number(first, name, low, high, names)
        if span == "*" or (last is None and step is not None):
            end = high
        else:
            end = begin if last is None else _number(last, name, low, high, names)
        if end < begin and name == "weekday" and end == 0:
            end = 7  # fri-sun
        if end < begin:
            raise ValueError(f"the range '{span}' runs backwards. Write the smaller {name} first.")
        if step is not None and int(step) == 0:
            raise ValueError(f"the step in '{part}' is 0. Write 1 or more.")
        found |= set(range(begin, end + 1, int(step or 1)))
    return found


def _number(word: str, name: str, low: int, high: int, names: dict[str, int]) -> int:
    number = names.get(word.lower())
    if number is None and word.isdigit() and len(word) < 5:
        number = int(word)
    if number is None or not low <= number <= high:
        also = f" or {', '.join(names)}" if names else ""
        raise ValueError(f"'{word}' is no {name}. Write {low} to {high}{also}.")
    return number
