"""Which mailboxes there are, how they are spelled, and what they are for (LIST, RFC 6154)."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from mailrules.adapters.imap.framing import Response
from mailrules.adapters.imap.tokens import Unreadable, flags, tokens

if TYPE_CHECKING:
    from mailrules.adapters.imap.connection import Connection

SPECIAL_USES = {
    name.lower(): name
    for name in ("\\All", "\\Archive", "\\Drafts", "\\Flagged", "\\Important", "\\Junk", "\\Sent", "\\Trash")
}


@dataclass(frozen=True, slots=True)
class MailboxInfo:
    """A mailbox as LIST tells it. `name` is the file's spelling; `wire` the server's own bytes."""

    name: str
    wire: bytes
    flags: frozenset[str] = frozenset()  # lower case
    special_use: tuple[str, ...] = ()
    selectable: bool = True


class Listing:
    """The mailboxes of one login as they were last listed."""

    _ahead: list[Response] | None = None
    """What was listed before anybody has asked."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: dict[str, MailboxInfo] = {}
        self._plain = False  # this server does not understand more than LIST "" "*"

    def get(self, name: str) -> MailboxInfo | None:
        """A mailbox by the file's spelling, if it was listed."""
        return self._known.get(name)

    def wire_name(self, name: str) -> bytes:
        """The server's own bytes if it was listed, else as it ought to be encoded."""
        info = self._known.get(name)
        return info.wire if info is not None else self._connection.namespaces.to_wire(name)

    def refresh(self, patterns: Sequence[str] = ("*",)) -> list[MailboxInfo]:
        """List again. Returns those whose name matches one of the globs, sorted."""
        found, self._ahead = self._ahead or self._ask(), None
        listed: dict[str, MailboxInfo] = {}
        for response in found:
            info = self._read(response)
            if info is not None:
                listed.setdefault(info.name, info)
        self._known = listed
        return sorted(
            (info for info in listed.values() if any(_matches(info.name, p) for p in patterns)),
            key=lambda info: info.name,
        )

    def look_ahead(self) -> None:
        """List now, for the next who asks; what mailboxes are called is known from here on."""
        found = self._ask()
        self._ahead = found
        self.refresh()
        self._ahead = found

    def special_use(self, *, fresh: bool = True) -> Mapping[str, str]:
        """Attribute -> mailbox; the server's word first, the account's settings where it says nothing.

        Not `fresh`: as it was last listed.
        """
        told: dict[str, str] = {}
        for info in self.refresh() if fresh else self._known.values():
            for use in info.special_use:
                if info.selectable:
                    told.setdefault(use, info.name)
        if "X-GM-EXT-1" in self._connection.capabilities and "\\All" in told:
            told.setdefault("\\Archive", told["\\All"])  # Gmail archives by taking the label away
        return dict(self._connection.login.special_use) | told

    def _ask(self) -> list[Response]:
        connection = self._connection
        if {"LIST-EXTENDED", "SPECIAL-USE"} <= connection.capabilities and not self._plain:
            reply = connection.send(b'LIST "" "*" RETURN (SPECIAL-USE)')
            found = [r for r in reply.untagged if r[0][:7].upper() == b"* LIST "] if reply.ok else []
            if found:
                return found
            self._plain = True  # Proton says BAD, Strato OK and nothing else
        reply = connection.command("listing mailboxes", b'LIST "" "*"')
        return [r for r in reply.untagged if r[0][:7].upper() == b"* LIST "]

    def _read(self, response: Response) -> MailboxInfo | None:
        """One LIST response; None for a name that can't be read, or that the file can't spell."""
        try:
            attributes, delimiter, wire = tokens(response, 7)[:3]
            words = _shared(frozenset(word.lower() for word in flags(attributes)))
        except (Unreadable, ValueError):
            return None
        if not isinstance(wire, bytes):
            return None
        level = delimiter.decode("latin-1") if isinstance(delimiter, bytes) and delimiter else None
        name = self._connection.namespaces.from_wire(wire, level)
        if name is None:
            return None
        return MailboxInfo(
            name=name,
            wire=wire,
            flags=words,
            special_use=tuple(SPECIAL_USES[word] for word in sorted(words & SPECIAL_USES.keys())),
            selectable=not words & {"\\noselect", "\\nonexistent"},
        )


_one_of = functools.lru_cache(maxsize=64)(lambda words: words)


def _shared(words: frozenset[str]) -> frozenset[str]:
    """The same set for all mailboxes with the same attributes: accounts may have hundreds of them."""
    return _one_of(words) if sum(map(len, words)) < 200 else words


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern.upper() if name == "INBOX" else pattern)
