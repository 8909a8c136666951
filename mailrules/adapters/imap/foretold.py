"""What a server sends of new messages before it is asked (RFC 5465 section 5.2: MessageNew with FETCH items).

It is the answer to the FETCH that a sweep would send, in advance, and nothing else: which messages there are
is for the sweep to find. What the sweep does not ask for is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mailrules import clock
from mailrules.adapters.imap.framing import Response
from mailrules.adapters.imap.items import Items, answer_to, read_fetch
from mailrules.adapters.imap.tokens import Unreadable

MOST = 200
"""Messages that are kept for the next sweep; it asks for the others."""
MOST_OCTETS = 1 << 20
"""Octets of header that are kept."""
KEPT = 60.0
"""Seconds after which flags may be others, whatever the server tells of them."""

What = tuple[bytes, ...]
"""FETCH items, the last of them a header: `BODY.PEEK[HEADER…]`."""


class Foretold:
    """What one connection was sent of the selected mailbox's new messages, and what it is to be sent."""

    __slots__ = ("_header", "_held", "_octets", "_refused", "_since", "_wanted", "asked", "came")

    def __init__(self) -> None:
        self.asked: What = ()
        """What the server sends of each new message. Nothing: it sends none."""
        self.came = False
        """Whether anything ever came that was as it is to be."""
        self._wanted: dict[str, What] = {}
        self._refused = False
        self._header = b""
        self._held: dict[int, Items] = {}
        self._octets = 0
        self._since = 0.0

    # -- what is asked for --------------------------------------------------------------------------
    def learn(self, mailbox: str, what: What) -> None:
        """New mail of this mailbox was asked for `what`, and the answer was as it is to be."""
        if self._wanted.get(mailbox) != what:
            self._wanted[mailbox] = what

    def wanted(self, mailbox: str) -> What:
        """What it is of use to be sent. Nothing: that is not known, or the server would not."""
        return () if self._refused else self._wanted.get(mailbox, ())

    def begin(self, what: What) -> None:
        """From here on the server may send this of new messages; what came before does not count."""
        self.forget()
        self.asked = what
        self._header = answer_to(what[-1]) if what else b""

    def end(self) -> None:
        """It sends nothing any more."""
        self.begin(())

    def refuse(self) -> None:
        """The server would not do it: it is not asked again."""
        self._refused = True
        self.end()

    def stray(self, what: bytes) -> bytes:
        """The name of a header that answers no question for `what`, though it looks like one."""
        return self._header if self.asked and self.asked[-1] not in what else b""

    # -- what came ----------------------------------------------------------------------------------
    def forget(self) -> None:
        """What came and was of no use."""
        self._held.clear()
        self._octets = 0

    def told(self, response: Response, *, above: int) -> None:
        """A FETCH response that came unasked, or with the answer to something else.

        `above`: up to this UID the sweep has seen the mailbox, so it is no new message. Whatever is told of a
        message otherwise makes what is kept of it out of date; of which one, not every server says.
        """
        try:
            items = read_fetch(response)
            uid = None if items is None else items.get(b"UID")
        except Unreadable:
            self.forget()
            return
        if items is None:
            return
        if uid is None:
            self.forget()
            return
        self._drop(uid)
        if uid > above and all(name in items for name in self.asked[:-1]):
            self._keep(uid, items)

    def _keep(self, uid: int, items: Items) -> None:
        block = items.get(self._header)
        if type(block) is not bytes or len(self._held) >= MOST or self._octets + len(block) > MOST_OCTETS:
            return
        if not self._held:
            self._since = clock.timer()
        self._held[uid] = items
        self.came = True
        self._octets += len(block)

    def _drop(self, uid: int) -> None:
        items = self._held.pop(uid, None)
        if items is not None:
            self._octets -= len(items[self._header])

    @property
    def some(self) -> bool:
        """Whether anything is kept."""
        return bool(self._held)

    def take(self, uids: Iterable[int], what: Sequence[bytes]) -> list[tuple[int, Items]]:
        """Take out what came of these messages, if it is what they are asked for now."""
        if self._held and clock.timer() - self._since > KEPT:
            self.forget()
        if not self._held or tuple(what) != self.asked:
            return []
        taken = []
        for uid in uids:
            items = self._held.get(uid)
            if items is not None:
                self._drop(uid)
                taken.append((uid, items))
        return taken
