"""Clues of text and address tests: what is there whenever the test holds."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mailrules.core.clue import Clue, Clues, best_clues
from mailrules.core.conditions.address_test import AddressTest, Patterns
from mailrules.core.patterns import Glob
from mailrules.core.text import TextTest

View = tuple[object, ...]
MOST_REGEXES = 20
"""Regular expressions of one test that are worth searching beforehand."""


def clues_of_test(test: TextTest, view: View) -> Clues | None:
    """Of a text test in one view."""
    if test.exists is not None:
        return frozenset([Clue(view, "there")]) if test.exists else None
    parts: list[Clues | None] = []
    # Case-sensitive needles are in another form than what clues are looked for in.
    if not test.case_sensitive:
        if test.is_ is not None:
            parts.append(frozenset(Clue(view, "is", text) for text in test.is_))
        parts += [_pieces(needles, view) for needles in (test.contains, test.starts_with, test.ends_with)]
        if test.glob is not None:
            parts.append(_pieces((_literal(glob) for glob in test.glob), view))
    if test.regex is not None and len(test.regex) <= MOST_REGEXES:
        parts.append(
            frozenset(
                Clue(view, "regex", regex.pattern, case_sensitive=test.case_sensitive) for regex in test.regex
            )
        )
    if test.also is not None:
        parts.append(clues_of_test(test.also, view))
    return best_clues(parts)


def _pieces(needles: Iterable[str] | None, view: View) -> Clues | None:
    if needles is None:
        return None
    clues = frozenset(Clue(view, "contains", needle) for needle in needles)
    return None if any(not clue.value for clue in clues) else clues


def _literal(glob: Glob) -> str:
    """The longest piece of a glob without wildcards, or ""."""
    return "" if "\\" in glob.text else max(re.split(r"[*?]", glob.text), key=len)


def clues_of_addresses(test: AddressTest, headers: tuple[str, ...]) -> Clues | None:
    """Of an address test on these headers."""
    view: View = ("mailboxes", headers)
    if test.exists is not None:
        if not test.exists:
            return None
        return frozenset(Clue(("texts", name), "there") for name in headers)
    parts = [_of_patterns(patterns, view) for patterns in test.patterns]
    if test.domains is not None:
        parts.append(_of_patterns(test.domains, view))
    parts += [clues_of_test(each, ("part", headers, part)) for part, each in test.texts]
    return best_clues(parts)


def _of_patterns(patterns: Patterns, view: View) -> Clues | None:
    found = {
        *(Clue(view, "address", address) for address in patterns.addresses),
        *(Clue(view, "domain", domain) for domain in patterns.domains),
        *(Clue(view, "under", domain) for domain in patterns.suffixes),
    }
    for glob in (*patterns.address_globs, *patterns.domain_globs):
        # An address ends in its domain, so what is in the domain is in the address.
        literal = max(re.split(r"[*?]", glob.text.replace("\\\\", "\0")), key=len)
        if not literal or "\0" in literal:
            return None
        found.add(Clue(view, "contains", literal))
    return frozenset(found)
