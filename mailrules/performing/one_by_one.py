"""Effects that can't be taken back, each by itself: intent, an errand with its commit point, how it ended."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from mailrules import clock
from mailrules.adapters.store import SENDS, EffectRow, Fenced, Store, StoreError, doing
from mailrules.core.actions.base import Errand, Outcome
from mailrules.core.errors import PermanentError, TransientError
from mailrules.core.message import MessageKey
from mailrules.performing.endings import Endings
from mailrules.performing.errands import Errands, Returns
from mailrules.performing.intent import intend
from mailrules.performing.recovery import World
from mailrules.performing.turns import Turns

log = logging.getLogger("mailrules.run")

Back = tuple[int, list[EffectRow]]
"""An errand that is back: the UID of its message, and what a script asked for."""


@dataclass(frozen=True, slots=True)
class OneByOne:
    """What is done for one message of one mailbox at a time."""

    store: Store
    world: World
    endings: Endings
    errands: Errands

    def send_off(self, row: EffectRow, turns: Turns, returns: Returns[Back]) -> None:
        """Read the message, and let an errand do the rest."""
        if not self.errands.place(self.endings.account):
            turns.park(row)
            return
        started = False
        try:
            mine = self._begin(row)
            errand = self._errand(mine[0]) if mine else None
            if errand is not None:
                started = self._start(mine[0], errand, returns)
                if started:
                    turns.send_away(row.uid)
                else:
                    self.endings.end_one(row, Outcome("later", {"error": "there is no thread to be had now"}))
        finally:
            if not started:
                self.errands.give_back(self.endings.account)

    def _begin(self, row: EffectRow) -> list[EffectRow]:
        """`intent` for one, if there is room for it where the number of sends is limited."""
        if row.action not in SENDS:
            return intend(self.store, [row], {}, {}, hand=doing(row.id))
        with self.store.undisturbed():
            return intend(self.store, self.endings.make_room([row]), {}, {}, hand=doing(row.id))

    def _errand(self, row: EffectRow) -> Errand | None:
        verb = getattr(self.world, row.action)
        with self.store.held(self.endings.account, self.endings.mailbox, doing(row.id)):
            try:
                errand: Errand = verb(row.target_message, row.arguments)
            except PermanentError as error:
                self.endings.end_one(row, Outcome("failed", {"error": str(error)}))
                return None
            except TransientError as error:
                self.endings.put_off([row], error, alive=self.world.alive, hand=doing(row.id))
                return None
        return errand

    def _start(self, row: EffectRow, errand: Errand, returns: Returns[Back]) -> bool:
        message = MessageKey(row.account, row.mailbox, row.uidvalidity, row.uid)

        def work() -> bool:
            added: list[EffectRow] = []
            try:
                added = self._carry_out(row, errand)
            finally:  # whatever happened: somebody may be waiting for it
                attended = returns.put((row.uid, added))
            return attended

        return self.errands.start(row.id, message, work)

    def _carry_out(self, row: EffectRow, errand: Errand) -> list[EffectRow]:
        """In the errand's thread: do it, and write how it ended. Gives what a script asked for."""
        committed = False

        def commit() -> None:
            nonlocal committed, row
            (row,) = self.store.advance([row.id], frm="intent", to="commit", at=clock.now(), known=[row])
            committed = True

        try:
            outcome = errand(commit)
        except Fenced:
            self.endings.let_go(row)  # paused or decided by a person before the point of no return
            return []
        except StoreError as error:
            # The journal's trouble, not the effect's: found at `intent`, it is done when there is room.
            log.error("%s/%s uid=%d rule=%s: %s", row.account, row.mailbox, row.uid, row.rule, error)
            self.endings.let_go(row)
            return []
        except (PermanentError, TransientError) as error:
            outcome = _broken_off(error, str(error), committed=committed)
        except Exception as bug:
            # Broad, because an errand is any action's code over any library: whatever broke, it is a try that
            # failed. Left at `intent` it would be tried again without end, and without a pause.
            log.exception("%s/%s uid=%d rule=%s %s", row.account, row.mailbox, row.uid, row.rule, row.action)
            outcome = _broken_off(bug, f"internal error: {type(bug).__name__}: {bug}", committed=committed)
        if outcome.state == "unknown" and row.on_unknown == "retry":
            outcome = Outcome("later", outcome.detail)  # the rule says: rather twice than not at all
        try:
            if outcome.answers:
                return self.endings.answered(row, outcome)
            self.endings.end_one(row, outcome)
        except TransientError as error:
            # It can't be written down: found at `intent` it is done anew, at `commit` it is unknown.
            self.endings.let_go(row)
            log.error("%s/%s uid=%d rule=%s: %s", row.account, row.mailbox, row.uid, row.rule, error)
        return []


def _broken_off(error: Exception, words: str, *, committed: bool) -> Outcome:
    """How an errand ended that raised: past the commit point nobody knows."""
    if committed:
        return Outcome("unknown", {"error": f"{words}; it may have happened"})
    return Outcome("failed" if isinstance(error, PermanentError) else "later", {"error": words})
