"""FETCH: from facts to items, and from what comes back to facts, each message for itself.

What one message's answer breaks, it breaks for that message alone: the chunk is asked again in
smaller pieces, and what can't be read is `Unavailable`. `read_fetch` is the one reader of answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from mailrules.adapters.imap.framing import Response
from mailrules.adapters.imap.identity import Identity
from mailrules.adapters.imap.refusals import failure, throttled
from mailrules.adapters.imap.tokens import Unreadable, flags, number, pairs, tokens
from mailrules.adapters.imap.wire import TooMuch
from mailrules.core.errors import PermanentError, TransientError
from mailrules.core.headers import parse_block
from mailrules.core.message import (
    ALL_HEADERS,
    BODY,
    FLAGS,
    GMAIL_LABELS,
    INTERNALDATE,
    SIZE,
    STRUCTURE,
    Fact,
    Unavailable,
)
from mailrules.core.uidset import UidSet

if TYPE_CHECKING:
    from mailrules.adapters.imap.mailbox import Mailbox

__all__ = ["Identity", "Items", "facts_of", "fetch_items", "internal_date", "read_fetch"]

WINDOW = 500
"""UIDs in one FETCH: Yahoo answers for no more than 1,000."""
MOST_NAMES = 40
"""Header fields worth naming; for more, the whole header is fetched."""
MOST_HEADER = 256 * 1024
MOST_AT_ONCE = 16 << 20
"""Octets of message in one FETCH, where sizes are known."""
MOST_TRIES = 60
"""Commands spent on one chunk that fails, before its failure is everybody's."""

Items = dict[bytes, Any]
"""One message's FETCH items by upper-case name, as `tokens` gives them."""

_FETCH = re.compile(rb"\* \d+ FETCH ", re.IGNORECASE)
_HEADER_ITEM = re.compile(rb"(BODY\.PEEK\[HEADER[^\]]*\])(?!<)")
_FIELD_NAME = re.compile(r"[!-9;-~]+")
_ATOM = re.compile(r"[A-Za-z0-9!#$&'+,./:;<=>?@^_`|~-]+")
NO_LABELS = Unavailable("gmail_label: this is not a Gmail server (no X-GM-EXT-1)")
NOT_SENT = Unavailable("the server did not send it", passing=True)


def read_fetch(response: Response) -> Items | None:
    """The items of a FETCH response; None if it is another one. Raises Unreadable."""
    match = _FETCH.match(response[0])
    if match is None:
        return None
    parsed = tokens(response, match.end())
    if not parsed or not isinstance(parsed[0], list):
        raise Unreadable("FETCH without a list")
    items = pairs(parsed[0])
    if b"UID" in items:
        items[b"UID"] = number(items[b"UID"])
    return items


def fetch_items(mailbox: Mailbox, uids: Iterable[int], what: bytes) -> dict[int, Items | Unavailable]:
    """Ask for `what` (without parentheses) of these messages. Those that are gone are absent.

    Raises TransientError if the connection is lost, or if the server fails message after message.
    """
    found: dict[int, Items | Unavailable] = {}
    for chunk in UidSet(uids).chunks(count=WINDOW):
        try:
            _Chunk(mailbox, what, found).ask(chunk)
        except TooMuch as error:
            _carefully(mailbox, chunk, what, found, error)
    return found


class _Chunk:
    """One chunk and what it breaks into."""

    def __init__(self, mailbox: Mailbox, what: bytes, found: dict[int, Items | Unavailable]) -> None:
        self._mailbox = mailbox
        self._what = what
        self._found = found
        self._tries = 0

    def ask(self, chunk: UidSet) -> None:
        self._tries += 1
        reply = self._mailbox.send(b"UID FETCH ", str(chunk).encode(), b" (UID " + self._what + b")")
        broken: Unreadable | None = None
        answered = 0
        for response in reply.untagged:
            try:
                items = read_fetch(response)
            except Unreadable as error:
                broken = error
                continue
            uid = items.get(b"UID") if items else None
            if uid is None or uid not in chunk:
                continue  # news of other messages (Proton), or of one that is not named
            answered += 1
            before = self._found.setdefault(uid, {})
            if isinstance(before, dict):
                before.update(items or {})
        missing = [uid for uid in chunk if uid not in self._found]
        if not reply.ok:
            wait = throttled(reply.status, "FETCH")
            if wait is not None:
                raise wait
            if self._tries > MOST_TRIES:
                raise TransientError(str(failure(reply.status, "FETCH")))
            if len(chunk) > 1:
                self._halve(chunk)
            elif missing and self._mailbox.present(missing):
                self._found[missing[0]] = Unavailable(
                    f"the server says {reply.status}", passing=reply.status.status == "NO"
                )
        elif broken is not None and missing:
            if len(chunk) == 1:
                self._found[missing[0]] = Unavailable(f"the server's answer can't be read: {broken}")
            elif self._tries > MOST_TRIES:
                raise TransientError(f"the server's answers to FETCH can't be read: {broken}")
            else:
                self._halve(UidSet(missing))
        elif reply.status.code == "MESSAGELIMIT" and missing and answered:
            self.ask(UidSet(missing))  # RFC 9738: it stopped in the middle

    def _halve(self, chunk: UidSet) -> None:
        uids = list(chunk)
        half = (len(uids) + 1) // 2
        for piece in (uids[:half], uids[half:]):
            if piece:
                self.ask(UidSet(piece))


def _carefully(
    mailbox: Mailbox, chunk: UidSet, what: bytes, found: dict[int, Items | Unavailable], error: TooMuch
) -> None:
    """A chunk was more than a connection may carry: on a new one, big messages go alone, and cut."""
    mailbox.reopen()
    sizes: dict[int, Items | Unavailable] = {}
    _Chunk(mailbox, b"RFC822.SIZE", sizes).ask(chunk)
    window: list[int] = []
    held = 0
    alone: list[int] = []
    windows = [window]
    for uid, items in sizes.items():
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
        _Chunk(mailbox, what, found).ask(UidSet(window))
    cut = _HEADER_ITEM.sub(rb"\1<0.%d>" % MOST_HEADER, what)
    for place, uid in enumerate(alone):
        try:
            _Chunk(mailbox, cut, found).ask(UidSet([uid]))
        except TooMuch:
            found[uid] = Unavailable(f"the message is too much to be read: {error}")
            if place > 10:
                raise  # a whole mailbox of these: let the account rest
            mailbox.reopen()


# -- facts --------------------------------------------------------------------------------------


def facts_of(
    mailbox: Mailbox, uids: Iterable[int], facts: Iterable[Fact], *, body_limit: int
) -> dict[int, dict[Fact, Any]]:
    """Every one of these facts for every one of these messages that is there: a value, or Unavailable."""
    from mailrules.adapters.imap.body import bodies, structure

    wanted = set(facts)
    labels = GMAIL_LABELS in wanted and "X-GM-EXT-1" in mailbox.connection.capabilities
    what = _items(wanted if labels else wanted - {GMAIL_LABELS})  # unknown items cost all the others
    found = fetch_items(mailbox, uids, b" ".join(what)) if what else fetch_items(mailbox, uids, b"FLAGS")
    if b"BODYSTRUCTURE" in what:
        # A BODYSTRUCTURE that breaks the grammar must not cost the other facts.
        broken = [uid for uid, items in found.items() if isinstance(items, Unavailable) and not items.passing]
        rest = [item for item in what if item != b"BODYSTRUCTURE"] or [b"FLAGS"]
        if broken:
            found.update(fetch_items(mailbox, broken, b" ".join(rest)))
    known: dict[int, dict[Fact, Any]] = {}
    for uid, items in found.items():
        known[uid] = {fact: _value(fact, items) for fact in wanted if fact not in (BODY, STRUCTURE)}
        if GMAIL_LABELS in wanted and not labels:
            known[uid][GMAIL_LABELS] = NO_LABELS
    if b"BODYSTRUCTURE" in what:
        structures = {uid: structure(items) for uid, items in found.items()}
        if BODY in wanted or any(isinstance(parts, Unavailable) for parts in structures.values()):
            structures, texts = bodies(mailbox, structures, limit=body_limit, texts=BODY in wanted)
        else:
            texts = {}
        for uid in known:
            if STRUCTURE in wanted:
                known[uid][STRUCTURE] = structures[uid]
            if BODY in wanted:
                known[uid][BODY] = texts[uid]
    return known


def _items(facts: set[Fact]) -> list[bytes]:
    what: list[bytes] = []
    for fact, item in (
        (FLAGS, b"FLAGS"),
        (INTERNALDATE, b"INTERNALDATE"),
        (SIZE, b"RFC822.SIZE"),
        (GMAIL_LABELS, b"X-GM-LABELS"),
    ):
        if fact in facts:
            what.append(item)
    if STRUCTURE in facts or BODY in facts:
        what.append(b"BODYSTRUCTURE")
    names = sorted(str(fact.argument).upper() for fact in facts if fact.kind == "header")
    if ALL_HEADERS in facts or len(names) > MOST_NAMES:
        what.append(b"BODY.PEEK[HEADER]")
    elif names:
        fields = " ".join(_field_name(name) for name in names)
        what.append(b"BODY.PEEK[HEADER.FIELDS (%s)]" % fields.encode())
    return what


def _field_name(name: str) -> str:
    if not _FIELD_NAME.fullmatch(name):
        raise PermanentError(f"'{name}' can't be the name of a header field. Mend the rule.")
    return name if _ATOM.fullmatch(name) else '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _value(fact: Fact, items: Items | Unavailable) -> Any:
    if isinstance(items, Unavailable):
        return items
    try:
        if fact == FLAGS:
            return flags(items[b"FLAGS"]) if b"FLAGS" in items else NOT_SENT
        if fact == SIZE:
            return number(items[b"RFC822.SIZE"])
        if fact == INTERNALDATE:
            return internal_date(items[b"INTERNALDATE"])
        if fact == GMAIL_LABELS:
            return flags(items[b"X-GM-LABELS"])
        if fact.kind == "header":
            block = header_block(items)
            if block is None:
                return NOT_SENT
            headers = items.setdefault(b"\0parsed", parse_block(block))
            return headers if fact == ALL_HEADERS else headers.get(str(fact.argument))
    except KeyError:
        return NOT_SENT
    except Unreadable as error:
        return Unavailable(f"the server's answer can't be read: {error}")
    return Unavailable(f"'{fact.kind}' is nothing a mail server knows")


def header_block(items: Mapping[bytes, Any]) -> bytes | None:
    """What came for the BODY[HEADER…] that was asked for, however the server spells it."""
    for name, value in items.items():
        if name.startswith(b"BODY[HEADER") and isinstance(value, bytes):
            return value
    return None


_DATE = re.compile(
    rb" ?(\d{1,2})-([A-Za-z]{3})-(\d{4}) (\d\d)[:.](\d\d)(?:[:.](\d\d))? ?(?:([+-])(\d\d):?(\d\d))?"
)
_MONTHS = {
    name: place for place, name in enumerate(b"jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)
}


def internal_date(value: Any) -> datetime:
    """An INTERNALDATE, aware. Raises Unreadable."""
    match = _DATE.match(value) if isinstance(value, bytes) else None
    if match is None:
        raise Unreadable(f"{value!r} is not a date")
    day, month, year, hour, minute, second, sign, hours, minutes = match.groups()
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    try:
        zone = timezone(-offset if sign == b"-" else offset) if sign else UTC
        return datetime(
            int(year), _MONTHS[month.lower()], int(day), int(hour), int(minute), min(int(second or 0), 59),
            tzinfo=zone,
        )  # fmt: skip
    except (ValueError, KeyError):
        raise Unreadable(f"{value!r} is not a date") from None
