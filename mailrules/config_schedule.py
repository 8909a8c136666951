"""`schedule:` — when a scheduled rule runs; the five fields of cron are checked here, at load."""

from __future__ import annotations

import re
from typing import Any

from mailrules.config_reader import Section
from mailrules.core.errors import Path, Report
from mailrules.core.rule import Schedule
from mailrules.core.values import parse_duration

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


def read_schedule(data: Any, path: Path, report: Report) -> tuple[Schedule | None, bool]:
    """The schedule, and whether `on_new: true` stands in it."""
    if data is None:
        return None, False
    section = Section(data, path=path, report=report, known=("every", "cron", "on_new"), what="schedule")
    on_new = section.boolean("on_new", False)
    if not isinstance(data, dict):
        return None, on_new
    if ("every" in section) == ("cron" in section):
        report.error(
            path, 'schedule: exactly one of every and cron. Write {every: 1h} or {cron: "0 3 * * mon"}.'
        )
        return None, on_new
    if "every" in section:
        zero = parse_duration("0s")
        every = section.duration("every", zero, low="1s", high="3650d")
        return (Schedule(every=every.total_seconds()) if every > zero else None), on_new
    cron = section.text("cron")
    if cron is None:
        return None, on_new
    try:
        check_cron(cron)
    except ValueError as error:
        section.error("cron", f"cron: {error}")
        return None, on_new
    return Schedule(cron=" ".join(cron.split())), on_new


def check_cron(text: str) -> None:
    """Raises ValueError with a sentence, if these are not five fields of cron that can ever fire."""
    fields = text.split()
    if len(fields) != len(_FIELDS):
        raise ValueError(
            f'{len(fields)} fields instead of five. Write minute, hour, day, month, weekday: "0 3 * * mon".'
        )
    values = [_field(field, *rule) for field, rule in zip(fields, _FIELDS, strict=True)]
    days, months = values[2], values[3]
    if fields[4] == "*" and not any(day <= _LONGEST_MONTH[month - 1] for month in months for day in days):
        raise ValueError(
            f"there is no day {fields[2]} in month {fields[3]}: it would never run. Choose another."
        )


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
