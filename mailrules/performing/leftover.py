"""What earlier runs left over in a mailbox: effects that were recorded, and have not ended yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mailrules import clock
from mailrules.adapters.store import EffectRow, Store, covering

MOST_NAMED = 5


@dataclass(slots=True)
class Leftover:
    """How much of it: messages, by the run that left them, and effects by action."""

    messages: int = 0
    runs: Counter[int] = field(default_factory=Counter)
    effects: Counter[str] = field(default_factory=Counter)

    def add(self, rows: Iterable[EffectRow]) -> None:
        """Those of one mailbox more."""
        rows = list(rows)
        self.messages += len({row.uid for row in rows})
        self.runs.update(run for run, _ in {(row.run, row.uid) for row in rows})
        self.effects.update(row.action for row in rows)

    def as_json(self) -> dict[str, Any]:
        return {"messages": self.messages, "runs": sorted(self.runs), "effects": dict(self.effects)}


def of_runs(runs: Sequence[int]) -> str:
    """`run 1`, `runs 1, 2 and 4`, `runs 1, 2, 3 and 5 more`."""
    if len(runs) > MOST_NAMED:
        runs_named = ", ".join(map(str, runs[:MOST_NAMED]))
        return f"runs {runs_named} and {len(runs) - MOST_NAMED} more"
    *others, last = map(str, runs)
    return f"runs {', '.join(others)} and {last}" if others else f"run {last}"


def left_over(store: Store, account: str, mailbox: str, uidvalidity: int) -> list[EffectRow]:
    """What a pass over this mailbox would do first: not what is paused, nor what waits for a person."""
    paused = store.paused()
    rows = [
        row
        for row in store.unfinished(account, mailbox, now=clock.now())
        if row.uidvalidity == uidvalidity
        and (row.undoes is not None or not covering(row.rule, account, mailbox, row.action) & paused)
    ]
    waiting = store.blocking([row for row in rows if row.leaves])
    ours = {row.id for row in rows}
    return [row for row in rows if waiting.get(row.id, row.id) in ours]
