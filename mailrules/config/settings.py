"""`settings`: what holds for the whole program."""

from __future__ import annotations

import difflib
import re
import urllib.parse
import warnings
import zoneinfo
from dataclasses import dataclass
from datetime import UTC, timedelta, tzinfo
from pathlib import Path as FilePath
from typing import Any, Literal, cast

import tzlocal

from mailrules.adapters.secret import remember
from mailrules.config.reader import Section
from mailrules.core.errors import Report

KEYS = ("timezone", "dry_run", "state", "log_retention", "body_limit", "create_mailboxes", "log")
LOG_FORMATS = ("auto", "text", "json")
_MAX_BODY = 100_000_000


@dataclass(frozen=True, slots=True)
class Settings:
    """`state` is a directory (absolute, or relative to nothing but the file) or a postgresql:// URL.

    `body_limit` is in bytes of decoded text. `timezone_name` is for words and templates.
    """

    timezone: tzinfo = UTC
    timezone_name: str = "UTC"
    dry_run: bool = False
    state: str | None = None
    log_retention: timedelta = timedelta(days=400)
    body_limit: int = 1_000_000
    create_mailboxes: bool = True
    log_pii: bool = False
    log_format: Literal["auto", "text", "json"] = "auto"


def read_settings(data: Any, report: Report, *, directory: FilePath) -> Settings:
    """Settings from the data under `settings` (None: all defaults)."""
    path = ("settings",)
    section = Section(data, path=path, report=report, known=KEYS, what="settings")
    log = Section(
        section.mapping("log"), path=(*path, "log"), report=report, known=("pii", "format"), what="log"
    )
    timezone, name = _timezone(section)
    return Settings(
        timezone=timezone,
        timezone_name=name,
        dry_run=section.boolean("dry_run", False),
        state=_state(section, directory),
        log_retention=section.duration("log_retention", timedelta(days=400), low="1d"),
        body_limit=section.size("body_limit", 1_000_000, low=1, high=_MAX_BODY),
        create_mailboxes=section.boolean("create_mailboxes", True),
        log_pii=log.boolean("pii", False),
        log_format=cast(Any, log.choice("format", LOG_FORMATS, "auto")),
    )


def _timezone(section: Section) -> tuple[tzinfo, str]:
    name = section.text("timezone")
    if name is None:
        return _system_timezone(section)
    try:
        return zoneinfo.ZoneInfo(name), name
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        known = {zone.lower(): zone for zone in zoneinfo.available_timezones()}
        last = {zone.rpartition("/")[2].lower(): zone for zone in sorted(known.values(), reverse=True)}
        near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.7)
        city = difflib.get_close_matches(name.lower().replace(" ", "_"), last, n=1, cutoff=0.8)
        found = known[near[0]] if near else last[city[0]] if city else None
        hint = f"Did you mean '{found}'?" if found else "Write a name like Europe/Berlin or UTC."
        section.error("timezone", f"unknown time zone '{name}'. {hint}")
        return UTC, "UTC"


def _system_timezone(section: Section) -> tuple[tzinfo, str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tzlocal talks about /etc/localtime being a copy
            zone = tzlocal.get_localzone()
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        section.report.warning(
            section.path,
            f"the system's time zone can't be told ({error}); UTC is used. Write settings: timezone.",
        )
        return UTC, "UTC"
    return zone, getattr(zone, "key", None) or str(zone)


def _state(section: Section, directory: FilePath) -> str | None:
    state = section.text("state")
    if state is None:
        return None
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", state)
    if scheme is None:
        try:
            return str(directory.absolute() / FilePath(state).expanduser())
        except RuntimeError as error:
            section.error("state", f"state: {error} Write an absolute path.")
            return None
    if not re.fullmatch(r"postgres(ql)?(\+[a-z0-9]+)?", scheme[1].lower()):
        section.error(
            "state", f"state: '{scheme[1]}://' is not supported. Write a directory or postgresql://…"
        )
        return None
    try:
        password = urllib.parse.urlsplit(state).password
    except ValueError:
        section.error("state", "state: this is not a URL. Write postgresql://host/database")
        return None
    if password:
        remember(password)
        remember(urllib.parse.unquote(password))
    return state
