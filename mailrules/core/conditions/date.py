"""Conditions on time: older_than, newer_than, received, sent."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from email.utils import parsedate_tz
from typing import Any, ClassVar, Self

from mailrules.core.conditions.base import Condition, ParseContext
from mailrules.core.conditions.reading import as_written, read_duration, read_keys, read_scalars, suggest
from mailrules.core.conditions.views import header_texts
from mailrules.core.errors import Path, Report
from mailrules.core.message import INTERNALDATE, Fact, Message, header_fact
from mailrules.core.search import DAYS_OFF, Everything, Key, Search, all_of, any_of
from mailrules.core.values import describe


class _AgeCondition(Condition):
    """What older_than and newer_than have in common."""

    age: timedelta
    written: Any = None

    def value(self, message: Message) -> Any:
        return rfc3339(message.internaldate)

    def facts(self) -> frozenset[Fact]:
        return frozenset([INTERNALDATE])

    def argument(self) -> Any:
        return self.written

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ParseContext) -> Self | None:
        age = read_duration(value, path, report, what=cls.key)
        return None if age is None else cls(age=age, written=as_written(value))


class OlderThan(_AgeCondition):
    """It arrived (INTERNALDATE) that long ago, or longer.

    ```yaml
    when: {older_than: 30d, flagged: false}
    ```
    """

    key: ClassVar[str] = "older_than"

    def matches(self, message: Message) -> bool:
        return message.fetched_at - message.internaldate >= self.age

    def search(self) -> Search:
        return Key("OLDER", (int(self.age.total_seconds()),))


class NewerThan(_AgeCondition):
    """It arrived (INTERNALDATE) less than that long ago.

    ```yaml
    when: {newer_than: 4h}
    ```
    """

    key: ClassVar[str] = "newer_than"

    def matches(self, message: Message) -> bool:
        return message.fetched_at - message.internaldate < self.age

    def search(self) -> Search:
        return Key("YOUNGER", (int(self.age.total_seconds()) + 1,))


Span = tuple[time, time]
"""From, inclusive, to, exclusive; over midnight if from is not before to. `24:00` is time.max."""


@dataclass(frozen=True, slots=True)
class DateTest:
    """What `received` and `sent` compare; every part that is set must hold."""

    since: date | None = None
    before: date | None = None
    on: frozenset[date] | None = None
    weekdays: frozenset[int] | None = None
    between: tuple[Span, ...] | None = None
    zone: tzinfo | None = None

    def holds(self, moment: datetime) -> bool:
        try:
            local = moment.astimezone(self.zone)
        except (OverflowError, ValueError, OSError):
            return False  # the edge of the calendar
        day = local.date()
        if self.since is not None and day < self.since:
            return False
        if self.before is not None and day >= self.before:
            return False
        if self.on is not None and day not in self.on:
            return False
        if self.between is None:
            return self.weekdays is None or day.weekday() in self.weekdays
        return any(self._within(span, day, local.time()) for span in self.between)

    def _within(self, span: Span, day: date, at: time) -> bool:
        start, end = span
        weekday = day.weekday()
        if start < end:
            if not start <= at < end and not (end == time.max and at >= start):
                return False
        elif at < end:
            weekday = (weekday - 1) % 7  # it began the evening before
        elif at < start:
            return False
        return self.weekdays is None or weekday in self.weekdays

    def search(self, since: str, before: str, *, text: bool) -> Search:
        """SEARCH keys of these names, widened: servers disagree over zones."""
        parts: list[Search] = []
        if self.since is not None:
            parts.append(_key(since, self.since, -DAYS_OFF, text=text))
        if self.before is not None:
            parts.append(_key(before, self.before, DAYS_OFF, text=text))
        if self.on is not None:
            parts.append(
                any_of(
                    [
                        all_of(
                            [
                                _key(since, day, -DAYS_OFF, text=text),
                                _key(before, day, DAYS_OFF + 1, text=text),
                            ]
                        )
                        for day in sorted(self.on)
                    ]
                )
            )
        return all_of(parts) if parts else Everything(exact=False)


def _key(name: str, day: date, days: int, *, text: bool) -> Search:
    try:
        return Key(name, (day + timedelta(days=days),), text=text)
    except OverflowError:
        return Everything(exact=False)


def parse_date(raw: str) -> datetime | None:
    """The moment a Date field names, or None if it can't be read. Without a zone: UTC."""
    try:
        fields = parsedate_tz(raw[:200])
        if fields is None:
            return None
        offset = fields[9] or 0
        zone = timezone(timedelta(seconds=offset)) if abs(offset) < 86400 else UTC
        year, month, day, hour, minute, second = fields[:6]
        return datetime(year, month, day, hour, minute, min(second, 59), tzinfo=zone)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def rfc3339(moment: datetime) -> str:
    """In UTC, as `explain` shows it."""
    try:
        return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (OverflowError, ValueError):
        return moment.isoformat(timespec="seconds")


class _DateCondition(Condition):
    """What received and sent have in common."""

    lasting: ClassVar[bool] = True
    test: DateTest
    written: Any = None

    def moment(self, message: Message) -> datetime | None:
        raise NotImplementedError

    def matches(self, message: Message) -> bool:
        moment = self.moment(message)
        return moment is not None and self.test.holds(moment)

    def value(self, message: Message) -> Any:
        moment = self.moment(message)
        if moment is None:
            return None
        try:
            return moment.astimezone(self.test.zone).isoformat(timespec="seconds")
        except (OverflowError, ValueError, OSError):
            return moment.isoformat(timespec="seconds")

    def argument(self) -> Any:
        return self.written

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ParseContext) -> Self | None:
        test = read_date_test(value, path=path, report=report, context=context, what=cls.key)
        return None if test is None else cls(test=test, written=as_written(value))


class Received(_DateCondition):
    """When it arrived (INTERNALDATE), in `settings.timezone`.

    ```yaml
    when:
      received: {weekday: [fri, sat], between: "18:00-08:00"}
    ---
    when:
      received: {since: 2026-01-01, before: 2027-01-01}
    ```
    `since` is that day or later, `before` earlier than that day, `on` that day. `between` includes its
    start, not its end; over midnight, `weekday` is the start's.
    """

    key: ClassVar[str] = "received"

    def moment(self, message: Message) -> datetime | None:
        return message.internaldate

    def facts(self) -> frozenset[Fact]:
        return frozenset([INTERNALDATE])

    def search(self) -> Search:
        return self.test.search("SINCE", "BEFORE", text=False)


class Sent(_DateCondition):
    """When it was sent, by its own Date field, in `settings.timezone`. Works as `received`.

    ```yaml
    when:
      sent: {before: 2020-01-01}
    ```
    A message without a readable Date matches nothing. The sender sets Date: it may be wrong.
    """

    key: ClassVar[str] = "sent"

    def moment(self, message: Message) -> datetime | None:
        memo = message.memo
        if "sent" not in memo:
            texts = header_texts(message, "date")
            memo["sent"] = parse_date(texts[0].plain) if texts else None
        return memo["sent"]  # type: ignore[no-any-return]

    def facts(self) -> frozenset[Fact]:
        return frozenset([header_fact("date")])

    def search(self) -> Search:
        return self.test.search("SENTSINCE", "SENTBEFORE", text=True)


_KEYS = ("since", "before", "on", "weekday", "between")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_SPAN = re.compile(r"(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})", re.ASCII)
_NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_WEEKDAYS = {short: i for i, name in enumerate(_NAMES) for short in (name[:3], name)}


def read_date_test(
    value: Any, *, path: Path, report: Report, context: ParseContext, what: str
) -> DateTest | None:
    """The mapping under `received` and `sent`."""
    data = read_keys(value, _KEYS, path, report, what=what)
    if data is None:
        return None
    before = len(report.problems)
    since = _read_day(data, "since", path, report)
    until = _read_day(data, "before", path, report)
    days = [_day(text, place, report) for text, place in _scalars(data, "on", path, report)]
    weekdays = [_weekday(text, place, report) for text, place in _scalars(data, "weekday", path, report)]
    spans = [_span(text, place, report) for text, place in _scalars(data, "between", path, report)]
    if len(report.problems) > before:
        return None
    if since is not None and until is not None and since >= until:
        report.error(path, f"{what}: since {since} and before {until} leave no day between them. Swap them?")
        return None
    return DateTest(
        since=since,
        before=until,
        on=frozenset(day for day in days if day is not None) if "on" in data else None,
        weekdays=frozenset(day for day in weekdays if day is not None) if "weekday" in data else None,
        between=tuple(span for span in spans if span is not None) if "between" in data else None,
        zone=context.timezone,
    )


def _scalars(data: dict[str, Any], key: str, path: Path, report: Report) -> list[tuple[str, Path]]:
    return (read_scalars(data[key], (*path, key), report, what=key) or []) if key in data else []


def _read_day(data: dict[str, Any], key: str, path: Path, report: Report) -> date | None:
    if key not in data:
        return None
    value = data[key]
    if isinstance(value, str | date):
        return _day(str(value), (*path, key), report)
    report.error((*path, key), f"{key} takes one date, as in 2026-03-01, not {describe(value)}.")
    return None


def _day(text: str, path: Path, report: Report) -> date | None:
    try:
        if _DAY.fullmatch(text.strip()):
            return date.fromisoformat(text.strip())
    except ValueError:
        pass
    report.error(path, f"'{text}' is not a date. Write year-month-day, as in 2026-03-01.")
    return None


def _weekday(text: str, path: Path, report: Report) -> int | None:
    day = _WEEKDAYS.get(text.strip().lower())
    if day is None:
        report.error(
            path, f"unknown weekday '{text}'. {suggest(text, [name[:3] for name in _NAMES], what='Weekdays')}"
        )
    return day


def _span(text: str, path: Path, report: Report) -> Span | None:
    match = _SPAN.fullmatch(text.strip())
    if match is not None:
        start, end = _time(match[1], match[2]), _time(match[3], match[4])
        if start is not None and end is not None and start != end and start != time.max:
            return start, end
    report.error(path, f"'{text}' is not a time span. Write start and end, as in 18:00-08:00.")
    return None


def _time(hours: str, minutes: str) -> time | None:
    if (int(hours), int(minutes)) == (24, 0):
        return time.max
    return time(int(hours), int(minutes)) if int(hours) < 24 and int(minutes) < 60 else None
