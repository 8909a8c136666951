"""SEARCH keys for text tests: words that every message the test accepts must hold.

Only ASCII words without blanks: folding, runs of white space and charsets differ between us and
servers. Words are split at `ss`, which is also what `ß` folds to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from mailrules.core.search import Everything, Key, Search, all_of, any_of
from mailrules.core.text import TextTest

_WORD = re.compile(r"[!#-\[\]-~]+")
ANY = Everything(exact=False)


def word_of(text: str) -> str | None:
    """The longest word to ask for, or None."""
    words = [piece for word in _WORD.findall(text) for piece in word.split("ss") if piece]
    return max(words, key=len, default=None)


def one_of(texts: Iterable[str], key: Callable[[str], Search]) -> Search:
    """Any of these texts stands in it."""
    return any_of([ANY if (word := word_of(text)) is None else key(word) for text in texts])


def words_of_test(test: TextTest, key: Callable[[str], Search], *, present: Search = ANY) -> Search:
    """What `key` must select at least, for the test to hold. `present`: selects where there is a value."""
    if test.exists is not None:
        return present if test.exists else ANY
    parts: list[Search] = [
        one_of(needles, key)
        for needles in (test.contains, test.is_, test.starts_with, test.ends_with)
        if needles is not None
    ]
    if test.glob is not None:
        parts.append(one_of((_literal(glob.text) for glob in test.glob), key))
    if test.regex is not None:
        parts.append(ANY)
    if test.also is not None:
        parts.append(words_of_test(test.also, key))
    return all_of(parts)


def _literal(glob: str) -> str:
    """The longest piece of a glob without wildcards."""
    return "" if "\\" in glob else max(re.split(r"[*?]", glob), key=len)


def header_key(name: str) -> Callable[[str], Search]:
    """Makes keys for one header: SUBJECT, FROM and their like, else HEADER."""
    upper = name.upper()
    if upper in ("SUBJECT", "FROM", "TO", "CC", "BCC"):
        return lambda word: Key(upper, (word,), text=True)
    return lambda word: Key("HEADER", (name, word), text=True)


def header_present(name: str) -> Search:
    """The header is there (RFC 9051 section 6.4.4: an empty string)."""
    return Key("HEADER", (name, ""), text=True)
