"""What a condition asks of the server's SEARCH, as a value. `adapters/imap/search.py` writes it to the wire.

A Search selects *at least* every message its condition accepts, on a server whose SEARCH is right.
`exact` says that it selects nothing else: only then may it stand under a NOT.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta


class Search:
    """The base of Everything, Nothing, Key, And, Or and Not."""

    exact: bool = False


@dataclass(frozen=True, slots=True)
class Everything(Search):
    """Selects every message: nothing is spared."""

    exact: bool = True


@dataclass(frozen=True, slots=True)
class Nothing(Search):
    """Selects no message."""

    exact: bool = True


@dataclass(frozen=True, slots=True)
class Key(Search):
    """One search key of RFC 9051 section 6.4.4, upper case, with its arguments.

    `Key("LARGER", (500,))`, `Key("HEADER", ("List-Id", "python"))`, `Key("SINCE", (date,))`.
    Strings may hold anything but CR, LF and NUL; the adapter quotes or sends a literal.
    `changeable` names the flag whose effect by an earlier rule would make this key wrong.
    `text` marks keys that only a trusted SEARCH may use (header, body and text keys).
    `OLDER` and `YOUNGER` (seconds) never reach the wire: `usable` makes dates of them.
    """

    name: str
    arguments: tuple[str | int | date, ...] = ()
    exact: bool = False
    text: bool = False
    changeable: str | None = None


@dataclass(frozen=True, slots=True)
class And(Search):
    parts: tuple[Search, ...]
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Or(Search):
    parts: tuple[Search, ...]
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Not(Search):
    part: Search
    exact: bool = True


def all_of(parts: list[Search]) -> Search:
    """The conjunction: parts that select everything fall away; one Nothing makes it Nothing."""
    kept: list[Search] = []
    for part in parts:
        if isinstance(part, Nothing):
            return part
        if not isinstance(part, Everything):
            kept.append(part)
    exact = all(p.exact for p in parts)
    if not kept:
        return Everything(exact=exact)
    return kept[0] if len(kept) == 1 and exact == kept[0].exact else And(tuple(kept), exact=exact)


def any_of(parts: list[Search]) -> Search:
    """The disjunction: everything if one part is; parts that select nothing fall away."""
    kept: list[Search] = []
    for part in parts:
        if isinstance(part, Everything):
            return Everything(exact=part.exact and all(p.exact for p in parts))
        if not isinstance(part, Nothing):
            kept.append(part)
    if not kept:
        return Nothing()
    return kept[0] if len(kept) == 1 else Or(tuple(kept), exact=all(p.exact for p in parts))


def negation(part: Search) -> Search:
    """NOT, only of what is exact: the complement of "at least" would be "at most"."""
    if not part.exact:
        return Everything(exact=False)
    if isinstance(part, Everything):
        return Nothing()
    if isinstance(part, Nothing):
        return Everything()
    return Not(part)


DAYS_OFF = 2
"""Dates are asked for this many days wider: servers disagree over zones (SPEC section 3)."""


def _dated(search: Key, now: datetime | None) -> Search:
    if now is None:
        return Everything(exact=False)
    try:
        moment = (now - timedelta(seconds=int(search.arguments[0]))).date()  # type: ignore[arg-type]
        if search.name == "OLDER":
            return Key("BEFORE", (moment + timedelta(days=DAYS_OFF + 1),))
        return Key("SINCE", (moment - timedelta(days=DAYS_OFF),))
    except OverflowError:  # before the year 1: leave the judging to the condition
        return Everything(exact=False)


def usable(
    search: Search,
    *,
    trusted: bool,
    changed_flags: frozenset[str] = frozenset(),
    now: datetime | None = None,
) -> Search:
    """The part of a Search that may leave messages out on this account (SPEC section 3, SEARCH).

    `changed_flags`: lower-case flags that rules may change before this condition is judged.
    `now`: the earliest moment that conditions take for now; without it, ages select everything.
    """
    if isinstance(search, Key) and search.name in ("OLDER", "YOUNGER"):
        return _dated(search, now)
    if isinstance(search, Key):
        changeable = search.changeable is not None and (
            search.changeable.lower() in changed_flags or "*" in changed_flags
        )
        if (search.text and not trusted) or changeable:
            return Everything(exact=False)
        return search
    if isinstance(search, And):
        return all_of(
            [usable(p, trusted=trusted, changed_flags=changed_flags, now=now) for p in search.parts]
        )
    if isinstance(search, Or):
        return any_of(
            [usable(p, trusted=trusted, changed_flags=changed_flags, now=now) for p in search.parts]
        )
    if isinstance(search, Not):
        return negation(usable(search.part, trusted=trusted, changed_flags=changed_flags, now=now))
    return search
