"""What templates see of a message and around it (SPEC section 5), as plain str, int, list and dict.

`NAMES` is the tree of everything there is: a template is checked against it when the file is loaded,
and its facts are read from it. What mail says is cut, and cleaned of control characters, here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, tzinfo
from email.utils import parsedate_to_datetime
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from mailrules.core import headers
from mailrules.core.message import FLAGS, INTERNALDATE, SIZE, Fact, Message, header_fact

if TYPE_CHECKING:
    from mailrules.core.actions.base import RenderContext

LONGEST_VALUE = 64 * 1024
"""Characters of one value from mail that a template sees (RELIABILITY A2)."""
MOST_ADDRESSES = 200


class Kind(Enum):
    """What a name in a template stands for."""

    TEXT = "text"
    NUMBER = "a number"
    TEXTS = "a list"
    TIME = "a time"
    ADDRESS = "an address"
    ADDRESSES = "a list of addresses"
    HEADERS = "the headers"
    MESSAGE = "the message"
    VARS = "the account's vars"
    MATCH = "the groups of the conditions"
    ACCOUNT = "the account"


_TIME = {
    "year": Kind.NUMBER, "month": Kind.NUMBER, "day": Kind.NUMBER, "hour": Kind.NUMBER,
    "minute": Kind.NUMBER, "second": Kind.NUMBER, "week": Kind.NUMBER, "weekday": Kind.TEXT,
    "date": Kind.TEXT, "time": Kind.TEXT, "iso": Kind.TEXT,
}  # fmt: skip
_ADDRESS = {"address": Kind.TEXT, "name": Kind.TEXT, "domain": Kind.TEXT, "localpart": Kind.TEXT}
_MESSAGE = {
    "subject": Kind.TEXT, "from": Kind.ADDRESS, "sender": Kind.ADDRESS, "reply_to": Kind.ADDRESSES,
    "to": Kind.ADDRESSES, "cc": Kind.ADDRESSES, "list_id": Kind.TEXT, "date": Kind.TIME,
    "message_id": Kind.TEXT, "in_reply_to": Kind.TEXT, "size": Kind.NUMBER, "uid": Kind.NUMBER,
    "flags": Kind.TEXTS, "headers": Kind.HEADERS,
}  # fmt: skip

NAMES: dict[str, Kind] = {
    "message": Kind.MESSAGE, "received": Kind.TIME, "now": Kind.TIME, "account": Kind.ACCOUNT,
    "mailbox": Kind.TEXT, "rule": Kind.TEXT, "vars": Kind.VARS, "match": Kind.MATCH,
}  # fmt: skip
ATTRIBUTES: dict[Kind, dict[str, Kind]] = {
    Kind.MESSAGE: _MESSAGE,
    Kind.TIME: _TIME,
    Kind.ADDRESS: _ADDRESS,
    Kind.ACCOUNT: {"name": Kind.TEXT, "address": Kind.TEXT},
}
FROM_MAIL = frozenset({"message", "match"})
"""The names whose values a stranger chooses."""

_FACTS: dict[str, Fact | None] = {"size": SIZE, "flags": FLAGS, "uid": None}
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Used:
    """What one template reads: names, parts of `message`, and header names."""

    names: frozenset[str] = frozenset()
    message: frozenset[str] = frozenset()
    headers: frozenset[str] = frozenset()

    def facts(self) -> frozenset[Fact]:
        """The facts behind them."""
        facts = {header_fact(name) for name in self.headers}
        for part in self.message - {"headers"}:
            fact = _FACTS.get(part, header_fact(part.replace("_", "-")))
            if fact is not None:
                facts.add(fact)
        if "received" in self.names:
            facts.add(INTERNALDATE)
        return frozenset(facts)


def build(used: Used, message: Message, context: RenderContext) -> dict[str, Any]:
    """The values of these names. Raises MissingFact or UnknownFact."""
    values: dict[str, Any] = {
        "account": {"text": context.account, "name": context.account, "address": context.address},
        "mailbox": message.key.mailbox,
        "rule": context.rule,
        "vars": {str(name): str(value) for name, value in context.vars.items()},
    }
    if "match" in used.names:
        values["match"] = {name: clean(value, keep="\n\t") for name, value in context.match.items()}
    if "received" in used.names:
        values["received"] = time_value(message.internaldate, zone(context.timezone))
    if "now" in used.names:
        values["now"] = time_value(message.fetched_at, zone(context.timezone))
    if "message" in used.names:
        values["message"] = {part: _part(part, used, message, context) for part in used.message}
    return values


def _part(part: str, used: Used, message: Message, context: RenderContext) -> Any:
    if part == "uid":
        return message.key.uid
    if part == "size":
        return message.size
    if part == "flags":
        return sorted(message.flags)
    if part == "headers":
        return {name: _first(message.header(name)) for name in used.headers}
    raws = message.header(part.replace("_", "-"))
    memo = ("template", part, context.timezone)
    if memo not in message.memo:
        message.memo[memo] = _decoded(part, raws, context)
    return message.memo[memo]


def _decoded(part: str, raws: tuple[bytes, ...], context: RenderContext) -> Any:
    kind = _MESSAGE[part]
    if kind is Kind.ADDRESS:
        return next(iter(_addresses(raws)), address_value("", "", ""))
    if kind is Kind.ADDRESSES:
        return _addresses(raws)
    if kind is Kind.TIME:
        return _sent(raws, zone(context.timezone))
    text = _first(raws)
    if part == "list_id":
        inside = re.findall(r"<([^<>]*)>", text)
        return (inside[-1] if inside else text).strip()
    return text


def _first(raws: tuple[bytes, ...]) -> str:
    return clean(headers.decode(raws[0])).strip() if raws else ""


def _addresses(raws: tuple[bytes, ...]) -> list[dict[str, str]]:
    found = headers.addresses(raws)[:MOST_ADDRESSES]
    return [address_value(clean(a.name).strip(), clean(a.local), clean(a.domain)) for a in found]


def address_value(name: str, local: str, domain: str) -> dict[str, str]:
    """One address as templates see it; printed whole, it is the bare address."""
    address = f"{local}@{domain}" if domain else local
    return {"text": address, "address": address, "name": name, "domain": domain, "localpart": local}


def time_value(moment: datetime, where: tzinfo | None) -> dict[str, Any]:
    """One moment in a zone as templates see it; printed whole, it is RFC 3339."""
    try:
        moment = moment.astimezone(where)
    except (OverflowError, ValueError):
        pass  # year 1 or 9999, moved over the edge of the calendar
    return {
        "text": moment.isoformat(timespec="seconds"), "iso": moment.isoformat(timespec="seconds"),
        "year": moment.year, "month": moment.month, "day": moment.day, "hour": moment.hour,
        "minute": moment.minute, "second": moment.second, "week": moment.isocalendar().week,
        "weekday": _WEEKDAYS[moment.weekday()],
        "date": moment.date().isoformat(), "time": moment.strftime("%H:%M"),
    }  # fmt: skip


def _sent(raws: tuple[bytes, ...], where: tzinfo | None) -> dict[str, Any]:
    """Date, or {} if it is absent or can't be read: then its parts are undefined."""
    try:
        return time_value(parsedate_to_datetime(_first(raws)), where)
    except (TypeError, ValueError, IndexError, OverflowError, AttributeError):
        return {}


@lru_cache(maxsize=64)
def zone(name: str) -> tzinfo | None:
    """The zone of that name; None (the system's) if there is none."""
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        return None


_CONTROLS: dict[int, str | None] = {
    **dict.fromkeys(range(0xD800, 0xE000), "\N{REPLACEMENT CHARACTER}"),
    **dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)), None),
    **dict.fromkeys((*range(0x09, 0x0E), 0x85, 0x2028, 0x2029), " "),
}
_CLEANING = {"": _CONTROLS, "\n\t": {c: to for c, to in _CONTROLS.items() if c not in (9, 10)}}


def clean(text: str, *, keep: str = "") -> str:
    """A value from mail: cut, without control characters and lone surrogates; white space becomes blanks.

    `keep`: white space that stays, "" or newline and tab.
    """
    text = text[:LONGEST_VALUE]
    return text if text.isascii() and text.isprintable() else text.translate(_CLEANING[keep])
