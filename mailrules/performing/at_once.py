"""A set of effects with one command: intent for all, the act, how each ended.

How a set ended is written while the server is at the next one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from mailrules import clock
from mailrules.adapters.store import ACTING, TURNS, EffectRow, Fenced, Store
from mailrules.core.actions.base import Outcome
from mailrules.core.errors import PermanentError, TransientError
from mailrules.performing.endings import Endings
from mailrules.performing.intent import intend
from mailrules.performing.recovery import MOVES, World

LATE = timedelta(minutes=1)
"""After which flags that were read when a message was judged are read again before they are changed."""


@dataclass(frozen=True, slots=True)
class _Answered:
    """A set that the server has answered for. `rows`: as the journal has them."""

    rows: list[EffectRow]
    outcomes: Mapping[int, Outcome]
    hand: str


@dataclass(slots=True)
class AtOnce:
    """What can be done for many messages of one mailbox with one command, one set after the other.

    How a set ended is written when the next one is under way, or where this ends: leave it as a context
    manager.
    """

    store: Store
    world: World
    endings: Endings
    _answered: list[_Answered] = field(default_factory=list, init=False)
    """What the journal does not say yet: one set, or two if it could not be written."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write_down()

    def perform(self, rows: list[EffectRow]) -> None:
        """Perform rows of the same action and arguments."""
        self.world.let_pass()
        action, arguments = rows[0].verb, rows[0].arguments
        evidence: Mapping[str, Any] = {}
        try:
            rows = self._proven(rows)
            if not rows:
                return
            if action in MOVES or action == "copy":
                evidence = self.world.destination(arguments["mailbox"])
            changes = self._changes(rows)
        except PermanentError as error:
            self.endings.end(rows, {row.id: Outcome("failed", {"error": str(error)}) for row in rows})
            return
        except TransientError as error:
            self.endings.put_off(rows, error, alive=self.world.alive)
            return
        first, second = ACTING
        hand = second if any(set_.hand == first for set_ in self._answered) else first
        rows = intend(self.store, rows, evidence, changes, hand=hand)
        if rows:
            self._do(rows, hand)

    def _do(self, rows: list[EffectRow], hand: str) -> None:
        """The act, for rows at `intent`."""
        now = {row.id: row for row in rows}  # as the journal has them
        trouble: list[TransientError | PermanentError] = []

        def write() -> None:
            try:
                self._write_down()
            except (TransientError, PermanentError) as error:  # it is not to cost this set its answer
                trouble.append(error)

        with self.store.held(self.endings.account, self.endings.mailbox, hand):
            try:
                with self.world.meanwhile(write):
                    outcomes = self._act(rows, now)
            except Fenced:
                raise
            except TransientError as error:
                left = list(now.values())
                self.endings.put_off(left, error, alive=self.world.alive, hand=hand)
                return
            if not trouble:
                write()  # if the server had not to be asked
            self._answered.append(_Answered(list(now.values()), outcomes, hand))
            if trouble:
                raise trouble[0]

    def _write_down(self) -> None:
        """Raises StoreError, and all that is left may be tried once more; Fenced, and nothing is left."""
        fenced: Fenced | None = None
        while self._answered:
            done = self._answered[0]
            try:
                with self.store.held(self.endings.account, self.endings.mailbox, done.hand):
                    self.endings.end(done.rows, done.outcomes, hand=done.hand)
            except Fenced as error:  # recovery finds what of it is ours still; it is not to cost the next set
                fenced = error
            self._answered.remove(done)
        if fenced is not None:
            raise fenced

    def _proven(self, rows: list[EffectRow]) -> list[EffectRow]:
        """A copy is taken away by an undo only while its original is there; gives those that may be."""
        copies = [row for row in rows if "original" in row.detail]
        if not copies:
            return rows
        proven = self.world.originals({row.id: (row.identity, row.detail["original"]) for row in copies})
        lone = [row for row in copies if row.id not in proven]
        alone = Outcome("failed", {"error": "the original is not there any more: this may be the last copy"})
        self.endings.end(lone, {row.id: alone for row in lone})
        return [row for row in rows if "original" not in row.detail or row.id in proven]

    def _changes(self, rows: Sequence[EffectRow]) -> Mapping[int, Mapping[str, Any]]:
        """Which flags they are going to change, where the message was judged long ago: what was held. The
        others' were read just now."""
        kind = TURNS.get(rows[0].verb)
        late = [row for row in rows if kind and not row.tries and clock.now() - row.created_at > LATE]
        if kind is None or not late:
            return {}
        now = self.world.flags([row.uid for row in late], kind)
        setting = rows[0].verb in ("flag", "label")
        return {
            row.id: {"changed": [f for f in row.arguments[kind] if (f.lower() in now[row.uid]) != setting]}
            for row in late
            if row.uid in now
        }

    def _act(self, rows: list[EffectRow], now: dict[int, EffectRow]) -> dict[int, Outcome]:
        targets = [row.target_message for row in rows]
        arguments = rows[0].arguments
        action = rows[0].verb
        try:
            if action in MOVES:
                outcomes = self.world.move(
                    targets, arguments["mailbox"], on_copied=lambda copied: self._copied(now, copied)
                )
            elif action == "copy":
                outcomes = self.world.copy(targets, arguments["mailbox"])
            elif action == "flag":
                outcomes = self.world.add_flags(targets, arguments["flags"])
            elif action == "unflag":
                outcomes = self.world.remove_flags(targets, arguments["flags"])
            elif action == "label":
                outcomes = self.world.add_labels(targets, arguments["labels"])
            elif action == "unlabel":
                outcomes = self.world.remove_labels(targets, arguments["labels"])
            else:
                outcomes = self.world.delete(targets)
        except PermanentError as error:
            return {row.id: Outcome("failed", {"error": str(error)}) for row in rows}
        missing = Outcome("unknown", {"error": "the server did not say what became of it"})
        return {row.id: outcomes.get(row.uid, missing) for row in rows}

    def _copied(self, now: dict[int, EffectRow], copied: Mapping[int, Outcome]) -> None:
        """The copies of a move without MOVE are proven: only the originals are left to remove."""
        proven = [row for row in now.values() if row.uid in copied]
        moved = self.store.advance(
            [row.id for row in proven],
            frm="intent",
            to="copied",
            at=clock.now(),
            detail={row.id: copied[row.uid].detail for row in proven},
            known=proven,
        )
        now.update((row.id, row) for row in moved)
