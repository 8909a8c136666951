"""Clues: what a message must show for a condition to hold. `ruleset.py` looks for many at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

Kind = Literal["is", "address", "domain", "under", "contains", "regex", "there"]
"""In the order of how much they tell."""
_TELLING: dict[str, int] = {
    kind: rank for rank, kind in enumerate(("is", "address", "domain", "under", "contains", "regex", "there"))
}


class Clue(NamedTuple):
    """Something to be seen in one view of a message.

    `view`: `("texts", header)`, `("list ids",)`, `("mailboxes", headers)`, or `("part", headers, part)`.
    `value`: for `is` and `contains` a folded text; for `address` and `domain` (`under`: and what is under
    it) as `views.Mailbox` compares them; for `regex` an RE2 pattern over the plain text, in any case
    unless `case_sensitive`. `there`: the view is not empty.
    """

    view: tuple[object, ...]
    kind: Kind
    value: str = ""
    case_sensitive: bool = False


Clues = frozenset[Clue]
"""One of these is there whenever the condition holds. It may be there although it does not."""


def any_clue(parts: Iterable[Clues | None]) -> Clues | None:
    """For conditions of which one must hold: all their clues, if each has some."""
    found: Clues = frozenset()
    for part in parts:
        if part is None:
            return None
        found |= part
    return found


def best_clues(parts: Iterable[Clues | None]) -> Clues | None:
    """For conditions that must all hold: those of the one that tells most."""
    return min((part for part in parts if part), key=_vagueness, default=None)


def _vagueness(clues: Clues) -> tuple[int, int]:
    worst = max(_TELLING[clue.kind] * 2 + (clue.kind == "contains" and len(clue.value) < 4) for clue in clues)
    return worst, len(clues)
