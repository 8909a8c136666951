"""What can be proven of conditions without a message: that one follows from another, that none can hold.

For lint. Everything here is sound and nothing is complete: `implies` and `never` say yes only where it is
so for every message, and no where that can't be told. A condition becomes terms (a disjunction of
conjunctions) of literals; a literal is an atom that is true, or false. Unknown is neither, so what is
proven here is proven of true and false only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from typing import Any

from mailrules.core.address import Address
from mailrules.core.conditions.address import _AddressCondition
from mailrules.core.conditions.address_test import AddressTest, Patterns
from mailrules.core.conditions.attachment import Attachment
from mailrules.core.conditions.auth import Auth
from mailrules.core.conditions.base import Condition
from mailrules.core.conditions.date import DateTest, NewerThan, OlderThan, _DateCondition
from mailrules.core.conditions.flags import _FlagCondition
from mailrules.core.conditions.header import Exists, Header
from mailrules.core.conditions.logic import All, Always, AnyOf, Not
from mailrules.core.conditions.size import LargerThan, SmallerThan
from mailrules.core.conditions.text import TextCondition
from mailrules.core.conditions.views import Mailbox
from mailrules.core.text import Text, TextTest, text_test

MOST_TERMS = 64
_MOST_LISTED = 2000
"""Entries of one test that are compared each with each; what is longer is left alone."""

View = tuple[object, ...]
KEYWORDS: View = ("keyword",)
_BULK_VIEWS = (("list ids",), ("texts", "list-id"), ("texts", "list-unsubscribe"))
_ASKED_ANEW = frozenset({"script"})
"""Conditions that need not answer the same twice."""


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """Some value of a view passes a text test."""

    view: View
    test: TextTest


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """Some mailbox in these headers passes an address test."""

    headers: tuple[str, ...]
    test: AddressTest


@dataclass(frozen=True, slots=True)
class There:
    """A view is not empty."""

    view: View


@dataclass(frozen=True, slots=True)
class Is:
    """Something that is so or not: a flag, bulk mail."""

    what: str


@dataclass(frozen=True, slots=True)
class Within:
    """A number lies in a span, both ends included; None: no end."""

    what: str
    low: int | None = None
    high: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class When:
    """A date passes a test."""

    what: str
    test: DateTest


@dataclass(frozen=True, slots=True, eq=False)
class Other:
    """Any other condition, as it stands."""

    condition: Condition


Atom = Words | People | There | Is | Within | When | Other


@dataclass(frozen=True, slots=True, eq=False)
class Literal:
    """An atom that is true, or false; and the condition of the file that it came from."""

    atom: Atom
    true: bool
    condition: Condition
    of_flags: bool = False
    """What a rule does to the message may change it."""


Term = tuple[Literal, ...]


class _TooMany(Exception):
    pass


def terms(condition: Condition) -> tuple[Term, ...] | None:
    """When it is true: one of these terms is, all literals of it. None: too many to look at."""
    try:
        return tuple(_terms(condition, True))
    except _TooMany:
        return None


def _terms(condition: Condition, true: bool) -> list[Term]:
    if isinstance(condition, Always):
        return [()] if true else []
    if isinstance(condition, Not):
        return _terms(condition.condition, not true)
    if isinstance(condition, All | AnyOf):
        return _joined(
            [_terms(each, true) for each in condition.conditions], every=isinstance(condition, All) is true
        )
    parts, every = _atoms(condition)
    of_flags = any(fact.kind in _CHANGEABLE for fact in condition.facts())
    literals: list[list[Term]] = [[(_signed(atom, so is true, condition, of_flags),)] for atom, so in parts]
    return _joined(literals, every=every is true)


def _joined(parts: Sequence[list[Term]], *, every: bool) -> list[Term]:
    if not every:
        found = [term for part in parts for term in part]
    else:
        found = [()]
        for part in parts:
            if len(found) * len(part) > MOST_TERMS:
                raise _TooMany
            found = [(*one, *other) for one in found for other in part]
    if len(found) > MOST_TERMS:
        raise _TooMany
    return found


def _atoms(condition: Condition) -> tuple[list[tuple[Atom, bool]], bool]:
    """The atoms of one condition, whether each is meant to be true, and whether every one must be."""
    if isinstance(condition, Header):
        return [_words(("texts", name), test) for name, test in condition.tests], True
    if isinstance(condition, Exists):
        return [(There(("texts", name)), True) for name in condition.names], False
    if isinstance(condition, _AddressCondition):
        exists = condition.test.exists
        if exists is None:
            return [(People(condition.headers, condition.test), True)], True
        return [(There(("texts", name)), exists) for name in condition.headers], not exists
    if isinstance(condition, TextCondition):
        return [_words(condition.view or (condition.key,), condition.test)], True
    if isinstance(condition, LargerThan):
        return [(Within("size", low=condition.size + 1), True)], True
    if isinstance(condition, SmallerThan):
        return [(Within("size", high=condition.size - 1), True)], True
    if isinstance(condition, OlderThan):
        return [(Within("age", low=_ticks(condition.age)), True)], True
    if isinstance(condition, NewerThan):
        return [(Within("age", high=_ticks(condition.age) - 1), True)], True
    if isinstance(condition, _DateCondition):
        return [(When(condition.key, condition.test), True)], True
    if isinstance(condition, _FlagCondition):
        return [(Is(condition.flag.lower()), condition.wanted)], True
    wanted = getattr(condition, "wanted", None)
    if isinstance(wanted, bool):
        return [(Is(condition.key), wanted)], True
    return [(Other(condition), True)], True


def _words(view: View, test: TextTest) -> tuple[Atom, bool]:
    return (Words(view, test), True) if test.exists is None else (There(view), test.exists)


def _ticks(age: timedelta) -> int:
    return age // timedelta(microseconds=1)


def _signed(atom: Atom, true: bool, condition: Condition, of_flags: bool) -> Literal:
    if isinstance(atom, Within) and not true:  # the rest of the numbers: each span has one end
        if atom.low is not None:
            atom = Within(atom.what, high=atom.low - 1)
        elif atom.high is not None:
            atom = Within(atom.what, low=atom.high + 1)
        true = True
    return Literal(atom, true, condition, of_flags)


# -- never ------------------------------------------------------------------------------------------------
Clash = tuple[Literal, Literal | None]
"""What can't be together; or one literal that can't be."""


def never(found: tuple[Term, ...] | None) -> tuple[Clash, ...] | None:
    """Why none of these terms can be true, a clash for each; None where some may be."""
    if found is None:
        return None
    clashes = []
    for term in found:
        clash = clash_in(term)
        if clash is None:
            return None
        clashes.append(clash)
    return tuple(clashes)


def clash_in(term: Term) -> Clash | None:
    """Two literals of a term that exclude each other, or one that is impossible."""
    for literal in term:
        if literal.true and impossible(literal.atom):
            return literal, None
    for place, one in enumerate(term):
        for other in term[place + 1 :]:
            if excluded(one, other):
                return one, other
    return None


def excluded(one: Literal, other: Literal) -> bool:
    """Whether the two can't be together."""
    if one.true and other.true:
        return excludes(one.atom, other.atom)
    if one.true:
        return implies(one.atom, other.atom)
    return other.true and implies(other.atom, one.atom)


def impossible(atom: Atom) -> bool:
    """Whether no message makes it true."""
    if isinstance(atom, Words):
        return _no_text(atom.test)
    if isinstance(atom, People):
        return _nobody(atom.test)
    if isinstance(atom, When):
        return not _days_left(atom.test, atom.test)
    if isinstance(atom, Within):
        return atom.what == "size" and atom.high is not None and atom.high < 0
    if isinstance(atom, Other) and isinstance(atom.condition, Attachment):
        low, high = atom.condition.larger_than, atom.condition.smaller_than
        if high is not None and high <= max(low if low is not None else -1, -1) + 1:
            return True
        return any(test is not None and _no_text(test) for test in (atom.condition.name, atom.condition.type))
    return False


def excludes(one: Atom, other: Atom) -> bool:
    """Whether no message makes both true."""
    if isinstance(one, Within) and isinstance(other, Within):
        low = max((each for each in (one.low, other.low) if each is not None), default=None)
        high = min((each for each in (one.high, other.high) if each is not None), default=None)
        return one.what == other.what and low is not None and high is not None and low > high
    if isinstance(one, When) and isinstance(other, When):
        return one.what == other.what and not _days_left(one.test, other.test)
    if isinstance(one, Other) and isinstance(other, Other):
        a, b = one.condition, other.condition
        if isinstance(a, Auth) and isinstance(b, Auth):
            wanted = dict(b.wanted)
            return any(method in wanted and not (results & wanted[method]) for method, results in a.wanted)
    return False


def _no_text(test: TextTest) -> bool:
    """Whether no value passes."""
    if test.exists is not None:
        return False
    each = (test.contains, test.is_, test.starts_with, test.ends_with, test.glob, test.regex)
    if any(values is not None and not values for values in each):
        return True
    if test.also is not None and _no_text(test.also):
        return True
    return test.is_ is not None and not any(_may_pass(test, value) for value in test.is_)


def _may_pass(test: TextTest, value: str) -> bool:
    """Whether a value that reads so in the form of `is` may pass: by all but regexes, which see another."""
    text = Text(value)
    if (text.squeezed if test.case_sensitive else text.folded) != value:
        return True  # a rare letter that has no form of its own
    if not replace(test, regex=None, also=None, only=None).holds(text):
        return False
    also = test.also
    if also is None or also.case_sensitive is not test.case_sensitive:
        return True
    return _may_pass(also, value)


def _nobody(test: AddressTest) -> bool:
    if test.exists is not None:
        return False
    if any(_empty(patterns) for patterns in test.patterns) or (test.domains and _empty(test.domains)):
        return True
    if any(_no_text(words) for _, words in test.texts):
        return True
    for patterns in test.patterns:
        only = not (patterns.domains or patterns.suffixes or patterns.globs)
        if only and len(patterns.addresses) <= _MOST_LISTED:
            bare = replace(test, texts=())
            if not any(bare.holds(_mailbox(address)) for address in patterns.addresses):
                return True
    return False


def _empty(patterns: Patterns) -> bool:
    return not (patterns.addresses or patterns.domains or patterns.suffixes or patterns.globs)


def _mailbox(address: str) -> Mailbox:
    local, _, domain = address.rpartition("@")
    return Mailbox(Address(name="", local=local, domain=domain))


def _days_left(one: DateTest, other: DateTest) -> bool:
    """Whether some day may pass both."""
    since = max((test.since for test in (one, other) if test.since is not None), default=None)
    before = min((test.before for test in (one, other) if test.before is not None), default=None)
    if since is not None and before is not None and since >= before:
        return False
    plain = one.between is None and other.between is None  # over midnight the weekday is another day's
    weekdays = None
    if plain:
        for test in (one, other):
            if test.weekdays is not None:
                weekdays = test.weekdays if weekdays is None else weekdays & test.weekdays
        if weekdays is not None and not weekdays:
            return False
    days = None
    for test in (one, other):
        if test.on is not None:
            days = test.on if days is None else days & test.on
    if days is None:
        return True
    return any(
        (since is None or day >= since)
        and (before is None or day < before)
        and (weekdays is None or day.weekday() in weekdays)
        for day in days
    )


# -- implies ----------------------------------------------------------------------------------------------
def follows(found: tuple[Term, ...] | None, others: tuple[Term, ...] | None) -> bool:
    """Whether one of `others` is true whenever one of `found` is."""
    if found is None or others is None:
        return False
    return all(any(term_follows(term, other) for other in others) for term in found if clash_in(term) is None)


def term_follows(term: Term, other: Term) -> bool:
    """Whether every literal of `other` follows from one of `term`."""
    return all(any(literal_follows(one, wanted) for one in term) for wanted in other)


def literal_follows(one: Literal, other: Literal) -> bool:
    if one.true and other.true:
        return implies(one.atom, other.atom)
    if one.true:
        return excludes(one.atom, other.atom)
    return not other.true and implies(other.atom, one.atom)


def implies(one: Atom, other: Atom) -> bool:
    """Whether `other` is true whenever `one` is."""
    if isinstance(other, There):
        return other.view in _seen(one)
    if isinstance(one, Words) and isinstance(other, Words):
        return one.view == other.view and _text_follows(one.test, other.test)
    if isinstance(one, People) and isinstance(other, People):
        return set(one.headers) <= set(other.headers) and _people_follow(one.test, other.test)
    if isinstance(one, Within) and isinstance(other, Within):
        return (
            one.what == other.what
            and (other.low is None or (one.low is not None and one.low >= other.low))
            and (other.high is None or (one.high is not None and one.high <= other.high))
        )
    if isinstance(one, When) and isinstance(other, When):
        return one.what == other.what and _date_follows(one.test, other.test)
    if isinstance(other, Is):
        if other.what == "is_bulk":
            return any(view in _BULK_VIEWS for view in _seen(one))
        if other.what == "has_attachment":
            return isinstance(one, Other) and isinstance(one.condition, Attachment)
        return one == other
    if isinstance(one, Other) and isinstance(other, Other):
        return _other_follows(one.condition, other.condition)
    return False


def _seen(atom: Atom) -> tuple[View, ...]:
    """Views that are surely not empty when it is true."""
    if isinstance(atom, There):
        return (atom.view, ("list ids",)) if atom.view == ("texts", "list-id") else (atom.view,)
    if isinstance(atom, Words):
        return (atom.view, ("texts", "list-id")) if atom.view == ("list ids",) else (atom.view,)
    if isinstance(atom, People) and len(atom.headers) == 1:
        return (("texts", atom.headers[0]),)
    return ()


def _other_follows(one: Condition, other: Condition) -> bool:
    if isinstance(one, Auth) and isinstance(other, Auth):
        wanted = dict(one.wanted)
        return all(method in wanted and wanted[method] <= results for method, results in other.wanted)
    same = one.key == other.key and type(one) is type(other) and one.key not in _ASKED_ANEW
    return same and one.argument() == other.argument() and one.argument() is not None


def _date_follows(one: DateTest, other: DateTest) -> bool:
    def inner(mine: Any, its: Any, fits: bool) -> bool:
        return its is None or (mine is not None and fits)

    hours = (one.between, one.weekdays) == (other.between, other.weekdays) or (
        other.between is None
        and (
            other.weekdays is None
            or (one.between is None and one.weekdays is not None and one.weekdays <= other.weekdays)
        )
    )
    return (
        hours
        and one.zone == other.zone
        and (other.since is None or (one.since is not None and one.since >= other.since))
        and (other.before is None or (one.before is not None and one.before <= other.before))
        and inner(one.on, other.on, (one.on or frozenset()) <= (other.on or frozenset()))
    )


def _text_follows(one: TextTest, other: TextTest) -> bool:
    """Of the same value: whether it passes `other` whenever it passes `one`."""
    if one.exists is not None or other.exists is not None:
        return False
    if one is other:
        return True
    chain = [one]
    while chain[-1].also is not None:
        chain.append(chain[-1].also)
    if not all(
        any(_operator_follows(each, other, operator) for each in chain) for operator in _operators(other)
    ):
        return False
    return other.also is None or _text_follows(one, other.also)


def _operators(test: TextTest) -> list[str]:
    names = ("contains", "is_", "starts_with", "ends_with", "glob", "regex")
    return [name for name in names if getattr(test, name) is not None]


def _operator_follows(one: TextTest, other: TextTest, operator: str) -> bool:
    if one.case_sensitive is not other.case_sensitive:
        return False
    if operator == "regex":
        patterns = {regex.pattern for regex in other.regex or ()}
        return one.regex is not None and all(regex.pattern in patterns for regex in one.regex)
    if operator == "is_":
        return one.is_ is not None and other.is_ is not None and one.is_ <= other.is_
    if operator == "glob" and one.glob is not None:
        globs = {glob.text for glob in other.glob or ()}
        if all(glob.text in globs for glob in one.glob):
            return True
    if operator == "glob":
        return one.is_ is not None and _all(
            one.is_, other.glob or (), lambda value, glob: glob.matches(value)
        )
    pieces: list[Iterable[str] | None] = [one.is_]
    if operator == "contains":
        pieces += [one.contains, one.starts_with, one.ends_with]
        return any(p is not None and _all(p, other.contains or (), lambda v, n: n in v) for p in pieces)
    if operator == "starts_with":
        pieces.append(one.starts_with)
        return any(
            p is not None and _all(p, other.starts_with or (), lambda v, n: v.startswith(n)) for p in pieces
        )
    pieces.append(one.ends_with)
    return any(p is not None and _all(p, other.ends_with or (), lambda v, n: v.endswith(n)) for p in pieces)


def _all(values: Iterable[str], needles: Iterable[Any], fits: Any) -> bool:
    """Whether each value has a needle that fits; long lists are not looked at."""
    values, needles = list(values), list(needles)
    if len(values) * len(needles) > _MOST_LISTED:
        return False
    return all(any(fits(value, needle) for needle in needles) for value in values)


def _people_follow(one: AddressTest, other: AddressTest) -> bool:
    """Of the same mailbox: whether it passes `other` whenever it passes `one`."""
    mine = [*one.patterns, *([one.domains] if one.domains is not None else [])]
    wanted = [*other.patterns, *([other.domains] if other.domains is not None else [])]
    if not all(any(_within(each, its) for each in mine) for its in wanted):
        return False
    return all(
        any(part == its and _text_follows(test, words) for part, test in one.texts)
        for its, words in other.texts
    )


def _within(one: Patterns, other: Patterns) -> bool:
    """Whether everybody that `one` holds is held by `other`."""
    if sum(map(len, (one.addresses, one.domains, one.suffixes))) > _MOST_LISTED:
        return False
    globs = {glob.text for glob in other.address_globs}
    domain_globs = {glob.text for glob in other.domain_globs}
    return (
        all(other.hold(_mailbox(address)) for address in one.addresses)
        and all(_holds_domain(other, domain) for domain in one.domains)
        and all(_holds_under(other, domain) for domain in one.suffixes)
        and all(glob.text in globs for glob in one.address_globs)
        and all(glob.text in domain_globs for glob in one.domain_globs)
    )


def _holds_domain(patterns: Patterns, domain: str) -> bool:
    return (
        domain in patterns.domains
        or _holds_under(patterns, domain)
        or any(glob.matches(domain) for glob in patterns.domain_globs)
    )


def _holds_under(patterns: Patterns, domain: str) -> bool:
    labels = domain.split(".")
    return any(".".join(labels[place:]) in patterns.suffixes for place in range(len(labels)))


_CHANGEABLE = frozenset({"flags", "search", "gmail", "gmail_labels", "script"})


@lru_cache(maxsize=1000)
def keyword_is(name: str) -> Atom:
    """The message has that keyword."""
    return Words(KEYWORDS, text_test({"is": [name]}))
