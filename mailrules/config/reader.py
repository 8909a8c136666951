"""Reading one mapping of the file: typed values out, problems into the report."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, TypeVar

from mailrules.core.errors import Path, Report
from mailrules.core.values import Plain, describe, parse_bool, parse_duration, parse_int, parse_size

T = TypeVar("T")


def nearest(word: str, known: Iterable[str], *, alike: float = 0.6) -> str | None:
    """The known word that was probably meant, or None. `alike`: how near it must be, up to 1."""
    lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), lower, n=1, cutoff=alike)
    return lower[near[0]] if near else None


def suggest(word: str, known: Iterable[str], *, what: str = "Known") -> str:
    """The next step after an unknown word: the near one, or all there are."""
    known = list(known)
    near = nearest(word, known)
    if near is not None:
        return f"Did you mean '{near}'?"
    return f"{what}: {', '.join(known)}." if known else ""


class Section:
    """A mapping whose keys are known. Unknown ones are reported as soon as it is made.

    A key with no value (`key:`, `~`) counts as absent. Every reader gives its default where the value is
    absent or wrong; what is wrong is in the report then.
    """

    def __init__(self, data: Any, *, path: Path, report: Report, known: Sequence[str], what: str) -> None:
        self.path = path
        self.report = report
        self.what = what
        self.data: Mapping[str, Any] = data if isinstance(data, dict) else {}
        if not isinstance(data, dict) and data is not None:
            report.error(path, f"{what} must be a mapping ('key: value' lines), not {describe(data)}.")
        self._meant: set[str] = set()
        for key in self.data:
            if key not in known:
                near = nearest(key, known)
                self._meant.add(near or "")
                hint = suggest(key, known, what="Known keys")
                report.error((*path, key), f"unknown key '{key}' in {what}. {hint}", at="key")

    def __contains__(self, key: str) -> bool:
        return self.data.get(key) is not None

    def lacks(self, key: str) -> bool:
        """Whether the key is absent, also under a near spelling (which is reported already)."""
        return key not in self and key not in self._meant

    def error(self, key: str, message: str, *, at: Literal["key", "value"] = "value") -> None:
        self.report.error((*self.path, key), message, at=at)

    def missing(self, message: str) -> None:
        """Report what the whole section lacks, at its own key."""
        self.report.error(self.path, message, at="key")

    def _read(self, key: str, read: Callable[[Any], T], default: T, hint: str = "") -> T:
        value = self.data.get(key)
        if value is None:
            return default
        try:
            return read(value)
        except ValueError as error:
            self.error(key, f"{key}: {error}{hint and ' ' + hint}")
            return default

    def text(self, key: str, default: str | None = None) -> str | None:
        """One line of text, ends trimmed."""
        return self._read(key, one_line, default)

    def boolean(self, key: str, default: bool) -> bool:
        return self._read(key, parse_bool, default, "Write true or false, without quotes.")

    def integer(self, key: str, default: int | None, *, low: int, high: int) -> int | None:
        def read(value: Any) -> int:
            if isinstance(value, str) and not isinstance(value, Plain) and value.strip().isdigit():
                raise ValueError(f"'{value}' is text. Write it without quotes.")
            number = parse_int(value)
            if not low <= number <= high:
                raise ValueError(f"{number} is out of range.")
            return number

        return self._read(key, read, default, f"It is a number from {low} to {high}.")

    def duration(self, key: str, default: timedelta, *, low: str, high: str | None = None) -> timedelta:
        def read(value: Any) -> timedelta:
            found = parse_duration(value)
            if found < parse_duration(low):
                raise ValueError(f"'{value}' is too short. Write {low} or more.")
            if high is not None and found > parse_duration(high):
                raise ValueError(f"'{value}' is too long. Write {high} or less.")
            return found

        return self._read(key, read, default)

    def size(self, key: str, default: int, *, low: int, high: int) -> int:
        def read(value: Any) -> int:
            found = parse_size(value)
            if not low <= found <= high:
                raise ValueError(f"'{value}' is out of range. Write a size from {low} to {high} bytes.")
            return found

        return self._read(key, read, default)

    def choice(self, key: str, choices: Sequence[str], default: str) -> str:
        def read(value: Any) -> str:
            if not isinstance(value, str) or value not in choices:
                hint = suggest(str(value), choices, what="Write one of")
                raise ValueError(f"{describe(value)} is not known here. {hint}")
            return str(value)

        return self._read(key, read, default)

    def texts(self, key: str) -> tuple[str, ...] | None:
        """A list of one-line texts; a single one may stand without the list. None if absent."""
        value = self.data.get(key)
        if value is None:
            return None
        if not isinstance(value, list):
            found = self.text(key)
            return () if found is None else (found,)
        if not value:
            self.error(key, f"{key}: the list is empty. Write what belongs in it, or leave out '{key}'.")
        items = []
        for index, item in enumerate(value):
            try:
                items.append(one_line(item))
            except ValueError as error:
                self.report.error((*self.path, key, index), f"{key}: {error}")
        return tuple(items)

    def mapping(self, key: str) -> dict[str, Any]:
        value = self.data.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.error(key, f"{key} must be a mapping ('name: value' lines), not {describe(value)}.")
            return {}
        return value


def one_line(value: Any) -> str:
    """Text without line breaks and control characters, ends trimmed, not empty. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError(f"expected text, found {describe(value)}. Write one value.")  # noqa: TRY004
    text = str(value).strip()
    if not text:
        raise ValueError("the text is empty. Write a value.")
    if any(ord(c) < 32 or ord(c) == 127 for c in text):
        raise ValueError("the text has a line break or a control character in it. Write it on one line.")
    return text
