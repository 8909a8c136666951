"""Many rules judged at the price of few: only those are judged whose clues a message shows.

Clues are looked for together: whole values in dictionaries, pieces and patterns in sets that RE2 searches
in one go. What the set leaves out would not have matched; where it can't tell (a fact that is not known
yet, a condition without clues) it leaves nothing out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, overload

import re2

from mailrules.core.clue import Clue
from mailrules.core.conditions.address_test import PARTS
from mailrules.core.conditions.views import Mailbox, header_texts, list_ids, mailboxes
from mailrules.core.message import Fact, Message, MissingFact, UnknownFact
from mailrules.core.rule import Rule
from mailrules.core.search import Search
from mailrules.core.sieve import Sieve, sieve
from mailrules.core.text import Text

FEW = 4
"""Up to so many patterns are searched one by one."""
MOST = 250
"""Patterns in one set: its automaton has a budget."""
_MEMORY = 32 << 20

Places = dict[str, list[int]]


class RuleSet(Sequence[Rule]):
    """Rules in their order, as `decide` takes them."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(rules)
        always: set[int] = set()
        clues: dict[tuple[object, ...], list[tuple[Clue, int]]] = defaultdict(list)
        for place, rule in enumerate(self._rules):
            found = rule.when.clues() if rule.enabled else None
            if found is None:
                always.add(place)
                continue
            for clue in found:
                clues[clue.view].append((clue, place))
        self._always = frozenset(always)
        self._seen = ("seen by the sieve", id(self))
        self._clues = dict(clues)
        self._views = [_view(view, those) for view, those in clues.items()]

    @cached_property
    def facts(self) -> frozenset[Fact]:
        """Every fact that a condition of an enabled rule may read."""
        return frozenset[Fact]().union(*(rule.when.facts() for rule in self._rules if rule.enabled))

    @cached_property
    def searches(self) -> Sequence[tuple[Search, frozenset[str]]]:
        """Of each enabled rule: what its condition asks of SEARCH; the flags that earlier rules change."""
        changed: frozenset[str] = frozenset()
        found = []
        for rule in self._rules:
            if rule.enabled:
                found.append((rule.when.search(), changed))
                changed = changed.union(*(action.changes() for action in rule.then))
        return found

    @cached_property
    def sieve(self) -> Sieve | None:
        """What sees which rules may match, in a block of the headers that conditions read; None: nothing.

        It is for blocks of just these headers, as the server sent them. `tell` hands on what it says.
        """
        names = [str(fact.argument) for fact in self.facts if fact.kind == "header"]
        if any(self._rules[place].enabled for place in self._always) or not self._clues or "*" in names:
            return None
        return sieve(self._clues, names)

    def tell(self, message: Message, seen: tuple[int, ...]) -> None:
        """What the sieve saw of this message: `candidates` need not look for itself."""
        message.memo[self._seen] = seen

    def candidates(self, message: Message) -> Sequence[Rule]:
        """The rules that may match, in their order."""
        seen = message.memo.get(self._seen)
        found = set(self._always if seen is None else seen)
        for view in self._views if seen is None else ():
            view.look(message, found)
        if not found:
            return []
        if len(found) == len(self._rules):
            return self._rules
        rules = self._rules
        return [rules[place] for place in sorted(found)]

    @overload
    def __getitem__(self, place: int) -> Rule: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Rule]: ...
    def __getitem__(self, place: int | slice) -> Rule | Sequence[Rule]:
        return self._rules[place]

    def __len__(self) -> int:
        return len(self._rules)

    def __iter__(self) -> Iterator[Rule]:
        return iter(self._rules)


class _View:
    """The clues in one view of a message."""

    def __init__(self, view: tuple[object, ...], clues: Iterable[tuple[Clue, int]]) -> None:
        self._view = view
        self._all: frozenset[int] = frozenset(place for _, place in clues)
        kinds: dict[str, Places] = defaultdict(lambda: defaultdict(list))
        for clue, place in clues:
            kind = f"{clue.kind}, case" if clue.case_sensitive else clue.kind
            kinds[kind][clue.value].append(place)
        self._kinds = kinds

    def look(self, message: Message, found: set[int]) -> None:
        """Add the places of rules whose clue is there. All of them, if nobody knows."""
        try:
            self._look(message, found)
        except (MissingFact, UnknownFact):
            found |= self._all

    def _look(self, message: Message, found: set[int]) -> None:
        raise NotImplementedError


class _Texts(_View):
    """Of texts: the subject, a header, a display name."""

    def __init__(self, view: tuple[object, ...], clues: Iterable[tuple[Clue, int]]) -> None:
        super().__init__(view, clues)
        self._is = self._kinds["is"]
        self._there = self._kinds["there"].get("", [])
        self._contains = _many(
            {re2.escape(needle): places for needle, places in self._kinds["contains"].items()},
            case_sensitive=True,
        )
        self._regex = [
            *_many(self._kinds["regex"], case_sensitive=False),
            *_many(self._kinds["regex, case"], case_sensitive=True),
        ]

        self._texts = _texts_of(view)

    def _look(self, message: Message, found: set[int]) -> None:
        for text in self._texts(message):
            if self._there:
                found.update(self._there)
            if self._is:
                found.update(self._is.get(text.folded, ()))
            if self._contains:
                folded = text.folded.encode("utf-8", "replace")
                for many in self._contains:
                    many.search(folded, found)
            for many in self._regex:
                many.search(text.encoded, found)


def _texts_of(view: tuple[Any, ...]) -> Callable[[Message], Iterable[Text]]:
    """What gives the texts of a view."""
    if view[0] == "texts":
        name = view[1]
        return lambda message: header_texts(message, name)
    if view[0] == "list ids":
        return list_ids
    headers, part = view[1], PARTS[view[2]]
    return lambda message: [text for box in mailboxes(message, headers) for text in part(box)]


class _Mailboxes(_View):
    """Of the mailboxes in From, To and their like."""

    def __init__(self, view: tuple[object, ...], clues: Iterable[tuple[Clue, int]]) -> None:
        super().__init__(view, clues)
        self._address = self._kinds["address"]
        self._domain = self._kinds["domain"]
        self._under = self._kinds["under"]
        self._there = self._kinds["there"].get("", [])
        self._contains = _many(
            {re2.escape(needle): places for needle, places in self._kinds["contains"].items()},
            case_sensitive=True,
        )

    def _look(self, message: Message, found: set[int]) -> None:
        boxes: tuple[Mailbox, ...] = mailboxes(message, self._view[1])  # type: ignore[arg-type]
        for box in boxes:
            found.update(self._there)
            if self._address:
                found.update(self._address.get(box.key, ()))
            domain = box.domain
            if domain:
                if self._domain:
                    found.update(self._domain.get(domain, ()))
                while self._under and domain:
                    found.update(self._under.get(domain, ()))
                    domain = domain.partition(".")[2]
            if self._contains:
                key = box.key.encode("utf-8", "replace")
                for many in self._contains:
                    many.search(key, found)


def _view(view: tuple[object, ...], clues: Iterable[tuple[Clue, int]]) -> _View:
    return _Mailboxes(view, clues) if view[0] == "mailboxes" else _Texts(view, clues)


class _Many:
    """Patterns searched together; each has the places of its rules."""

    def __init__(self, patterns: Places, options: Any) -> None:
        self._places = list(patterns.values())
        self._each = [re2.compile(pattern, options).search for pattern in patterns]
        self._set = _set(patterns, options) if len(patterns) > FEW else None

    def search(self, text: bytes, found: set[int]) -> None:
        """Add the places of the patterns that match."""
        places = self._places
        if self._set is not None:
            matches = self._set.Match(text)
            if matches:
                if len(matches) > 1:
                    last = len(places)
                    for match in matches:
                        if match != last:
                            found.update(places[match])
                return
        for search, those in zip(self._each, places, strict=True):
            if search(text) is not None:
                found.update(those)


def _set(patterns: Iterable[str], options: Any) -> Any:
    """A set of RE2; None if it takes too much memory."""
    together = re2.Set.SearchSet(options)
    try:
        for pattern in patterns:
            together.Add(pattern)
        # It always matches: without it in the answer, the automaton had no room, and nothing is known.
        together.Add("")
        together.Compile()
    except re2.error:
        return None
    return together


def _many(patterns: Places, *, case_sensitive: bool) -> list[_Many]:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    options.case_sensitive = case_sensitive
    items = list(patterns.items())
    return [_Many(dict(items[start : start + MOST]), options) for start in range(0, len(items), MOST)]
