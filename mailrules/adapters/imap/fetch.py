"""UID FETCH: asked for in few commands, handed on as it arrives, and what one broken message may cost."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from mailrules.adapters.imap.framing import Response, Several
from mailrules.adapters.imap.items import Items, UsualAnswer, answer_to, header_block, read_fetch
from mailrules.adapters.imap.refusals import failure, throttled
from mailrules.adapters.imap.tokens import Unreadable, number, numeral
from mailrules.adapters.imap.transport import Usual
from mailrules.adapters.imap.wire import TooMuch
from mailrules.core.errors import TransientError
from mailrules.core.message import Unavailable
from mailrules.core.uidset import UidSet

if TYPE_CHECKING:
    from mailrules.adapters.imap.mailbox import Mailbox

MOST = 10_000
"""Messages that one command asks for where answers are handed on as they come."""
FEW = 500
"""Messages that one command asks for elsewhere: Yahoo answers for no more than 1,000. What is streamed is
handed on in pieces of so many, and the connection's limits hold for each piece."""
MOST_HEADER = 256 * 1024
MOST_HELD = 4 << 20
"""Octets after which a piece is handed on."""
MOST_AT_ONCE = 16 << 20
"""Octets of message in one FETCH, where sizes are known."""
MOST_TRIES = 60
"""Commands spent on one chunk that fails, before its failure is everybody's."""
SET_WIDTH = 8000
"""Octets of a UID set in one command: what every server takes."""

_HEADER_ITEM = re.compile(rb"(BODY\.PEEK\[HEADER[^\]]*\])(?!<)")

Skim = Callable[[Sequence[int], Sequence[bytes]], Collection[int]]
"""Is shown UIDs and their header blocks before more is read of them. Gives those that need no more."""

Told = tuple[int, Items | Unavailable]
Take = Callable[[Sequence[Told]], None]
"""Is handed what the server tells of some messages, of each once."""


def most_at_once(capabilities: Iterable[str]) -> int:
    """What RFC 9738 lets one command ask for."""
    for capability in capabilities:
        if capability.startswith("MESSAGELIMIT="):
            return max(1, min(MOST, numeral(capability[13:].encode("ascii", "replace")) or MOST))
    return MOST


def fetch_items(mailbox: Mailbox, uids: Iterable[int], what: bytes) -> dict[int, Items | Unavailable]:
    """Ask for `what` (without parentheses) of these messages. Those that are gone are absent.

    Raises TransientError if the connection is lost, or if the server fails message after message.
    """
    found: dict[int, Items | Unavailable] = {}
    for piece in _pieces(mailbox, sorted(set(uids)), lambda: min(FEW, mailbox.connection.fetch_most)):
        _Asking(mailbox, what, found.update, None).all_of(piece)
    return found


def stream_items(
    mailbox: Mailbox, uids: Iterable[int], what: Sequence[bytes], take: Take, skim: Skim | None = None
) -> None:
    """As `fetch_items`, for any number of messages: each is handed on as soon as all of `what` is there.

    `take` and `skim` send nothing to the server: they are called in the middle of an answer. What they raise
    ends the connection. `skim` is shown usual answers, and may keep them from being handed on.
    """
    ready, usual = _readiness(what), UsualAnswer.made(what)
    for piece in _pieces(mailbox, sorted(set(uids)), lambda: mailbox.connection.fetch_most):
        _Asking(mailbox, b" ".join(what), take, ready, usual, skim).all_of(piece)


def _readiness(what: Sequence[bytes]) -> Callable[[Items], bool]:
    headers = [answer_to(item) for item in what if item.startswith(b"BODY.PEEK[HEADER")]
    names = [item for item in what if not item.startswith(b"BODY.PEEK[HEADER")]

    def ready(items: Items) -> bool:
        for name in names:
            if name not in items:
                return False
        return not headers or header_block(items, headers[0]) is not None

    return ready


def _pieces(mailbox: Mailbox, uids: Sequence[int], most: Callable[[], int]) -> Iterator[Sequence[int]]:
    """Cut so that each can be named in one command. `most` may change on the way."""
    at = 0
    while at < len(uids):
        piece = uids[at : at + most()]
        first = next(mailbox.spanned(piece).chunks(count=piece[-1], width=SET_WIDTH))
        piece = piece[: bisect_right(piece, first.highest)]
        yield piece
        at += len(piece)


class _Asking:
    """The question about some messages, and what it breaks into."""

    def __init__(
        self,
        mailbox: Mailbox,
        what: bytes,
        take: Take,
        ready: Callable[[Items], bool] | None,
        usual: UsualAnswer | None = None,
        skim: Skim | None = None,
    ) -> None:
        self._usual = usual
        self._skim = skim
        self._mailbox = mailbox
        self._what = what
        self._take = take
        self._ready = ready
        self._tries = 0
        self._left: set[int] = set()  # of whom nothing was handed on yet
        self._batch: list[Told] = []
        self._held = 0
        self._skimmed = 0

    def all_of(self, uids: Sequence[int]) -> None:
        """Ask for these, however much it is."""
        try:
            self._left = set(uids)
            self._ask(uids)
        except TooMuch as error:
            self._hand_on()
            left = sorted(self._left)
            if len(left) > FEW:
                self._mailbox.reopen()
                self._in_pieces(left)
            elif left:
                self._carefully(left, error)

    def _ask(self, uids: Sequence[int]) -> None:
        self._tries += 1
        waiting = set(uids)
        partial: dict[int, Items] = {}
        broken: list[Unreadable] = []
        ready = self._ready
        foretold = self._mailbox.connection.idling.foretold
        stray = foretold.stray(self._what) if foretold is not None else b""

        def add(uid: int, items: Items, octets: int) -> bool:
            """All of one is there. Gives whether a piece was full and has been handed on."""
            waiting.remove(uid)
            partial.pop(uid, None)
            self._batch.append((uid, items))
            self._held += octets
            if len(self._batch) < FEW and self._held < MOST_HELD:
                return False
            self._hand_on()
            return True

        def take(response: Response) -> bool:
            try:
                items = read_fetch(response)
            except Unreadable as error:
                broken[:] = [error]
                return False
            uid = items.get(b"UID") if items else None
            if items is None or uid not in waiting or (stray and stray in items):
                return False  # news of other messages (Proton), or of one that is not named; or NOTIFY's
            if uid in partial:
                partial[uid].update(items)
                items = partial[uid]
            if ready is None or not ready(items):
                partial[uid] = items
                return False
            return add(uid, items, len(response[1]) if len(response) > 1 else 0)

        def skimmed(several: Sequence[Several]) -> Sequence[Several]:
            """Those that are to be read."""
            assert self._skim is not None
            uids = [int(groups[0]) for groups, _ in several]
            if not waiting.issuperset(uids):  # unasked news, or said twice: each by itself
                return several
            through = self._skim(uids, [block for _, block in several])
            waiting.difference_update(through)
            self._left.difference_update(through)
            self._skimmed += len(through)
            return [one for uid, one in zip(uids, several, strict=True) if uid not in through]

        usual = None
        if self._usual is not None:
            read = self._usual.read

            def take_several(several: Sequence[Several]) -> bool:
                enough = False
                if self._skim is not None:
                    several = skimmed(several)
                    enough, self._skimmed = self._skimmed >= FEW, self._skimmed % FEW
                for groups, block in several:
                    items = read(groups, block)
                    if items[b"UID"] in waiting and add(items[b"UID"], items, len(block)):
                        enough = True
                return enough

            usual = Usual(self._usual.pattern, take_several)
        named = str(self._mailbox.spanned(uids)).encode()
        asked = (b"UID FETCH ", named, b" (UID " + self._what + b")")
        reply = self._mailbox.send(*asked, take=take, usual=usual)
        answered = len(waiting) < len(uids) or bool(partial)
        waiting.difference_update(partial)
        self._batch += partial.items()
        self._hand_on()
        missing = sorted(waiting)
        if not reply.ok:
            wait = throttled(reply.status, "FETCH")
            if wait is not None:
                raise wait
            if self._tries > MOST_TRIES:
                raise TransientError(str(failure(reply.status, "FETCH")))
            if len(uids) > FEW:
                self._in_pieces(missing)
            elif len(uids) > 1:
                self._halve(missing)
            elif missing and self._mailbox.present(missing):
                told = Unavailable(f"the server says {reply.status}", passing=reply.status.status == "NO")
                self._batch.append((missing[0], told))
        elif broken and missing:
            if len(uids) == 1:
                told = Unavailable(f"the server's answer can't be read: {broken[0]}")
                self._batch.append((missing[0], told))
            elif self._tries > MOST_TRIES:
                raise TransientError(f"the server's answers to FETCH can't be read: {broken[0]}")
            elif len(missing) > FEW:
                self._in_pieces(missing)
            else:
                self._halve(missing)
        elif len(uids) > FEW and missing:
            there = sorted(self._mailbox.present(missing))
            if there:  # it answers for so many and no more: ask for less from now on
                self._mailbox.connection.fetch_most = min(FEW, self._mailbox.connection.fetch_most)
                self._in_pieces(there)
        elif reply.status.code == "MESSAGELIMIT" and missing and answered:
            self._ask(missing)  # RFC 9738: it stopped in the middle
        self._hand_on()

    def _hand_on(self) -> None:
        batch, self._batch, self._held = self._batch, [], 0
        if batch:
            self._left.difference_update([uid for uid, _ in batch])
            self._take(batch)

    def _halve(self, uids: Sequence[int]) -> None:
        half = (len(uids) + 1) // 2
        for piece in (uids[:half], uids[half:]):
            if piece:
                self._ask(piece)

    def _in_pieces(self, uids: Sequence[int]) -> None:
        for start in range(0, len(uids), FEW):
            piece = uids[start : start + FEW]
            asking = _Asking(self._mailbox, self._what, self._told, self._ready, self._usual, self._skim)
            asking.all_of(piece)

    def _told(self, told: Sequence[Told]) -> None:
        self._left.difference_update([uid for uid, _ in told])
        self._take(told)

    def _carefully(self, uids: Sequence[int], error: TooMuch) -> None:
        """It was more than a connection may carry: on a new one, big messages go alone, and cut."""
        mailbox = self._mailbox
        mailbox.reopen()
        sizes: dict[int, Items | Unavailable] = {}
        _Asking(mailbox, b"RFC822.SIZE", sizes.update, None)._ask(uids)
        window: list[int] = []
        held = 0
        alone: list[int] = []
        windows = [window]
        for uid, items in sorted(sizes.items(), key=_uid):
            try:
                size = number(items.get(b"RFC822.SIZE")) if isinstance(items, dict) else MOST_AT_ONCE
            except Unreadable:
                size = MOST_AT_ONCE
            if size > MOST_HEADER:
                alone.append(uid)
            elif held + size > MOST_AT_ONCE:
                window, held = [uid], size
                windows.append(window)
            else:
                window.append(uid)
                held += size
        for window in filter(None, windows):
            _Asking(mailbox, self._what, self._told, self._ready)._ask(window)
        cut = _HEADER_ITEM.sub(rb"\1<0.%d>" % MOST_HEADER, self._what)
        for place, uid in enumerate(alone):
            try:
                _Asking(mailbox, cut, self._told, self._ready)._ask([uid])
            except TooMuch:
                self._told([(uid, Unavailable(f"the message is too much to be read: {error}"))])
                if place > 10:
                    raise  # a whole mailbox of these: let the account rest
                mailbox.reopen()


def _uid(told: Told) -> int:
    return told[0]


def spanned(uids: Sequence[int], listed: Sequence[int]) -> UidSet:
    """The fewest ranges that name these and no other one of `listed`; both ascend."""
    ranges: list[tuple[int, int]] = []
    total = len(listed)
    low = high = 0
    after = -1  # the place in `listed` behind `high`, if that is listed
    for uid in uids:
        if high and (uid == high + 1 or (0 <= after < total and listed[after] == uid)):
            high = uid
        else:
            if high:
                ranges.append((low, high))
            low = high = uid
        place = after if after >= 0 and low < high else bisect_left(listed, uid)
        after = place + 1 if place < total and listed[place] == uid else -1
    if high:
        ranges.append((low, high))
    return UidSet.of_ranges(ranges)
