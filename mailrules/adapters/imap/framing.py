"""Bytes into responses: lines joined with their literals, resumable at any byte.

A response is a list of bytes: text, literal, text, literal, …, text (RFC 9051 section 4.3). Nothing
here reads a socket; what can't be a sane server's answer raises `OutOfBounds`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mailrules.adapters.secret import scrub

Response = list[bytes]
Several = tuple[tuple[bytes, ...], bytes]
"""One of several responses of the same form: what its pattern's groups found, and its literal."""

_LITERAL = re.compile(rb"~?\{(\d{1,20})\+?\}$")
_NO_LITERALS = re.compile(rb"\+|\* (?:OK|NO|BAD|BYE|PREAUTH)(?: |$)", re.IGNORECASE)
"""Text for people may end in `{5}` without announcing anything."""
_LONG = re.compile(rb"\* E?SEARCH(?: |$)", re.IGNORECASE)
"""The answers whose line grows with the mailbox: a million UIDs make eight megabytes,
or eleven where they have ten digits."""
LONG = 64 * 1024
"""Octets from which a copy costs more than the care to avoid it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one command may cost; past it the connection is given up (hostile or broken server)."""

    literal: int = 32 << 20
    line: int = 16 << 20
    search_line: int = 16 << 20
    octets: int = 48 << 20
    seconds: float = 120.0
    untagged: int = 100_000


USUAL = Limits()


class OutOfBounds(Exception):
    """The server sends more than it may. `str()` says what."""


class Framer:
    """Collects bytes and gives complete responses. Keeps half lines and half literals for later."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._at = 0  # what comes before has been given
        self._scanned = 0  # no line end between `_at` and here
        self._parts: Response = []
        self._literal: int | None = None  # octets of the literal that is being read
        self._tag = b"\0"

    def feed(self, data: bytes) -> None:
        self._drop()
        self._buffer += data

    def expect(self, tag: bytes) -> None:
        """The tag of the command under way: a line that starts with it ends in text, never in a literal."""
        self._tag = tag + b" "

    @property
    def empty(self) -> bool:
        """Nothing is left over: neither bytes nor half a response."""
        return self._at == len(self._buffer) and not self._parts

    def rest(self) -> bytes:
        """Take out what has come and was not read yet."""
        rest = self._octets(self._at, len(self._buffer))
        self._at = self._scanned = len(self._buffer)
        return rest

    def next(self) -> Response | None:
        """The next complete response, without its CR LF; None if bytes are missing."""
        buffer = self._buffer
        while True:
            at = self._at
            if self._literal is not None:
                end = at + self._literal
                if len(buffer) < end:
                    return None
                self._parts.append(self._octets(at, end))
                self._literal = None
                self._at = self._scanned = at = end
            end = buffer.find(b"\n", self._scanned)
            if end < 0:
                self._scanned = len(buffer)
                self._check_line(self._scanned - at)
                return None
            self._check_line(end - at)
            line = self._octets(at, end)
            self._at = self._scanned = end + 1
            if line.endswith(b"\r"):
                line = line[:-1]
            self._parts.append(line)
            # Not from the start of the line: it may be long.
            announced = _LITERAL.search(line, max(0, len(line) - 24)) if line.endswith(b"}") else None
            if announced is None or not self._may_announce():
                whole, self._parts = self._parts, []
                if end + 1 == len(buffer):
                    self._drop()  # who waits for hours keeps no room for it
                return whole
            size = int(announced[1])
            if size > self._limits.literal:
                raise OutOfBounds(f"announces {size} octets at once")
            self._parts[-1] = line[: announced.start()]
            self._literal = size

    def several(self, usual: re.Pattern[bytes], most: int) -> list[Several]:
        """The complete responses at hand that `usual` matches, in order; none if another one comes first.

        Each ends in a literal, whose size is the pattern's last group, and `)`.
        """
        found: list[Several] = []
        if self._parts or self._literal is not None:
            return found
        buffer, at = self._buffer, self._at
        total, largest = len(buffer), self._limits.literal
        match = usual.match
        while len(found) < most:
            head = match(buffer, at)
            if head is None:
                break
            groups = head.groups()
            start = head.end()
            end = start + int(groups[-1])
            if end + 3 > total or end - start > largest or buffer[end : end + 3] != b")\r\n":
                break
            found.append((groups, bytes(buffer[start:end])))
            at = end + 3
        if found:
            self._at = self._scanned = at
            if at == total:
                self._drop()
        return found

    def _drop(self) -> None:
        if self._at:
            del self._buffer[: self._at]
            self._scanned -= self._at
            self._at = 0

    def _may_announce(self) -> bool:
        first = self._parts[0]
        if first.startswith(b"* ") and first[2:3].isdigit():
            return True
        return not first.startswith(self._tag) and not _NO_LITERALS.match(first)

    def _check_line(self, length: int) -> None:
        if length > self._limits.line:
            start = self._parts[0] if self._parts else bytes(self._buffer[self._at : self._at + 16])
            if length > self._limits.search_line or not _LONG.match(start):
                raise OutOfBounds(f"sends a line of more than {self._limits.line} octets")

    def _octets(self, start: int, end: int) -> bytes:
        if end - start < LONG:
            return bytes(self._buffer[start:end])
        # Not a slice of the buffer, which would be one more copy of a literal of many megabytes.
        with memoryview(self._buffer) as view, view[start:end] as part:
            return bytes(part)


@dataclass(frozen=True, slots=True)
class Status:
    """OK, NO, BAD, BYE or PREAUTH with its response code (RFC 9051 section 7.1) and text for people."""

    status: str
    code: str = ""
    data: bytes = b""  # what stands after the code inside the brackets
    text: str = ""

    @classmethod
    def parse(cls, line: bytes) -> Status | None:
        """From what follows the tag or the `*`; None if it is something else."""
        match = _STATUS.match(line)
        if match is None:
            return None
        return cls(
            match[1].decode().upper(),
            (match[2] or b"").decode("ascii", "replace").upper(),
            match[3] or b"",
            printable(match[4]),
        )

    def __str__(self) -> str:
        """For people: a server may repeat the password, as it was sent or in base64."""
        words = (self.status, f"[{self.code}]" if self.code else "", self.text)
        return scrub(" ".join(filter(None, words)))


_STATUS = re.compile(
    rb"(OK|NO|BAD|BYE|PREAUTH)(?= |$)(?: \[([^\]\s]+)(?: ((?:[^\]\"]|\"[^\"]*\")*))?\])?(?: (.*)|$)?",
    re.IGNORECASE | re.DOTALL,
)


def printable(text: bytes | None) -> str:
    """A server's words, fit to be shown and logged: no control characters, at most 500 characters."""
    words = (text or b"").decode("utf-8", "replace").strip()
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in words)[:500]
