"""Mailbox names: the file's spelling (`A/B`, relative to the personal namespace) and the wire's.

On the wire a name is bytes in modified UTF-7 (RFC 3501 section 5.1.3) with the server's own delimiter
and namespace prefix (RFC 2342): `Archive/2026` is `INBOX.Archive.2026` on a Courier.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from imapclient import imap_utf7

from mailrules.core.errors import PermanentError


@dataclass(frozen=True, slots=True)
class Namespace:
    """Where names begin, and what separates their levels; a delimiter of None: there are no levels."""

    prefix: str = ""
    delimiter: str | None = "/"

    @property
    def levels(self) -> list[str]:
        """The prefix as levels: `INBOX.` is one."""
        if not self.prefix:
            return []
        if self.delimiter is None:
            return [self.prefix]
        return self.prefix.removesuffix(self.delimiter).split(self.delimiter)


@dataclass(frozen=True, slots=True)
class Namespaces:
    """One account's namespaces: the personal one, and all others (more personal ones, shared, public)."""

    personal: Namespace = Namespace()
    others: tuple[Namespace, ...] = ()

    @classmethod
    def read(cls, tokens: Sequence[Any]) -> Namespaces | None:
        """From the tokens of a NAMESPACE response; None if it names no personal namespace."""
        personal = _namespaces(tokens[0]) if tokens else []
        shared = [space for part in tokens[1:3] for space in _namespaces(part)]
        if not personal:
            return None
        # Most servers list the main one first; Dovecot follows the order of its configuration.
        main = min(
            personal, key=lambda space: (space.prefix != "", not space.prefix.upper().startswith("INBOX"))
        )
        others = [space for space in (*personal, *shared) if space is not main and space.prefix]
        return cls(main, tuple(sorted(others, key=lambda space: -len(space.prefix))))

    def to_wire(self, name: str) -> bytes:
        """The bytes of a name from the file. Raises PermanentError if this server can't have it."""
        return encode(self._full(name))

    def from_wire(self, wire: bytes, delimiter: str | None) -> str | None:
        """How the file spells a listed mailbox; None if it can't (a level holds a `/`)."""
        full = decode(wire)
        if full.upper() == "INBOX":
            return "INBOX"
        levels = full.split(delimiter) if delimiter else [full]
        if any(not level or "/" in level for level in levels):
            return None
        prefix = self.personal.levels
        start = [_fold(level, first=place == 0) for place, level in enumerate(levels[: len(prefix)])]
        if prefix and start == [_fold(level, first=place == 0) for place, level in enumerate(prefix)]:
            short = "/".join(levels[len(prefix) :])
            if short and self._means(short, full):
                return short
        spelled = "/".join(levels)
        return spelled if self._means(spelled, full) else None

    def _means(self, name: str, full: str) -> bool:
        try:
            mine = self._full(name)
        except PermanentError:
            return False
        return mine == full or (
            # INBOX is the one level that is case-insensitive (RFC 9051 section 5.1)
            mine[:5].upper() == full[:5].upper() == "INBOX" and mine[5:] == full[5:]
        )

    def _full(self, name: str) -> str:
        if any(ord(c) < 32 or ord(c) == 127 for c in name):
            raise PermanentError("a mailbox name with control characters can't exist. Mend the name.")
        levels = name.split("/")
        if any(not level for level in levels):
            raise PermanentError(f"mailbox '{name}': a level is empty. Write 'A/B', nothing before or after.")
        if levels[0].upper() == "INBOX":
            return self._join(["INBOX", *levels[1:]], self.personal, name)
        for space in self.others:
            if levels[: len(space.levels)] == space.levels:
                rest = levels[len(space.levels) :]
                if not rest:
                    return space.prefix.removesuffix(space.delimiter or "")
                return space.prefix + self._join(rest, space, name)
        return self.personal.prefix + self._join(levels, self.personal, name)

    @staticmethod
    def _join(levels: list[str], space: Namespace, name: str) -> str:
        delimiter = space.delimiter
        if delimiter is None:
            if len(levels) > 1:
                raise PermanentError(f"mailbox '{name}': this server has no mailboxes inside mailboxes.")
            return levels[0]
        for level in levels:
            if delimiter in level:
                raise PermanentError(
                    f"mailbox '{name}': '{delimiter}' separates mailboxes on this server, so '{level}' can't "
                    "be one. Write '/' between levels, and leave that character out."
                )
        return delimiter.join(levels)


def encode(name: str) -> bytes:
    """Modified UTF-7."""
    encoded: bytes = imap_utf7.encode(name)
    return encoded


def decode(wire: bytes) -> str:
    """From modified UTF-7; where that is not what it is, as UTF-8 (some servers send it raw)."""
    if wire.isascii():
        try:
            name: str = imap_utf7.decode(wire)
        except ValueError:
            return wire.decode("ascii")
        return name
    return wire.decode("utf-8", "replace")


def _fold(level: str, *, first: bool) -> str:
    return "INBOX" if first and level.upper() == "INBOX" else level


def _namespaces(value: Any) -> list[Namespace]:
    found = []
    for item in value or ():
        if isinstance(item, list) and len(item) >= 2 and isinstance(item[0], bytes):
            delimiter = item[1].decode("latin-1") if item[1] else None
            found.append(Namespace(decode(item[0]), delimiter))
    return found
