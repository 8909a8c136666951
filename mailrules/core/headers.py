"""The header block of a message: splitting it as servers do, and the doors to decoding and addresses.

Splitting agrees with what an IMAP server shows: only a blank line ends the block; a line that is
neither a field nor a continuation is skipped. At most 256 KB and 1,000 fields are read (a message
with more is an attack, and is judged by what was read).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, TypeVar

from mailrules.core.address import Address, addresses
from mailrules.core.decoding import decode

__all__ = [
    "Address",
    "Headers",
    "addresses",
    "decode",
    "normal_lines",
    "parse_block",
    "split_message",
    "without_envelope_line",
]

T = TypeVar("T")

MOST_FIELDS = 1000
MOST_OCTETS = 256 * 1024

# RFC 5322 section 2.2, with blanks before the colon (obs-optional) and 8-bit names. Possessive: linear.
_FIELD = re.compile(rb"^([^\x00-\x20:\x7f]++)[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)", re.MULTILINE)
_END = re.compile(rb"^\r?\n", re.MULTILINE)
_ENVELOPE_LINE = re.compile(rb">?From [^\n]*\n")


class Headers:
    """A header block. Values stay raw (folded, undecoded) until somebody reads them.

    `raw` is the block as it came, within the limits; `cut` says that there was more.
    """

    __slots__ = ("_values", "cut", "fields", "raw")

    def __init__(self, raw: bytes, fields: list[tuple[bytes, bytes]], *, cut: bool = False) -> None:
        self.raw = raw
        self.cut = cut
        self.fields = fields
        """(name as written, raw value) in file order."""
        values: dict[bytes, tuple[bytes, ...]] = {}
        for name, value in fields:
            key = name.lower()
            values[key] = (*values[key], value) if key in values else (value,)
        self._values = values

    def get(self, name: str) -> tuple[bytes, ...]:
        """Raw values of every occurrence, topmost first; () if there is none."""
        return self._values.get(name.encode("latin-1", "replace").lower(), ())

    def among(self, names: Iterable[tuple[T, bytes]]) -> dict[T, Any]:
        """For each key its name's values, as `get` gives them; names in lower case."""
        get = self._values.get
        return {key: get(name, ()) for key, name in names}

    def names(self) -> tuple[str, ...]:
        """Lower-case names, each once, in the order of their first occurrence."""
        return tuple(name.decode("latin-1") for name in self._values)

    def __repr__(self) -> str:
        return f"<Headers {len(self.fields)} fields>"


def parse_block(block: bytes) -> Headers:
    """The fields of a header block, or of a whole message up to its first blank line. Never raises."""
    block = _line_feeds(block[: MOST_OCTETS + 4])
    start = _start(block)
    end = _end(block, start)
    cut = end < 0 and len(block) > MOST_OCTETS
    raw = block[start:end] if end >= 0 else block[start:MOST_OCTETS]
    fields = _FIELD.findall(raw)
    if len(fields) > MOST_FIELDS:
        fields, cut = fields[:MOST_FIELDS], True
    return Headers(raw, [(name, value.strip()) for name, value in fields], cut=cut)


def split_message(raw: bytes) -> tuple[Headers, int]:
    """The headers and where the body begins. `raw` must not have CR-only line ends (see `normal_lines`)."""
    start = _start(raw)
    end = _END.search(raw, start)
    if end is None:
        return parse_block(raw), len(raw)
    return parse_block(raw[: end.end()]), end.end()


def normal_lines(raw: bytes) -> bytes:
    """The message with LF for each CR if it uses CR alone as line end, as old Macs did; else as it is."""
    return _line_feeds(raw)


def without_envelope_line(raw: bytes) -> bytes:
    """The message without the From_ line that an mbox puts before it."""
    start = _start(raw)
    return raw[start:] if start else raw


def _line_feeds(raw: bytes) -> bytes:
    # A lone CR among LFs is no line end to a server, and must not smuggle in a field.
    blank = raw.find(b"\r\r")
    if (blank >= 0 and raw.find(b"\n", 0, blank) < 0) or (b"\n" not in raw and b"\r" in raw):
        return raw.replace(b"\r", b"\n")
    return raw


def _end(raw: bytes, start: int) -> int:
    """Where the blank line begins that ends the block; -1 if there is none."""
    if raw.startswith((b"\r\n", b"\n"), start):
        return start
    crlf, lf = raw.find(b"\n\r\n", start), raw.find(b"\n\n", start)
    if lf < 0 or 0 <= crlf < lf:
        lf = crlf
    return lf + 1 if lf >= 0 else -1


def _start(raw: bytes) -> int:
    """Where the first field begins: behind the From_ line of an mbox."""
    if raw.startswith((b"From ", b">From ")):
        line = _ENVELOPE_LINE.match(raw)
        return line.end() if line else len(raw)
    return 0
