"""A Search value, or a person's own SEARCH expression, as criteria on the wire; and reading the answer.

IMAPClient quotes search strings only sometimes and sends CR LF as it comes, so it has no part in this.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from mailrules.adapters.imap.arguments import refuse_control
from mailrules.adapters.imap.framing import Response
from mailrules.adapters.imap.tokens import LARGEST, Unreadable, numeral, tokens
from mailrules.adapters.imap.transport import Part, Verbatim, astring
from mailrules.core.errors import PermanentError
from mailrules.core.search import And, Everything, Key, Not, Nothing, Or, Search
from mailrules.core.uidset import UidSet

MOST_UIDS = 2_000_000
"""Messages of one mailbox, at most; a SEARCH line of so many has 16 megabytes."""
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_ATOM_KEYS = frozenset({"KEYWORD", "UNKEYWORD"})
_KEY = re.compile(r"[A-Z][A-Z0-9-]*")
_ATOM = re.compile(r"[!#$&'+-\[^-z|}~]+")


@dataclass(frozen=True, slots=True)
class Criteria:
    """What follows `UID SEARCH `. `charset`: it holds text beyond ASCII, sent as UTF-8."""

    parts: tuple[Part, ...]
    charset: bool = False

    @property
    def text(self) -> str:
        """The same criteria give the same text: what a refusal is remembered by."""
        return b"".join(p if isinstance(p, bytes) else p.octets for p in self.parts).decode(
            "utf-8", "replace"
        )


def criteria(search: Search) -> Criteria:
    """Write a Search. Raises PermanentError for CR, LF, NUL or a key that can't be one."""
    return _criteria(_write(search))


def in_words(search: Search) -> str:
    """A Search as it goes over the wire, for people."""
    return "nothing" if isinstance(search, Nothing) else criteria(search).text


def expression(text: str) -> Criteria:
    """A person's SEARCH expression, checked to be one: balanced, without literals or options.

    Strings beyond ASCII, quoted or bare, become literals.
    """
    refuse_control(text)
    parts: list[Part] = []
    depth = 0
    for match in _WORD.finditer(text):
        word = match[0]
        if match["bad"] is not None:
            raise PermanentError(f"search: {word!r} can't stand in a SEARCH expression: {text}")
        if match["blank"] is not None:
            parts.append(b" ")
        elif match["quoted"] is not None:
            parts.append(astring(re.sub(r"\\(.)", r"\1", word[1:-1])))
        elif word in "()":
            depth += 1 if word == "(" else -1
            if depth < 0:
                break
            parts.append(word.encode())
        else:
            parts.append(astring(word) if not word.isascii() else word.encode())
    if depth:
        raise PermanentError(f"search: the parentheses don't match: {text}")
    first = text.split(None, 1)[0].upper() if text.strip() else ""
    if first in ("", "RETURN", "CHARSET"):
        raise PermanentError("search: give the search keys alone, as in: UNSEEN SINCE 1-Feb-2026")
    while parts and parts[0] == b" ":
        parts.pop(0)
    while parts[-1] == b" ":
        parts.pop()
    return _criteria(parts)


def gmail(text: str) -> Criteria:
    """A search in Gmail's own words (X-GM-RAW)."""
    return _criteria([b"X-GM-RAW ", astring(text)])


_WORDS = re.compile(rb"[^ ]+")
_WORD = re.compile(
    r"""(?P<blank>\s+) | (?P<quoted>"(?:[^"\\]|\\.)*") | (?P<paren>[()])
      | (?P<bad>"[^"]*$ | \{\d+\+?\})
      | (?P<atom>[^\s()"]+)""",
    re.VERBOSE,
)


def _criteria(parts: Iterable[Part]) -> Criteria:
    joined: list[Part] = []
    for part in parts:
        if isinstance(part, bytes) and joined and isinstance(joined[-1], bytes):
            joined[-1] += part
        else:
            joined.append(part)
    beyond = any(isinstance(part, Verbatim) and not part.octets.isascii() for part in joined)
    return Criteria(tuple(joined), charset=beyond)


def _write(search: Search, *, inside_or: bool = False) -> Iterator[Part]:
    if isinstance(search, Everything):
        yield b"ALL"
    elif isinstance(search, Nothing):
        yield b"NOT ALL"
    elif isinstance(search, Key):
        # Dovecot 2.3 starts `OR UNSEEN UNFLAGGED` at the first unseen message; not so with a UID set in it.
        if inside_or and search.name == "UNSEEN":
            yield b"(UNSEEN UID 1:*)"
        else:
            yield from _write_key(search)
    elif isinstance(search, And):
        yield b"("
        for place, part in enumerate(search.parts):
            if place:
                yield b" "
            yield from _write(part, inside_or=inside_or)
        yield b")"
    elif isinstance(search, Or):
        yield from _write_or(search.parts)
    elif isinstance(search, Not):
        opposite = _opposite(search.part)
        if isinstance(opposite, Not):
            yield b"NOT "
            yield from _write(opposite.part, inside_or=True)
        else:
            yield from _write(opposite, inside_or=inside_or)
    else:
        raise TypeError(f"not a Search: {search!r}")


_FLAGS = frozenset({"SEEN", "FLAGGED", "ANSWERED", "DRAFT", "DELETED", "KEYWORD"})
_LARGEST = 4294967295  # a number in RFC 3501


def _opposite(search: Search) -> Search:
    """What the search leaves out, without a NOT where there is a key for it.

    Dovecot 2.3 folds `NOT (LARGER 100 LARGER 219)` into the wrong one of the two; Proton's bridge
    does not know NOT; hMailServer's NOT at the end selects everything.
    """
    if isinstance(search, Not):
        return search.part
    if isinstance(search, And):
        return Or(tuple(_opposite(part) for part in search.parts))
    if isinstance(search, Or):
        return And(tuple(_opposite(part) for part in search.parts))
    if isinstance(search, Everything):
        return Nothing()
    if isinstance(search, Nothing):
        return Everything()
    if isinstance(search, Key):
        value = search.arguments[0] if search.arguments else None
        if search.name == "LARGER" and isinstance(value, int) and value < _LARGEST:
            return Key("SMALLER", (value + 1,))
        if search.name == "SMALLER" and isinstance(value, int) and value > 0:
            return Key("LARGER", (value - 1,))
        if search.name in ("SINCE", "BEFORE"):
            return Key("BEFORE" if search.name == "SINCE" else "SINCE", search.arguments)
        if search.name in _FLAGS:
            return Key("UN" + search.name, search.arguments)
        if search.name.removeprefix("UN") in _FLAGS:
            return Key(search.name.removeprefix("UN"), search.arguments)
    return Not(search)


def _write_or(parts: Sequence[Search]) -> Iterator[Part]:
    """OR takes two: a balanced tree, for servers that parse by recursion."""
    if len(parts) == 1:
        yield from _write(parts[0], inside_or=True)
        return
    half = len(parts) // 2
    yield b"OR "
    yield from _write_or(parts[:half])
    yield b" "
    yield from _write_or(parts[half:])


def _write_age(key: Key) -> Iterator[Part]:
    """OLDER and YOUNGER as days, widened by two: WITHIN (RFC 5032) is rare, and zones differ."""
    seconds = key.arguments[0]
    assert isinstance(seconds, int)
    older = key.name == "OLDER"
    try:
        day = (datetime.now(UTC) - timedelta(seconds=seconds) + timedelta(days=2 if older else -2)).date()
    except OverflowError:
        yield b"ALL"
        return
    yield from _write_key(Key("BEFORE" if older else "SINCE", (day,)))


def _write_key(key: Key) -> Iterator[Part]:
    if key.name in ("OLDER", "YOUNGER"):
        yield from _write_age(key)
        return
    if not _KEY.fullmatch(key.name):
        raise PermanentError(f"'{key.name}' is not a search key.")
    yield key.name.encode()
    for argument in key.arguments:
        yield b" "
        if isinstance(argument, date):
            yield f"{argument.day}-{_MONTHS[argument.month - 1]}-{argument.year:04}".encode()
        elif isinstance(argument, int):
            yield str(argument).encode()
        elif key.name in _ATOM_KEYS:
            if not _ATOM.fullmatch(argument):
                raise PermanentError(f"'{argument}' can't be a keyword.")
            yield argument.encode()
        elif key.name == "UID":
            yield str(UidSet.parse(argument)).encode()
        else:
            yield astring(argument)


# -- the answer -----------------------------------------------------------------------------------


def read_search(untagged: Iterable[Response]) -> list[int]:
    """The UIDs of SEARCH responses, as they came: any number of lines, any order."""
    found: list[int] = []
    for response in untagged:
        line = response[0]
        if line[:8].upper() == b"* SEARCH" and line[8:9] in (b"", b" "):
            words = line[8:].split(b"(", 1)[0]  # (MODSEQ n) may follow
            # One by one: a list of a million words would take more memory than their numbers.
            uids = (numeral(word[0]) for word in _WORDS.finditer(words))
            found.extend(uid for uid in uids if uid is not None)
    return found


def _sane(uids: UidSet) -> bool:
    """Whether a mailbox may have so many: `1:4294967295` takes a server a few bytes, and us all memory."""
    count = sum(high - low + 1 for low, high in uids.ranges())
    return count <= MOST_UIDS and uids.highest <= LARGEST


def read_esearch(untagged: Iterable[Response]) -> UidSet | None:
    """The UIDs of an ESEARCH response (RFC 4731); None if there is none that can be trusted.

    iCloud answers with a COUNT whatever was asked for.
    """
    for response in untagged:
        if response[0][:10].upper() != b"* ESEARCH " and response[0].upper() != b"* ESEARCH":
            continue
        try:
            words = tokens(response, 10)
            names = [word.upper() if isinstance(word, bytes) else b"" for word in words]
            if b"ALL" in names:
                uids = UidSet.parse(words[names.index(b"ALL") + 1].decode("ascii"))
                return uids if _sane(uids) else None
            if b"COUNT" in names and words[names.index(b"COUNT") + 1] != b"0":
                return None
        except (Unreadable, ValueError, IndexError, AttributeError):
            return None
        return UidSet()
    return None
