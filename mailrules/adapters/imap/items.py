"""One FETCH response into its items. What servers usually send is read by one expression, the rest by tokens.

Both give the same: the fast way declines whatever it would read differently.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import Any

from mailrules.adapters.imap.framing import Response
from mailrules.adapters.imap.tokens import Unreadable, number, pairs, tokens

Items = dict[bytes, Any]
"""One message's FETCH items by upper-case name, as `tokens` gives them; UID as a number."""

_FETCH = re.compile(rb"\* \d+ FETCH ", re.IGNORECASE)
# Items that come with a blank or the end behind them; `\0` stands for the literal.
_USUAL = re.compile(
    rb"""\*\ \d+\ FETCH\ \((?:(?:
        UID\ (\d{1,18})
      | BODY(\[HEADER[^\]\0]*\])\ \0
      | FLAGS\ \(([!\#-'*-Z\\^-~ ]*)\)
      | INTERNALDATE\ "([^"\\\0]*)"
      | RFC822\.SIZE\ (\d+)
    )(?:\ (?!\))|(?=\)$)))+\)""",
    re.VERBOSE | re.IGNORECASE,
)


def read_fetch(response: Response) -> Items | None:
    """The items of a FETCH response; None if it is another one. Raises Unreadable."""
    parts = len(response)
    if parts == 3:
        usual = _USUAL.fullmatch(b"%b\0%b" % (response[0], response[2]))
    else:
        usual = _USUAL.fullmatch(response[0]) if parts == 1 else None
    if usual is not None:
        uid, section, flags, date, size = usual.groups()
        if (section is not None) == (parts == 3) and (not flags or b"NIL" not in flags.upper()):
            items: Items = {}
            if uid is not None:
                items[b"UID"] = int(uid)
            if section is not None:
                items[b"BODY" + section.upper()] = response[1]
            if flags is not None:
                items[b"FLAGS"] = flags.split()
            if date is not None:
                items[b"INTERNALDATE"] = date
            if size is not None:
                items[b"RFC822.SIZE"] = size
            return items
    return read_any_fetch(response)


def read_any_fetch(response: Response) -> Items | None:
    """As `read_fetch`, token by token."""
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


_BEFORE = {
    b"FLAGS": rb"FLAGS \(([!#-'*-Z\\^-~ ]*)\)",
    b"INTERNALDATE": rb'INTERNALDATE "([^"\\]*)"',
    b"RFC822.SIZE": rb"RFC822\.SIZE (\d{1,18})",
    b"X-GUID": rb"X-GUID (?!NIL )([0-9A-Za-z]{1,64})",
    b"X-GM-MSGID": rb"X-GM-MSGID (\d{1,20})",
    b"EMAILID": rb"EMAILID \((?!NIL\))([0-9A-Za-z_-]{1,255})\)",
}


class UsualAnswer:
    """What servers answer when they are asked for items the last of which is a header: read without tokens.

    `pattern` matches such an answer up to its literal. `made` gives None where `what` has no usual answer.
    """

    def __init__(self, names: Sequence[bytes], header: bytes) -> None:
        self._names = list(names)
        self._header = header
        before = b" ".join([_BEFORE[name] for name in names] + [re.escape(header)])
        self.pattern = re.compile(
            rb"\* \d+ FETCH \(UID (\d{1,18}) %b \{(\d{1,18})\}\r\n" % before, re.IGNORECASE
        )

    @classmethod
    def made(cls, what: Sequence[bytes]) -> UsualAnswer | None:
        *names, header = what
        if not header.startswith(b"BODY.PEEK[HEADER") or not set(names) <= _BEFORE.keys():
            return None
        return cls(names, answer_to(header))

    def read(self, groups: Sequence[bytes], block: bytes) -> Items:
        """The items, as `read_fetch` gives them."""
        items: Items = {b"UID": int(groups[0]), self._header: block}
        for name, value in zip(self._names, groups[1:], strict=False):
            if name == b"FLAGS":
                items[name] = [flag for flag in value.split() if flag.upper() != b"NIL"]
            elif name == b"EMAILID":
                items[name] = [value]
            else:
                items[name] = value
        return items


def answer_to(item: bytes) -> bytes:
    """The name of what answers BODY.PEEK[…]."""
    return item.replace(b"BODY.PEEK[", b"BODY[", 1).upper()


def header_block(items: Mapping[bytes, Any], asked: bytes = b"") -> bytes | None:
    """What came for the BODY[HEADER…] that was asked for, however the server spells it.

    `asked` is how we spelled it, without PEEK: most servers repeat that.
    """
    block = items.get(asked)
    if type(block) is bytes:
        return block
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
    try:
        zone = _zone(sign, hours, minutes) if sign else UTC
        return datetime(
            int(year), _MONTHS[month.lower()], int(day), int(hour), int(minute), min(int(second or 0), 59),
            tzinfo=zone,
        )  # fmt: skip
    except (ValueError, KeyError):
        raise Unreadable(f"{value!r} is not a date") from None


@lru_cache(maxsize=200)
def _zone(sign: bytes, hours: bytes, minutes: bytes) -> timezone:
    offset = timedelta(hours=int(hours), minutes=int(minutes))
    return timezone(-offset if sign == b"-" else offset)
