"""What would take effects back, by the journal alone: pure. `undo.py` looks at the mail and does it.

An effect names its message by where it was then. From there on the journal's own moves lead to where the
message must be now (`Thread.end`), whatever other messages are the same by identity: copies are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mailrules.adapters.store import TURNS, EffectRow, taken_back
from mailrules.performing.recovery import MOVES
from mailrules.performing.turns import NOTES

OPPOSITE: Mapping[str, str] = {"flag": "unflag", "unflag": "flag", "label": "unlabel", "unlabel": "label"}
"""Of the actions in TURNS."""
FOR_GOOD: Mapping[str, str] = {
    "delete": "it was deleted permanently",
    "forward": "the message has been sent on",
    "redirect": "the message has been sent on",
    "reply": "the answer has been sent",
    "script": "what a script did is not known",
    "webhook": "the request has been made",
    "save": "the file is there; remove it by hand",
}
"""Why these can't be taken back."""
_OPEN: Mapping[str, str] = {
    "planned": "it is not done yet",
    "held": "it is held, not done; `mailrules skip {id}` drops it",
    "later": "it is not done yet; `mailrules skip {id}` drops it",
    "intent": "it is begun and not finished",
    "copied": "it is begun and not finished",
    "commit": "it is begun and not finished",
    "unknown": "nobody knows whether it was done",
}
_NEVER: Mapping[str, str] = {
    "failed": "it failed, so there is nothing to take back",
    "gone": "its message was gone, so nothing was done",
    "skipped": "it was skipped, so nothing was done",
    "would": "it was a dry run, so nothing was done",
}
LONGEST = 1000
"""Moves of one message that are followed."""


class Place(NamedTuple):
    """Where a message is. `uid` 0: somewhere in the mailbox."""

    mailbox: str
    uidvalidity: int
    uid: int


def place_of(row: EffectRow) -> Place:
    """Where an effect found its message."""
    return Place(row.mailbox, row.uidvalidity, row.uid)


def put(row: EffectRow) -> Place | None:
    """Where a move or copy that is done has put its message; None: it stayed where it was."""
    name = row.arguments.get("mailbox")
    if not isinstance(name, str) or row.detail.get("note") == "it is there already":
        return None
    there = row.detail.get("to_uidvalidity") or row.detail.get("destination", {}).get("uidvalidity") or 0
    return Place(name, int(there), int(row.detail.get("to_uid") or 0))


@dataclass(frozen=True, slots=True)
class Thread:
    """One message through the journal: where it must be now, and the effects that took it there."""

    end: Place
    path: tuple[EffectRow, ...]
    places: frozenset[Place]


@dataclass(slots=True)
class History:
    """All that was done to some messages (`Store.done_to`)."""

    rows: Mapping[int, EffectRow]
    _left: dict[Place, EffectRow] = field(default_factory=dict)
    _under_way: dict[int, int] = field(default_factory=dict)
    _at: dict[Place, list[EffectRow]] = field(default_factory=dict)
    _order: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Iterable[EffectRow]) -> History:
        history = cls({row.id: row for row in rows})
        for order, row in enumerate(history.rows.values()):
            history._order[row.id] = order
            if row.state == "done":
                history._at.setdefault(place_of(row), []).append(row)
                if row.verb in MOVES and put(row) is not None:
                    history._left[place_of(row)] = row
            else:
                history._under_way.update((target, row.id) for target in taken_back(row))
        return history

    def under_way(self, row: EffectRow) -> int | None:
        """The undo that is at this effect already, if one is."""
        return self._under_way.get(row.id)

    def place(self, row: EffectRow) -> int:
        """Its place in the order in which things were done."""
        return self._order.get(row.id, 0)

    def thread(self, start: Place) -> Thread:
        """From a place on, along the moves of the journal."""
        path: list[EffectRow] = []
        places = [start]
        while places[-1].uid and places[-1] in self._left and len(path) < LONGEST:
            edge = self._left[places[-1]]
            path.append(edge)
            places.append(put(edge) or places[-1])
        return Thread(places[-1], tuple(path), frozenset(places))

    def in_force(self, row: EffectRow) -> bool:
        """Whether what it did still counts: not taken back, nor, for an undo, done again."""
        if row.undone is not None:
            return False
        depth, these = 0, [row]
        while these and these[0].undoes is not None:
            depth += 1
            these = [self.rows[t] for one in these for t in taken_back(one) if t in self.rows]
        if not depth:
            return True
        return all((first.undone == row.id) if depth % 2 else (first.undone is None) for first in these)

    def later(
        self, row: EffectRow, thread: Thread, chosen: Collection[int], actions: Collection[str]
    ) -> list[EffectRow]:
        """What rules did to the same message after an effect, that is in force and is not taken back too."""
        since = self.place(row)
        return [
            other
            for place in thread.places
            for other in self._at.get(place, ())
            if other.verb in actions
            and other.id not in chosen
            and other.undoes is None
            and other.undone is None
            and self._order[other.id] > since
        ]


def why_not(row: EffectRow, history: History) -> str:
    """Why the journal alone says that an effect can't be taken back; "" if it may be."""
    if row.state in _OPEN:
        return _OPEN[row.state].format(id=row.id)
    if row.state in _NEVER:
        return _NEVER[row.state]
    if row.undone is not None:
        return "it has been undone already"
    if row.action in FOR_GOOD:
        return FOR_GOOD[row.action]
    if row.verb not in MOVES and row.verb not in OPPOSITE and row.action != "copy":
        return f"'{row.action}' can't be taken back"
    under_way = history.under_way(row)
    if under_way is not None:
        return f"effect {under_way} is about to take it back"
    if not history.in_force(row):
        return "it does not count any more: what it took back has changed since"
    return ""


def to_be_settled(row: EffectRow, *, unbegun: bool) -> bool:
    """Whether an effect was begun, is not finished, and might be taken back if it were. `unbegun`: it is
    planned, and no try has begun with it."""
    begun = row.state in ("intent", "copied") or (row.state == "planned" and not unbegun)
    return begun and (row.verb in MOVES or row.verb in OPPOSITE or row.action == "copy")


def nothing(row: EffectRow) -> bool:
    """Whether an effect left nothing that anybody would want taken back: notes, and what was never done."""
    return row.action in NOTES or row.action == "judge" or row.state in _NEVER


def changed(row: EffectRow) -> list[str]:
    """The flags (or labels) that an effect changed: not those that were so before it."""
    named: Sequence[Any] = row.arguments[TURNS[row.verb]]
    return [str(flag) for flag in row.detail.get("changed", named)]


@dataclass(frozen=True, slots=True)
class Turned:
    """Flags to be turned back, and why others are not."""

    flags: tuple[str, ...]
    because: tuple[str, ...] = ()


def turned_back(row: EffectRow, now: set[str], later: Sequence[EffectRow], *, force: bool = False) -> Turned:
    """Which flags an effect changed, nobody has changed since, and are to be turned back.

    `now`: the message's flags, lower case, as undos of later effects leave them; it is updated.
    """
    if not changed(row):
        return Turned((), ("it changed nothing: the message was so before",))
    setting = row.verb in ("flag", "label")
    back: list[str] = []
    because: list[str] = []
    for flag in changed(row):
        since = [o for o in later if o.verb in OPPOSITE and TURNS[o.verb] == TURNS[row.verb]]
        by = next((o.id for o in since if flag.lower() in {c.lower() for c in changed(o)}), None)
        if (flag.lower() in now) != setting:
            because.append(f"{flag} was {'taken off' if setting else 'set'} again since")
        elif by is not None and not force:
            because.append(f"effect {by} has changed {flag} since")
        else:
            back.append(flag)
            (now.discard if setting else now.add)(flag.lower())
    return Turned(tuple(back), tuple(because))
