"""The inside of a response: parenthesised lists, quoted strings, literals, atoms (RFC 9051 section 9).

Lenient where servers are sloppy, strict about its own bounds: what it can't read raises `Unreadable`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

MAX_DEPTH = 100

_TOKEN = re.compile(
    rb"""\s*(?:
        (?P<open>\() | (?P<close>\))
      | "(?P<quoted>(?:[^"\\]|\\.)*)"
      | (?P<section>(?:BODY|BINARY)(?:\.SIZE)?\[[^\]]*\](?:<\d+>)?)
      | (?P<atom>[^\s()"]+)
    )""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


class Unreadable(ValueError):
    """Not what the grammar allows, nor a mistake that is known."""


def tokens(parts: Sequence[bytes], start: int = 0) -> list[Any]:
    """The tokens of a response, its first `start` octets left out: bytes, None for NIL, lists for (…)."""
    top: list[Any] = []
    open_lists = [top]
    for place, text in enumerate(parts):
        if place % 2:
            open_lists[-1].append(text)  # a literal
            continue
        at = start if place == 0 else 0
        end = len(text.rstrip())
        while at < end:
            match = _TOKEN.match(text, at)
            if match is None:
                raise Unreadable(f"unreadable at {text[at : at + 40]!r}")
            at = match.end()
            if match["atom"] is not None:
                atom = match["atom"]
                open_lists[-1].append(None if atom.upper() == b"NIL" else atom)
            elif match["quoted"] is not None:
                quoted = match["quoted"]
                open_lists[-1].append(_ESCAPED.sub(rb"\1", quoted) if b"\\" in quoted else quoted)
            elif match["section"] is not None:
                open_lists[-1].append(match["section"])
            elif match["open"] is not None:
                if len(open_lists) > MAX_DEPTH:
                    raise Unreadable("lists nested too deep")
                inner: list[Any] = []
                open_lists[-1].append(inner)
                open_lists.append(inner)
            elif len(open_lists) == 1:
                raise Unreadable("a ')' too many")
            else:
                open_lists.pop()
    if len(open_lists) > 1:
        raise Unreadable("a ')' is missing")
    return top


def pairs(items: Sequence[Any]) -> dict[bytes, Any]:
    """A list of names and values as a dict, names in upper case.

    Domino wraps some pairs in parentheses of their own, Yandex leaves out a value at the end.
    """
    found: dict[bytes, Any] = {}
    at = 0
    while at < len(items):
        name = items[at]
        if isinstance(name, list):
            found.update(pairs(name))
            at += 1
        elif not isinstance(name, bytes):
            raise Unreadable("a value without a name")
        else:
            if at + 1 < len(items):
                found[name.upper()] = items[at + 1]
            at += 2
    return found


def flags(value: Any) -> frozenset[str]:
    """A list of flags. Parentheses inside a flag's name, which no grammar allows, are looked through."""
    found: set[str] = set()
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, list):
            found |= flags(item)
        elif isinstance(item, bytes):
            found.add(item.decode("utf-8", "replace"))
    return _shared(frozenset(found)) if sum(map(len, found)) < 100 else frozenset(found)


@functools.lru_cache(maxsize=64)
def _shared(found: frozenset[str]) -> frozenset[str]:
    """The same for all messages that have the same few flags: each would have 300 bytes of them."""
    return found


def texts(value: Any) -> list[bytes]:
    """The strings of a list, in lists within it, too; NIL is none."""
    if isinstance(value, list):
        return [text for item in value for text in texts(item)]
    return [value] if isinstance(value, bytes) else []


def flag_list(data: bytes) -> frozenset[str]:
    """The flags of `(\\Seen $Todo)`; none if it can't be read."""
    return _known_flags(data) if len(data) < 500 else _flag_list(data)


def _flag_list(data: bytes) -> frozenset[str]:
    try:
        return flags(tokens([data]))
    except Unreadable:
        return frozenset()


_known_flags = functools.lru_cache(maxsize=64)(_flag_list)
"""The same, shared by all mailboxes that keep the same flags: each would have 800 bytes of them."""


LARGEST = 2**63 - 1
"""UIDs, sizes and counts beyond it are no numbers; UIDVALIDITY has 64 bits on some servers (Dynadot)."""


def numeral(octets: bytes, most: int = LARGEST) -> int | None:
    """A number up to `most`; None for anything else. Python refuses to read thousands of digits."""
    if octets.isdigit() and len(octets) <= 20:
        value = int(octets)
        return value if value <= most else None
    return None


def validity(octets: bytes) -> int | None:
    """A UIDVALIDITY: 64 bits; None for anything else."""
    return numeral(octets, 2**64 - 1)


def number(value: Any) -> int:
    """A number. Raises Unreadable."""
    found = numeral(value) if isinstance(value, bytes) else None
    if found is None:
        raise Unreadable(f"{value!r:.60} is not a number")
    return found
