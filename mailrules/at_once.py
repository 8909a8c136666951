"""A set of effects with one command: intent for all, the act, how each ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from mailrules import clock
from mailrules.adapters.store import ACTING, TURNS, EffectRow, Fenced, Store
from mailrules.core.actions.base import Outcome
from mailrules.core.errors import PermanentError, TransientError
from mailrules.endings import Endings
from mailrules.intent import intend
from mailrules.recovery import MOVES, World

LATE = timedelta(minutes=1)
"""After which flags that were read when a message was judged are read again before they are changed."""


@dataclass(slots=True)
class AtOnce:
    """What can be done for many messages of one mailbox with one command.

    How a set ended is written while the server is at the next one; the last by `finish`, which must follow.
    """

    store: Store
    world: World
    endings: Endings
    _ended: tuple[list[EffectRow], Mapping[int, Outcome]] | None = field(default=None, init=False)
    """What the server has answered, and the journal does not say yet."""
    _in_hand: bool = field(default=False, init=False)

    def finish(self) -> None:
        """How the last set ended is written, too, and nothing is in hand any more."""
        self._write_down(in_hand=False)
        if self._in_hand:
            self.store.let_go(self.endings.account, self.endings.mailbox, ACTING)

    def _write_down(self, *, in_hand: bool) -> None:
        if self._ended is None:
            return
        (rows, outcomes), self._ended = self._ended, None
        self.endings.end(rows, outcomes, in_hand=in_hand)
        self._in_hand = in_hand

    def perform(self, rows: list[EffectRow]) -> None:
        """Perform rows of the same action and arguments."""
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
        rows = intend(self.store, rows, evidence, changes, beside=False)
        if rows:
            self._in_hand = True
            now = {row.id: row for row in rows}  # as the journal has them
            with self.store.held(self.endings.account, self.endings.mailbox, ACTING):
                try:
                    with self.world.meanwhile(lambda: self._write_down(in_hand=True)):
                        outcomes = self._act(rows, now)
                    self._write_down(in_hand=True)  # if the server had not to be asked
                    self._ended = [now[row.id] for row in rows], outcomes
                except Fenced:
                    raise
                except TransientError as error:
                    left = [now[row.id] for row in rows]
                    self.endings.put_off(left, error, alive=self.world.alive)

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
