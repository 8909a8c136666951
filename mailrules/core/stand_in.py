"""Stand-ins for what people wrote: addresses, words and numbers become others, the same ones each time.

A text is a row of tokens with signs between them. `Names` gives each token its stand-in, and leaves alone
those that are to be kept; letter case and the number of digits stay as they were.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

Kind = Literal["local", "domain", "word", "number"]


class Token(NamedTuple):
    """One thing that is replaced wherever it stands. `text` is case-folded."""

    kind: Kind
    text: str


_TOKEN = re.compile(
    r"""(?P<local>[^\s@<>"(),;:\[\]\\=?/&#]+)@(?P<domain>[^\s@<>"(),;:\[\]\\=?]*[^\W_])
    | (?P<word>[^\W\d_](?:[^\W\d_]|[\u0300-\u036f])*) | (?P<number>\d+)""",
    re.VERBOSE,
)
_ONSETS = "bdfgklmnprstvz"
_VOWELS = "aeiou"


def tokens(text: str) -> Iterator[Token]:
    """Every token of a text, in order."""
    for match in _TOKEN.finditer(text):
        yield from _of(match)


def _of(match: re.Match[str]) -> Iterator[Token]:
    if match["local"] is not None:
        yield Token("local", match["local"].casefold())
        yield Token("domain", match["domain"].casefold())
    elif match["word"] is not None:
        yield Token("word", match["word"].casefold())
    else:
        yield Token("number", match["number"])


class Names:
    """Which stand-in each token has. `others`: how often one was sought anew, for it would not do."""

    def __init__(self, those: Iterable[Token]) -> None:
        self.order: dict[Token, int] = {}
        counts: dict[str, int] = {}
        for token in those:
            if token not in self.order:
                counts[token.kind] = counts.get(token.kind, 0) + 1
                self.order[token] = counts[token.kind]
        self._taken = {token.text for token in self.order}
        self.others: dict[Token, int] = {}

    def stand_in(self, token: Token) -> str:
        """What stands for it, in lower case; never a token of the original."""
        place = self.order[token] + 700 * self.others.get(token, 0)
        for attempt in range(20):
            found = _made(token, place + 5000 * attempt)
            if found not in self._taken:
                return found
        return found

    def replace(self, text: str, kept: frozenset[Token] | set[Token]) -> str:
        """The text with stand-ins for all tokens but these."""

        def one(match: re.Match[str]) -> str:
            if match["local"] is None:
                return self._shown(next(_of(match)), match[0], kept)
            local, domain = _of(match)
            return f"{self._shown(local, match['local'], kept)}@{self._shown(domain, match['domain'], kept)}"

        return _TOKEN.sub(one, text)

    def _shown(self, token: Token, written: str, kept: frozenset[Token] | set[Token]) -> str:
        if token in kept:
            return written
        found = self.stand_in(token)
        if token.kind != "word":
            return found
        if written.isupper():
            return found.upper()
        return found.capitalize() if written[:1].isupper() else found


def _made(token: Token, place: int) -> str:
    if token.kind == "local":
        return f"user{place}"
    if token.kind == "domain":
        return f"host{place}.example"
    if token.kind == "number":
        length = len(token.text)
        return str((place * 7919 + 13) % 10**length).zfill(length)
    syllables = []
    rest = place + 40
    while rest:
        rest, low = divmod(rest, len(_ONSETS) * len(_VOWELS))
        onset, vowel = divmod(low, len(_VOWELS))
        syllables.append(_ONSETS[onset] + _VOWELS[vowel])
    return "".join(syllables) + "n" * (len(syllables) == 1)
