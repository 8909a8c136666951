"""What rules say of a program that they run or a service that they call: how long, with which variables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mailrules.core.errors import Path, Report
from mailrules.core.values import describe, parse_duration

INPUTS = ("message", "headers", "json", "none")
"""What a program may have as its standard input."""
LONGEST_RUN = "1d"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def read_timeout(form: Mapping[Any, Any], *, default: str, longest: str, path: Path, report: Report) -> float:
    """The `timeout` in seconds: more than none, and at most `longest`."""
    where = (*path, "timeout")
    try:
        seconds = parse_duration(form.get("timeout", default)).total_seconds()
    except ValueError as error:
        report.error(where, str(error))
        return parse_duration(default).total_seconds()
    if not 0 < seconds <= parse_duration(longest).total_seconds():
        report.error(where, f"the timeout must be longer than nothing and at most {longest}.")
    return seconds


def read_variables(value: Any, *, path: Path, report: Report) -> Iterator[tuple[str, Any, Path]]:
    """The variables under `env` that may be set: name, value as it stands, and where."""
    if not isinstance(value, dict):
        report.error(path, f"expected names and values, such as {{TEAM: sales}}, found {describe(value)}.")
        return
    for name, item in value.items():
        where = (*path, name)
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            report.error(where, f"'{name}' is not a name for a variable: letters, digits and '_'.", at="key")
        elif name.startswith("MAILRULES_"):
            report.error(where, "names that begin with MAILRULES_ are set by mailrules.", at="key")
        else:
            yield str(name), item, where
