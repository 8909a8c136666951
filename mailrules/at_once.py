"""A set of effects with one command: intent for all, the act, how each ended.

While the server is at one set, the journal is written: how the last one ended, and that the next one is about
to be done.
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
from mailrules.endings import Endings
from mailrules.intent import intend
from mailrules.recovery import MOVES, World

LATE = timedelta(minutes=1)
"""After which flags that were read when a message was judged are read again before they are changed."""


@dataclass(frozen=True, slots=True)
class _Ready:
    """A set that may be begun. `evidence`: where it goes; `changes`: what it will change."""

    rows: list[EffectRow]
    evidence: Mapping[str, Any]
    changes: Mapping[int, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class _Begun:
    """A set at `intent`. `rows`: as the journal has them, by id."""

    rows: dict[int, EffectRow]
    hand: str


@dataclass(slots=True)
class AtOnce:
    """What can be done for many messages of one mailbox with one command, one set after the other.

    A set is done when the next one comes, or where this ends: leave it as a context manager.
    """

    store: Store
    world: World
    endings: Endings
    _begun: _Begun | None = field(default=None, init=False)
    _answered: tuple[_Begun, Mapping[int, Outcome]] | None = field(default=None, init=False)
    """What the server has answered, and the journal does not say yet."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._go_on(None)
        finally:
            try:
                self._write_down()
            finally:
                if self._begun is not None:
                    self.endings.give_back(list(self._begun.rows.values()), hand=self._begun.hand)

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
        self._go_on(_Ready(rows, evidence, changes))

    def _go_on(self, following: _Ready | None) -> None:
        """Do what is begun, if anything is, and begin what follows."""
        self.world.let_pass()
        now, self._begun = self._begun, None
        if now is None:
            self._begin(following)
            return
        left = [following]
        trouble: list[TransientError | PermanentError] = []

        def write() -> None:
            """The journal's part; what fails of it is not to cost the server's answer."""
            try:
                self._write_down()
                if left:
                    self._begin(left.pop(), after=now)
            except (TransientError, PermanentError) as error:
                trouble.append(error)

        with self.store.held(self.endings.account, self.endings.mailbox, now.hand):
            try:
                with self.world.meanwhile(write):
                    outcomes = self._act(now.rows)
            except Fenced:
                raise
            except TransientError as error:
                rows = list(now.rows.values())
                self.endings.put_off(rows, error, alive=self.world.alive, hand=now.hand)
            else:
                self._write_down()  # if the server had not to be asked
                self._answered = now, outcomes
        if trouble:
            raise trouble[0]
        if left:
            self._begin(left.pop(), after=now)

    def _begin(self, ready: _Ready | None, *, after: _Begun | None = None) -> None:
        if ready is None:
            return
        first, second = ACTING
        hand = second if after is not None and after.hand == first else first
        rows = intend(self.store, ready.rows, ready.evidence, ready.changes, hand=hand)
        if rows:
            self._begun = _Begun({row.id: row for row in rows}, hand)

    def _write_down(self) -> None:
        if self._answered is not None:
            (done, outcomes), self._answered = self._answered, None
            self.endings.end(list(done.rows.values()), outcomes, hand=done.hand)

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

    def _act(self, now: dict[int, EffectRow]) -> dict[int, Outcome]:
        rows = list(now.values())
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
