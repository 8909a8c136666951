"""Lint of rules together: one that another shadows, two that fight, one that meets its own work again.

A thousand rules are not compared each with each: a rule is looked up by what it asks for, and only the few
that may be concerned are compared in earnest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from mailrules.config.accounts import Account
from mailrules.config.lint_rule import place_of
from mailrules.config.lint_view import View
from mailrules.core import implication
from mailrules.core.conditions.address_test import Patterns
from mailrules.core.errors import Report
from mailrules.core.implication import Is, People, Term, There, Words

_MOST_LOOSE = 40
_MOST_PARTNERS = 20
_MOST_MARKS = 200
Mark = tuple[object, ...]


class Pairs:
    """Looks at rules together, in the order of the file."""

    def __init__(self, views: Sequence[View], accounts: Mapping[str, Account], report: Report) -> None:
        self._views = views
        self._accounts = accounts
        self._report = report

    def look(self) -> None:
        shadowed = self._shadows()
        rest = [view for view in self._views if view.index not in shadowed and view.never is None]
        self._fights(rest)
        self._to_and_fro(rest)
        self._rings(rest)
        for view in rest:
            self._own_work(view)

    # -- shadows --------------------------------------------------------------------------------------
    def _shadows(self) -> set[int]:
        """Warn of rules below one that stops or takes all that they could match."""
        index = _Index()
        found: set[int] = set()
        changers: list[int] = []
        for place, view in enumerate(self._views):
            if view.never is None and view.terms is not None:
                before = next(
                    (
                        self._views[earlier]
                        for earlier in index.candidates(view.live)
                        if self._shadowed(self._views[earlier], view, changers)
                    ),
                    None,
                )
                if before is not None:
                    found.add(view.index)
                    self._report.warning(view.path, _never_reached(view, before))
                elif view.stops or view.takes:
                    index.add(place, view.live)
            if view.changes_flags:
                changers.append(view.index)
        return found

    def _shadowed(self, first: View, view: View, changers: Sequence[int]) -> bool:
        """Whether `view` sees only messages that `first` has stopped or taken."""
        if view.rule.on_return == "apply" or not first.covers(view):
            return False
        # Scheduled rules look at earlier rules only for their `stop`.
        if view.rule.schedule is not None and (not first.stops or view.rule.on_new):
            return False
        changed = any(first.index < changer < view.index for changer in changers)
        for term in view.live:
            for other in first.live:
                flags = changed and any(literal.of_flags for literal in other)
                if not flags and implication.term_follows(term, other):
                    break
            else:
                return False
        return True

    # -- fights ---------------------------------------------------------------------------------------
    def _fights(self, views: Sequence[View]) -> None:
        """Warn of a rule that takes back each flag that one above it sets, or the other way round."""
        ends = [view.index for view in views if view.may_end]
        undoing: dict[tuple[str, bool], list[View]] = defaultdict(list)
        for view in views:
            for flags, on in ((view.sets, True), (view.clears, False)):
                for name in flags:
                    undoing[name, on].append(view)
        for view in views:
            if view.rule.schedule is not None or view.rule.dry_run or view.may_end or not view.live:
                continue
            for flags, on in ((view.sets, True), (view.clears, False)):
                for name, written in flags.items():
                    later = (each for each in undoing[name, not on] if each.index > view.index)
                    for other in islice(later, _MOST_PARTNERS):
                        if any(view.index < end < other.index for end in ends):
                            break
                        if self._fight(view, other):
                            did, does = ("sets", "clears") if on else ("clears", "sets")
                            self._report.warning(
                                other.place(None, under="then"),
                                f"the rule '{other.rule.name}' {does} {written} on every message where "
                                f"'{view.rule.name}' above {did} it. Remove one, or keep them apart with "
                                "unless.",
                                at="key",
                            )
                            break

    def _fight(self, view: View, other: View) -> bool:
        rule = other.rule
        if rule.schedule is not None or rule.dry_run or rule.on_return != view.rule.on_return:
            return False
        if not other.covers(view) or other.terms is None:
            return False
        between = [one for one in self._views if view.index < one.index < other.index]
        changed = any(one.changes_flags for one in between)
        for term in view.live:
            known = view.after(term)
            if changed:
                known = tuple(literal for literal in known if not literal.of_flags)
            if not any(implication.term_follows(known, wanted) for wanted in other.terms):
                return False
        return True

    def _to_and_fro(self, views: Sequence[View]) -> None:
        """Warn of two rules that carry the same mail from one mailbox to another and back."""
        moving: dict[str, list[tuple[View, str]]] = defaultdict(list)
        for view in views:
            for action, target in view.targets("move"):
                if view.rule.mailboxes is not None and not view.looks_at(target):
                    moving[target].append((view, action.key))
        for target, comers in moving.items():
            for back, others in moving.items():
                if back == target:
                    continue
                for view, _ in islice(comers, _MOST_PARTNERS):
                    for other, key in islice(others, _MOST_PARTNERS):
                        if view.index < other.index and _ping_pong(view, target, other, back):
                            self._report.warning(
                                place_of(other, key),
                                f"'{view.rule.name}' moves mail to '{target}', and '{other.rule.name}' moves "
                                f"it from there to '{back}'. mailrules leaves alone what it put there "
                                "itself, but each `apply` carries it to and fro. Narrow one of the two.",
                                at="key",
                            )

    def _rings(self, views: Sequence[View]) -> None:
        """Warn of a rule that sends back what another account of ours redirected to its own."""
        named = {(account.address or "").casefold(): account.name for account in self._accounts.values()}
        named.pop("", None)
        sending: dict[tuple[str, str], list[tuple[View, str]]] = defaultdict(list)
        for view in views:
            for action, address in view.recipients():
                for account in view.accounts:
                    if named.get(address, account.name) != account.name:
                        sending[account.name, named[address]].append((view, action.key))
        for (home, away), first in sending.items():
            for view, sent in islice(first, _MOST_PARTNERS):
                for other, back in islice(sending.get((away, home), ()), _MOST_PARTNERS):
                    if sent == "redirect" and home != away and _sent_back(view, other, away):
                        self._report.warning(
                            place_of(other, back),
                            f"on '{away}' the rule '{other.rule.name}' sends to '{home}' what "
                            f"'{view.rule.name}' redirects from there: that is refused as a loop, and the "
                            "rule fails. Write unless to keep them apart.",
                            at="key",
                        )

    # -- loops ----------------------------------------------------------------------------------------
    def _own_work(self, view: View) -> None:
        """Warn of a rule that meets what it moved or copied in another mailbox that it looks at."""
        if not view.live or view.terms is None or view.rule.schedule is not None:
            return
        for action, target in view.targets("copy", "move"):
            alone = action.key == "move" and view.rule.mailboxes == (target,)
            if alone or not view.watched(target):
                continue
            if not _still(view):
                return
            does = "copies it once more" if action.key == "copy" else "moves it to where it is"
            self._report.warning(
                place_of(view, action.key),
                f"the rule '{view.rule.name}' looks at '{target}', too, and matches there what it put there. "
                f"mailrules leaves its own work alone, but each `apply` {does}. Say under 'mailboxes' where "
                "the rule is to look, such as [INBOX].",
                at="key",
            )


def _never_reached(view: View, before: View) -> str:
    if before.live == ((),):
        return (
            f"the rule '{view.rule.name}' is never reached: '{before.rule.name}' takes every message "
            "before it. Move it up."
        )
    does = "takes" if before.takes else "stops at"
    return (
        f"the rule '{view.rule.name}' is never reached: '{before.rule.name}' above {does} every message that "
        "it could match. Move it up, or narrow the other."
    )


def _ping_pong(view: View, target: str, other: View, back: str) -> bool:
    if not view.watched(back) or not other.watched(target):
        return False
    if not {one.name for one in view.accounts} & {one.name for one in other.accounts}:
        return False
    if view.changes_flags or other.changes_flags or not view.live or not other.live:
        return False
    return implication.follows(view.live, other.live) or implication.follows(other.live, view.live)


def _still(view: View) -> bool:
    """Whether a message that it matched is sure to be matched once it has set its flags."""
    if not view.changes_flags or not any(literal.of_flags for term in view.live for literal in term):
        return True
    return all(
        any(implication.term_follows(view.after(term), other) for other in view.terms or ())
        for term in view.live
    )


def _sent_back(view: View, other: View, account: str) -> bool:
    """Whether `other` matches there what `view` redirects: a message keeps its headers and its text."""
    there = [one for one in other.watched("INBOX") if one.name == account]
    lasting = all(
        literal.true and isinstance(literal.atom, People | Words | There | Is) and not literal.of_flags
        for term in other.live
        for literal in term
    )
    return bool(there and view.live and lasting) and implication.follows(view.live, other.live)


# -- looking up -------------------------------------------------------------------------------------------
class _Index:
    """Terms by what they ask for, so that those that may follow from a term are found at once."""

    def __init__(self) -> None:
        self._marked: dict[Mark, list[int]] = defaultdict(list)
        self._loose: list[int] = []
        self._lengths: dict[object, set[int]] = defaultdict(set)

    def add(self, place: int, found: Sequence[Term]) -> None:
        for term in found:
            best = min((marks for marks in map(_marks, term) if marks), key=len, default=None)
            if best is None:
                if len(self._loose) < _MOST_LOOSE:
                    self._loose.append(place)
                continue
            for mark in best:
                self._marked[mark].append(place)
                if mark[0] == "words":
                    self._lengths[mark[1]].add(len(str(mark[2])))

    def candidates(self, found: Sequence[Term]) -> list[int]:
        """Places of rules of which a term may follow from the first of these, in order."""
        if not found:
            return []
        places = set(self._loose)
        for literal in found[0]:
            if literal.true:
                for mark in self._sought(literal.atom):
                    places.update(islice(self._marked.get(mark, ()), _MOST_LOOSE))
        return sorted(places)

    def _sought(self, atom: object) -> Iterator[Mark]:
        """What may be asked for by a term that follows from this; one value of each stands for all."""
        if isinstance(atom, Words):
            yield ("there", atom.view)
            chain = atom.test
            while chain is not None:
                for values in (chain.is_, chain.contains, chain.starts_with, chain.ends_with):
                    for value in islice(values or (), 1):
                        yield from self._pieces(atom.view, value)
                for regex in chain.regex or ():
                    yield ("regex", atom.view, regex.pattern)
                for glob in chain.glob or ():
                    yield ("glob", atom.view, glob.text)
                chain = chain.also  # type: ignore[assignment]
        elif isinstance(atom, There):
            yield ("there", atom.view)
        elif isinstance(atom, People):
            yield ("there", ("texts", atom.headers[0]))
            tests = [*atom.test.patterns, *([atom.test.domains] if atom.test.domains else [])]
            for patterns in tests:
                for mark in _people_sought(patterns):
                    yield ("people", atom.headers[0], *mark)

    def _pieces(self, view: object, value: str) -> Iterator[Mark]:
        for length in self._lengths.get(view, ()):
            for start in range(len(value) - length + 1):
                yield ("words", view, value[start : start + length])


def _marks(literal: implication.Literal) -> list[Mark] | None:
    """What a literal asks for: whatever it follows from asks for some of these. None: can't be said."""
    atom = literal.atom
    if not literal.true:
        return None
    if isinstance(atom, There):
        return [("there", atom.view)] if atom.view[0] == "texts" else None
    if isinstance(atom, Words):
        test = atom.test
        for values in (test.is_, test.contains, test.starts_with, test.ends_with):
            if values:
                few = len(values) <= _MOST_MARKS
                return [("words", atom.view, value) for value in values] if few else None
        return None
    if isinstance(atom, People):
        for patterns in (*atom.test.patterns, *([atom.test.domains] if atom.test.domains else [])):
            marks = list(islice(_people_marks(patterns), _MOST_MARKS + 1))
            if not patterns.globs and 0 < len(marks) <= _MOST_MARKS:
                return [("people", header, *mark) for header in atom.headers for mark in marks]
    return None


def _people_marks(patterns: Patterns) -> Iterator[Mark]:
    for address in patterns.addresses:
        yield ("address", address)
    for domain in patterns.domains:
        yield ("domain", domain)
    for domain in patterns.suffixes:
        yield ("under", domain)


def _people_sought(patterns: Patterns) -> Iterator[Mark]:
    for address in islice(patterns.addresses, 1):
        yield ("address", address)
        yield from _domain_sought(address.rpartition("@")[2])
    for domain in islice(patterns.domains, 1):
        yield from _domain_sought(domain)
    for domain in islice(patterns.suffixes, 1):
        yield from _domain_sought(domain)


def _domain_sought(domain: str) -> Iterable[Mark]:
    yield ("domain", domain)
    labels = domain.split(".")
    for place in range(len(labels)):
        yield ("under", ".".join(labels[place:]))
