"""Performing planned effects: in sets, in order, through the journal, leaving last.

Every arrow of the journal is written before and after the act (RELIABILITY 1.3)::

    planned → intent → [commit] → done | later | failed | unknown | gone

A lost connection raises TransientError and leaves rows at `intent`; the next run finds them there and
`recovery.settled` asks the server what became of them before anything is done again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from mailrules.adapters.store import SENDS, SETTLING, EffectRow, Store
from mailrules.core.actions.base import Outcome
from mailrules.core.errors import PermanentError, TransientError
from mailrules.performing.at_once import AtOnce
from mailrules.performing.endings import Endings, Tally
from mailrules.performing.errands import Errands, Returns
from mailrules.performing.one_by_one import Back, OneByOne
from mailrules.performing.recovery import MOVES, World, begun_of, past_commit, settled
from mailrules.performing.turns import NOTES, SET_ACTIONS, Turns, sets

log = logging.getLogger("mailrules.run")

LINGER = 0.5
"""Seconds that a mailbox waits for its errands, so that what is quick is done in one pass."""


@dataclass(slots=True)
class Performer:
    """Performs the effects of one mailbox. `paused` names why a rule's effects are held, or "".

    `wait`: until all errands are back. Else those that take longer go on alone, and
    `Errands.left_alone` says when there is more to do.
    """

    store: Store
    world: World
    errands: Errands
    account: str
    mailbox: str
    paused: Callable[[str], str]
    stopping: Callable[[], bool]
    wait: bool = False
    tally: Tally = field(default_factory=Tally)
    _returns: Returns[Back] = field(default_factory=Returns)

    @property
    def endings(self) -> Endings:
        return Endings(self.store, self.account, self.mailbox, self.tally)

    def perform(self, rows: Sequence[EffectRow]) -> Tally:
        """Perform rows that `Store.unfinished` or `Store.record` gave. Raises TransientError if cut off."""
        turns = Turns(rows)
        self._returns = Returns()
        try:
            while not self.stopping():
                self._take_back(turns, 0.0)
                heads = turns.heads()
                if heads:
                    self._perform_heads(heads, turns)
                elif not turns.waiting or not self._linger(turns):
                    break
        finally:
            while self.wait and turns.away:  # stopping or cut off: they end soon, and the journal is theirs
                self._take_back(turns, 1.0)
            if self._returns.close():
                self.errands.left_alone(self.account)
        return self.tally

    def _perform_heads(self, heads: Sequence[EffectRow], turns: Turns) -> None:
        leaving = heads[0].leaves
        heads = self._with_room(heads)
        groups = sets(self._may_leave(heads) if leaving else heads)
        places = {
            group[0].arguments["mailbox"]: None
            for group in groups
            if group[0].action in MOVES or group[0].action == "copy"
        }
        if len(places) > 1 and not self.stopping():
            self.world.foresee(list(places))
        with AtOnce(self.store, self.world, self.endings) as at_once:
            for group in groups:
                if self.stopping():
                    break
                self._perform_set(group, turns, at_once)
        self.world.foresee(())  # what was foreseen gets old

    def _with_room(self, heads: Sequence[EffectRow]) -> list[EffectRow]:
        """Without the sends that there is no room for now: all of these are put off at once."""
        fresh = [row for row in heads if row.action in SENDS and row.state in ("planned", "later")]
        if not fresh:
            return list(heads)
        free = {row.id for row in self.endings.make_room(self.endings.hold(fresh))}
        out = {row.id for row in fresh} - free
        return [row for row in heads if row.id not in out]

    def _take_back(self, turns: Turns, seconds: float) -> bool:
        """Errands that are back: their messages go on. Waits so long for the first one."""
        back = self._returns.get(seconds)
        came = back is not None
        while back is not None:
            turns.back(*back)
            back = self._returns.get(0.0)
        return came

    def _linger(self, turns: Turns) -> bool:
        """Wait for an errand. False: the others of this mailbox are not to wait any longer."""
        came = self._take_back(turns, LINGER)
        if self.wait:
            turns.unpark()  # a place may be free that another mailbox has had
        return came or self.wait

    def _may_leave(self, rows: Sequence[EffectRow]) -> list[EffectRow]:
        blocking = self.store.blocking(rows)
        free = []
        for row in rows:
            if row.id in blocking:
                self.tally.add("waiting")
                log.debug(
                    "%s/%s uid=%d rule=%s %s waits for effect %s",
                    self.account, self.mailbox, row.uid, row.rule, row.action, blocking[row.id],
                )  # fmt: skip
            else:
                free.append(row)
        return free

    @contextmanager
    def patient(self) -> Iterator[None]:
        """Within it, `perform` waits for its errands."""
        before, self.wait = self.wait, True
        try:
            yield
        finally:
            self.wait = before

    # -- one set ----------------------------------------------------------------------------------
    def _perform_set(self, rows: list[EffectRow], turns: Turns, at_once: AtOnce) -> None:
        """Perform rows of the same action and arguments."""
        try:
            rows = self._settle(rows)
        except TransientError as error:
            # What is past its commit point stays there: tried again it would happen twice.
            mine = [row for row in rows if row.state != "commit"]
            self.endings.put_off(mine, error, alive=self.world.alive)
            return
        except PermanentError as error:  # its destination may not be looked into: nobody else waits for that
            held_up = [row for row in rows if row.state != "commit"]
            self.endings.end(held_up, {row.id: Outcome("later", {"error": str(error)}) for row in held_up})
            return
        rows = self.endings.hold(rows)
        if not rows:
            return
        if rows[0].action in NOTES:
            self.endings.end(rows, {row.id: Outcome("done") for row in rows})
        elif rows[0].verb in SET_ACTIONS:
            at_once.perform(rows)
        else:
            one_by_one = OneByOne(self.store, self.world, self.endings, self.errands)
            for row in rows:  # each with its own look at the brakes: they hold before the next effect
                if self.stopping():
                    break
                if self.endings.hold([row]):
                    one_by_one.send_off(row, turns, self._returns)

    def _settle(self, rows: list[EffectRow]) -> list[EffectRow]:
        """What an earlier try left unfinished is settled first; gives those still to be done."""
        begun = begun_of(rows)
        if not begun:
            return rows
        mine = (self.account, self.mailbox, SETTLING)
        self.store.take(*mine, begun[0].uidvalidity, [row.uid for row in begun])
        with self.store.held(*mine):
            ended = past_commit(begun)  # which needs no server
            self.endings.end([row for row in begun if row.id in ended], ended)
            left = [row for row in begun if row.state != "commit"]
            taken = self.store.put_at(self.account, [row.identity for row in left])
            found = settled(self.world, left, taken=taken)
            self.endings.end([row for row in begun if row.id in found], found)
        self.store.let_go(*mine)
        return [row for row in rows if row.id not in ended and row.id not in found]
