"""Reading a value from the file: scalars, lists, mappings of operators; errors with a next step."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from mailrules.core.conditions.base import ParseContext
from mailrules.core.errors import Path, Report
from mailrules.core.text import OPERATORS, TextTest, text_test
from mailrules.core.values import Plain, describe, parse_bool, parse_duration

_EMPTY_MEANS_ALL = frozenset({"contains", "starts_with", "ends_with", "regex", "glob"})


def suggest(word: str, known: Iterable[str], *, what: str) -> str:
    """The next step after an unknown word: the near one, or all there are."""
    known = list(known)
    near = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    if near:
        return f"Did you mean '{near[0]}'?"
    return f"{what}: {', '.join(known)}."


def as_written(value: Any) -> Any:
    """A value of the file as plain JSON data; an unquoted true, false or whole number is one."""
    if isinstance(value, dict):
        return {str(key): as_written(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_written(item) for item in value]
    if isinstance(value, Plain):
        if value in ("true", "false"):
            return value == "true"
        if value.isascii() and value.isdigit() and len(value) < 16 and str(int(value)) == value:
            return int(value)
        return str(value)
    return str(value) if isinstance(value, str) else value


def read_scalar(value: Any, path: Path, report: Report, *, what: str) -> str | None:
    """Text as it was written; anything but a scalar is reported."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if value is None:
        report.error(path, f"{what} has no value. Write one, or remove the line.")
    else:
        report.error(path, f"{what} takes text here, not {describe(value)}.")
    return None


def read_scalars(value: Any, path: Path, report: Report, *, what: str) -> list[tuple[str, Path]] | None:
    """One scalar or a list of them, each with its path."""
    if not isinstance(value, list):
        one = read_scalar(value, path, report, what=what)
        return None if one is None else [(one, path)]
    if not value:
        report.error(path, f"{what} has an empty list, which nothing matches. Write what to look for.")
        return None
    read = [(read_scalar(item, (*path, i), report, what=what), (*path, i)) for i, item in enumerate(value)]
    good = [(text, place) for text, place in read if text is not None]
    return good if len(good) == len(read) else None


def read_bool(value: Any, path: Path, report: Report, *, what: str) -> bool | None:
    """`true` or `false`."""
    try:
        return parse_bool(value)
    except ValueError:
        report.error(path, f"{what} takes true or false, not {describe(value)}.")
        return None


def read_duration(value: Any, path: Path, report: Report, *, what: str) -> timedelta | None:
    """`30s`, `4h`, `7d`."""
    try:
        return parse_duration(value)
    except ValueError as error:
        report.error(path, f"{error}" if isinstance(value, str) else f"{what} takes a duration, as in 7d.")
        return None


def read_list(value: Any, path: Path, report: Report, context: ParseContext) -> list[tuple[str, Path]] | None:
    """The entries of the lists that `in` names, each with the path of the name."""
    names = read_scalars(value, path, report, what="in")
    if names is None:
        return None
    entries: list[tuple[str, Path]] = []
    wrong = False
    for name, place in names:
        if name in context.lists:
            entries += [(entry, place) for entry in context.lists[name]]
            continue
        wrong = True
        if context.lists:
            report.error(
                place, f"unknown list '{name}'. {suggest(name, sorted(context.lists), what='Lists')}"
            )
        else:
            report.error(place, f"unknown list '{name}'. Add it under 'lists:' at the top of the file.")
    return None if wrong else entries


def read_keys(
    value: Any, known: Sequence[str], path: Path, report: Report, *, what: str
) -> dict[str, Any] | None:
    """A mapping whose keys are known. Unknown keys are reported, and then None comes back."""
    if not isinstance(value, dict):
        report.error(path, f"{what} takes a mapping, not {describe(value)}. Keys: {', '.join(known)}.")
        return None
    if not value:
        report.error(path, f"{what} has an empty mapping. Keys: {', '.join(known)}.")
        return None
    wrong = [key for key in value if key not in known]
    for key in wrong:
        hint = suggest(str(key), known, what="Known")
        report.error((*path, key), f"unknown key '{key}' in {what}. {hint}", at="key")
    return None if wrong else value


EXISTS_ALONE = "'exists' stands alone. Write what else must hold as a condition of its own."
TEXT_KEYS = (*OPERATORS, "in", "exists", "case_sensitive")


def read_text_test(
    value: Any, *, default: str, path: Path, report: Report, context: ParseContext, what: str
) -> TextTest | None:
    """A text value: a scalar or list for the `default` operator, or a mapping of operators."""
    if not isinstance(value, dict):
        value = {default: value}
        inner = False
    else:
        inner = True
    data = read_keys(value, TEXT_KEYS, path, report, what=what)
    if data is None:
        return None
    before = len(report.problems)
    case_sensitive = (
        read_bool(data["case_sensitive"], (*path, "case_sensitive"), report, what="case_sensitive") or False
        if "case_sensitive" in data
        else False
    )
    if "exists" in data:
        if len(data) > 1:
            report.error((*path, "exists"), EXISTS_ALONE, at="key")
            return None
        exists = read_bool(data["exists"], (*path, "exists"), report, what="exists")
        return None if exists is None else text_test({}, exists=exists)
    operators: dict[str, list[str]] = {}
    for operator in OPERATORS:
        if operator not in data:
            continue
        place = (*path, operator) if inner else path
        scalars = read_scalars(data[operator], place, report, what=operator if inner else what)
        operators[operator] = _checked(scalars, operator, report, case_sensitive=case_sensitive)
    also = None
    if "in" in data:
        entries = read_list(data["in"], (*path, "in"), report, context)
        values = _checked(entries, default, report, case_sensitive=case_sensitive)
        if len(report.problems) == before:
            also = text_test({default: values}, case_sensitive=case_sensitive)
    if len(report.problems) > before and any(p.severity == "error" for p in report.problems[before:]):
        return None
    if not operators and also is None:
        report.error(path, f"{what} has no operator. Known: {', '.join(TEXT_KEYS)}.")
        return None
    return text_test(operators, case_sensitive=case_sensitive, also=also)


def _checked(
    scalars: list[tuple[str, Path]] | None, operator: str, report: Report, *, case_sensitive: bool
) -> list[str]:
    """Values of one operator; empty ones and wrong regular expressions are reported."""
    values = []
    for text, place in scalars or ():
        if operator in _EMPTY_MEANS_ALL and not text.strip():
            report.error(
                place,
                f"{operator} with nothing to look for holds of every value. Write exists: true for that.",
            )
        elif operator in ("regex", "glob"):
            try:
                text_test({operator: [text]}, case_sensitive=case_sensitive)
            except ValueError as error:
                report.error(place, f"{error}")
        values.append(text)
    return values
