"""Whose turn it is: the effects of each message, in their order, while errands are at some of them."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from mailrules.adapters.store import LARGEST_SET, EffectRow
from mailrules.performing.recovery import MOVES

SET_ACTIONS = MOVES | {"copy", "flag", "unflag", "label", "unlabel", "delete"}
"""Done for many messages with one command; the others one by one, with their commit point."""
NOTES = frozenset({"log", "keep"})
"""Done by being recorded."""


class Turns:
    """The effects of each message, in their order; a message's next one waits until the last is done.

    `ready`: to be done now. `away`: an errand is at the message. `parked`: there is no place for its errand.
    """

    def __init__(self, rows: Sequence[EffectRow]) -> None:
        self._ready: dict[int, deque[EffectRow]] = defaultdict(deque)
        self._away: dict[int, deque[EffectRow]] = {}
        self._parked: dict[int, deque[EffectRow]] = {}
        for row in sorted(rows, key=lambda r: (r.uid, *_turn(r))):
            self._ready[row.uid].append(row)

    @property
    def waiting(self) -> bool:
        """Whether something waits for errands, our own or others'."""
        return bool(self._away or self._parked)

    @property
    def away(self) -> bool:
        return bool(self._away)

    def heads(self) -> list[EffectRow]:
        """The next effect of each message that is ready. Those that would leave wait until every other
        message's effects had their turn: it makes their sets larger, and they leave in one command.
        """
        self._ready = defaultdict(deque, {uid: queue for uid, queue in self._ready.items() if queue})
        heads = [queue.popleft() for queue in self._ready.values()]
        staying = [row for row in heads if not row.leaves]
        if not staying:
            return heads
        for row in heads:
            if row.leaves:
                self._ready[row.uid].appendleft(row)
        return staying

    def send_away(self, uid: int) -> None:
        self._away[uid] = self._ready.pop(uid)

    def park(self, row: EffectRow) -> None:
        queue = self._ready.pop(row.uid)
        queue.appendleft(row)
        self._parked[row.uid] = queue

    def unpark(self) -> None:
        self._ready.update(self._parked)
        self._parked.clear()

    def back(self, uid: int, added: Sequence[EffectRow]) -> None:
        """An errand is back, and a script may have asked for more."""
        queue = [*self._away.pop(uid), *added]
        self._ready[uid] = deque(sorted(queue, key=_turn))
        self.unpark()


def _turn(row: EffectRow) -> tuple[bool, int, int]:
    """When an effect's turn comes among those on its message: leaving last."""
    return row.leaves, row.order, row.id


def _same(arguments: Mapping[str, Any]) -> Hashable:
    """Equal for equal arguments."""
    if len(arguments) == 1:
        ((name, only),) = arguments.items()
        if type(only) is str:
            return name, only
    return json.dumps(arguments, sort_keys=True)


def sets(rows: Sequence[EffectRow]) -> list[list[EffectRow]]:
    """Rows of the same action and arguments together, of any rule, at most LARGEST_SET of them."""
    sets: dict[tuple[str, Hashable], list[EffectRow]] = defaultdict(list)
    for row in rows:
        sets[row.action, _same(row.arguments)].append(row)
    return [
        those[start : start + LARGEST_SET]
        for those in sets.values()
        for start in range(0, len(those), LARGEST_SET)
    ]
