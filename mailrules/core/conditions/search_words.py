"""SEARCH keys for text tests: words that every message the test accepts must hold.

Only ASCII words without blanks: folding, runs of white space and charsets differ between us and
servers. Some letters fold to several (Unicode's CaseFolding: `ß` to ss, the ligatures to ff, fi, fl,
st), and servers may leave them as they are; so words are split at what such a letter folds to, and lose
a first letter that may be its end and a last one that may be its beginning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from mailrules.core.search import Everything, Key, Search, all_of, any_of
from mailrules.core.text import TextTest

_WORD = re.compile(r"[!#-\[\]-~]+")
_EXPANSION = re.compile(r"ss|ff|fi|fl|st", re.IGNORECASE)
_ENDS = "sfiltnSFILTN"
"""Last letters of an expansion: of `ß`, the ligatures and `ŉ`."""
_BEGINNINGS = "sfaiSFAI"
"""First letters of one: of `ß`, the ligatures, `ẚ` and `İ`."""
ANY = Everything(exact=False)


def word_of(text: str) -> str | None:
    """The longest word to ask for, or None."""
    pieces = (_inner(piece) for word in _WORD.findall(text) for piece in _EXPANSION.split(word))
    return max(filter(None, pieces), key=len, default=None)


def _inner(piece: str) -> str:
    piece = piece[1:] if piece[:1] in _ENDS else piece
    return piece[:-1] if piece[-1:] in _BEGINNINGS else piece


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


def header_key(name: str, *, whole: bool = False) -> Callable[[str], Search]:
    """Makes keys for one header: SUBJECT, FROM and their like, else HEADER.

    `whole`: the field as it stands. FROM, TO, CC and BCC see its addresses only, and no comments.
    """
    upper = name.upper()
    if upper in ("SUBJECT", "FROM", "TO", "CC", "BCC") and not whole:
        return lambda word: Key(upper, (word,), text=True)
    return lambda word: Key("HEADER", (name, word), text=True)


def header_present(name: str) -> Search:
    """The header is there (RFC 9051 section 6.4.4: an empty string)."""
    return Key("HEADER", (name, ""), text=True)
