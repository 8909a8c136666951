"""Which of many mailboxes have news, where one connection is told of all of them (NOTIFY, RFC 5465).

What the server tells is a hint: the sweep of a mailbox is the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mailrules.adapters.imap.framing import Response
from mailrules.adapters.imap.tokens import Unreadable, number, pairs, tokens
from mailrules.adapters.imap.transport import Part, astring

LONGEST = 8000
"""Octets of a command, at most."""
_EVENTS = b"(MessageNew MessageExpunge)"
_WITH_ITEMS = b"(MessageNew (UID %b) MessageExpunge FlagChange)"
"""Told of flags, too: what was sent of a message may have changed when it is judged."""
USUAL = b"NOTIFY SET (SELECTED (MessageNew MessageExpunge FlagChange))"
"""As it is where nobody has said NOTIFY."""


class Watch:
    """The mailboxes that one connection watches, and which of them may have new mail."""

    def __init__(self, names: Sequence[str], wire_name: Callable[[str], bytes]) -> None:
        self.names = tuple(names)
        self.active = False  # whether the server has said OK to it
        self.fresh = False  # whether nothing was selected since
        self._by_wire = {_key(wire_name(name)): name for name in names}
        self._wires = [wire_name(name) for name in names]
        self._news: set[str] = set()
        self._heard: set[str] = set()
        self._next: dict[str, int] = {}  # UIDs below were seen by a sweep, or told of

    def fits(self, what: Sequence[bytes] = ()) -> bool:
        """Whether servers take a line as long as that."""
        return sum(len(wire) + 3 for wire in self._wires) + sum(len(item) + 1 for item in what) < LONGEST

    def command(self, what: Sequence[bytes] = ()) -> list[Part]:
        """Asks for events, and for how it stands now with every mailbox that is not selected.

        SELECTED stands for whichever is selected; it is told of with EXISTS, as always, and with `what` of
        the new messages.
        """
        self._heard.clear()
        events = _WITH_ITEMS % b" ".join(what) if what else _EVENTS
        parts: list[Part] = [b"NOTIFY SET STATUS (SELECTED-DELAYED " + events + b") (MAILBOXES ("]
        for place, wire in enumerate(self._wires):
            parts += [b" " if place else b"", astring(wire)]
        return [*parts, b") " + _EVENTS + b")"]

    def told(self, response: Response) -> None:
        """A STATUS response. It is news if it promises a UID that no sweep has seen, or takes UIDs back
        (the mailbox was numbered anew); the same is not told twice, or a mailbox that can't be read
        would be for ever."""
        try:
            wire, answer = tokens(response, 9)[:2]
            name = self._by_wire.get(_key(wire))
            if name is None:
                return
            uidnext = number(pairs(answer)[b"UIDNEXT"])
        except (Unreadable, LookupError, TypeError, ValueError, AttributeError):
            self.all_news()  # something has changed somewhere
            return
        self._heard.add(name)
        if uidnext != self._next.get(name):
            self._next[name] = uidnext
            self._news.add(name)

    def unheard(self, selected: str) -> set[str]:
        """The mailboxes that the answer to `command` has left out: the server won't tell of them later.

        Dovecot 2.3 leaves out every name that is not plain ASCII (`Entw&APw-rfe` on the wire).
        """
        return set(self.names) - self._heard - {selected}

    def all_news(self) -> None:
        self._news.update(self.names)

    def swept(self, name: str, uidnext: int) -> None:
        """All messages of this mailbox below `uidnext` were seen."""
        self._next[name] = max(uidnext, self._next.get(name, 0))  # a mailbox numbered anew is told of

    def take(self) -> frozenset[str]:
        """The mailboxes with news; they count as looked at."""
        news, self._news = frozenset(self._news), set()
        return news


def _key(wire: bytes) -> bytes:
    return b"INBOX" if wire.upper() == b"INBOX" else wire
