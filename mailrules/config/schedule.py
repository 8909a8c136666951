"""`schedule:` — when a scheduled rule runs; the five fields of cron are checked here, at load."""

from __future__ import annotations

from typing import Any

from mailrules.config.reader import Section
from mailrules.core.errors import Path, Report
from mailrules.core.rule import Schedule
from mailrules.core.timetable import Cron
from mailrules.core.values import parse_duration


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
        Cron.parse(cron)
    except ValueError as error:
        section.error("cron", f"cron: {error}")
        return None, on_new
    return Schedule(cron=" ".join(cron.split())), on_new
