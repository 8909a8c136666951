"""Scalars of the rule language: how text in the file becomes a size, a duration, a truth value."""

from __future__ import annotations

import re
from datetime import timedelta


class Plain(str):
    """A plain (unquoted) YAML scalar: the text that was written, not yet a type.

    `NO`, `on`, `1.10` and `12:30` stay what was written wherever text is expected; where a number or a
    truth value is expected, the functions below read it from the text (YAML 1.2 core schema).
    """

    __slots__ = ()


_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|KB|MB|GB|KIB|MIB|GIB|K|M|G)?", re.ASCII | re.IGNORECASE)
_BYTES = {
    "B": 1, "K": 1000, "KB": 1000, "M": 1000**2, "MB": 1000**2, "G": 1000**3, "GB": 1000**3,
    "KIB": 1024, "MIB": 1024**2, "GIB": 1024**3,
}  # fmt: skip


def parse_duration(value: object) -> timedelta:
    """`30s 15m 4h 7d 2w`. Raises ValueError with a sentence for the person."""
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"'{value}' is not a duration. Write a number and a unit: 30s, 15m, 4h, 7d or 2w.")
    try:
        return timedelta(seconds=float(match[1]) * _SECONDS[match[2]])
    except OverflowError:
        raise ValueError(f"'{value}' is too long a duration.") from None


def parse_size(value: object) -> int:
    """`500 KB`, `5MB`, `2 MiB`; a bare number is bytes. Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"'{value}' is not a size. Write bytes or a unit: 500 KB, 5MB, 2 MiB.")
    size = int(float(match[1]) * _BYTES[(match[2] or "B").upper()])
    if size >= 2**63:
        raise ValueError(f"'{value}' is too large a size.")
    return size


def parse_bool(value: object) -> bool:
    """`true` or `false`, unquoted. Raises ValueError."""
    if isinstance(value, bool):
        return value
    if isinstance(value, Plain) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise ValueError(f"'{value}' is not true or false.")


def parse_int(value: object) -> int:
    """A whole number, unquoted. Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, Plain) and re.fullmatch(r"[+-]?[0-9]{1,18}", value):
        return int(value)
    raise ValueError(f"'{value}' is not a whole number.")


def parse_text(value: object) -> str:
    """Text as it was written. Raises ValueError for anything that is not a scalar."""
    if isinstance(value, str):
        return str(value)
    raise ValueError(f"expected text, found {describe(value)}.")


def describe(value: object) -> str:
    """What a value is, in the words of the file: for error messages."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return f"'{value}'"
