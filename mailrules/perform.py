"""Performing planned effects: in sets, in order, through the journal, leaving last.

Every arrow of the journal is written before and after the act (RELIABILITY 1.3)::

    planned → intent → [commit] → done | later | failed | unknown | gone

A lost connection raises TransientError and leaves rows at `intent`; the next run finds them there and
`recovery.settled` asks the server what became of them before anything is done again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from mailrules import clock
from mailrules.adapters.store import ACTING, SENDS, TURNS, EffectRow, Fenced, State, Store, StoreError
from mailrules.core.actions.base import Errand, Outcome
from mailrules.core.errors import PermanentError, TransientError
from mailrules.core.message import MessageKey
from mailrules.endings import Endings, Tally
from mailrules.errands import Errands, Returns
from mailrules.recovery import MOVES, World, begun_of, past_commit, settled
from mailrules.turns import NOTES, SET_ACTIONS, Turns, hand_of, sets

log = logging.getLogger("mailrules.run")

Back = tuple[int, list[EffectRow]]
"""An errand that is back: the UID of its message, and what a script asked for."""


LATE = timedelta(minutes=1)
"""After which flags that were read when a message was judged are read again before they are changed."""
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
        for group in groups:
            if self.stopping():
                break
            self._perform_set(group, turns)
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
    def _perform_set(self, rows: list[EffectRow], turns: Turns) -> None:
        """Perform rows of the same action and arguments."""
        try:
            rows = self._settle(rows)
        except TransientError as error:
            # What is past its commit point stays there: tried again it would happen twice.
            self._put_off([row for row in rows if row.state != "commit"], error)
            return
        except PermanentError as error:  # its destination may not be looked into: nobody else waits for that
            held_up = [row for row in rows if row.state != "commit"]
            self._end(held_up, {row.id: Outcome("later", {"error": str(error)}) for row in held_up})
            return
        rows = self._hold(rows)
        if not rows:
            return
        if rows[0].action in NOTES:
            self._end(rows, {row.id: Outcome("done") for row in rows})
        elif rows[0].verb in SET_ACTIONS:
            self._at_once(rows)
        else:
            for row in rows:  # each with its own look at the brakes: they hold before the next effect
                if self.stopping():
                    break
                if self._hold([row]):
                    self._send_off(row, turns)

    def _settle(self, rows: list[EffectRow]) -> list[EffectRow]:
        """What an earlier try left unfinished is settled first; gives those still to be done."""
        begun = begun_of(rows)
        if not begun:
            return rows
        mine = (self.account, self.mailbox, hand_of(begun[0]))
        self.store.take(*mine, begun[0].uidvalidity, [row.uid for row in begun])
        with self.store.held(*mine):
            ended = past_commit(begun)  # which needs no server
            self._end([row for row in begun if row.id in ended], ended)
            found = settled(self.world, [row for row in begun if row.state != "commit"])
            self._end([row for row in begun if row.id in found], found)
        self.store.let_go(*mine)
        return [row for row in rows if row.id not in ended and row.id not in found]

    def _hold(self, rows: list[EffectRow]) -> list[EffectRow]:
        """Effects of what is paused are held; gives the others."""
        return self.endings.hold(rows)

    def _at_once(self, rows: list[EffectRow]) -> None:
        """A set with one command: intent for all, the act, how each ended."""
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
            self._end(rows, {row.id: Outcome("failed", {"error": str(error)}) for row in rows})
            return
        except TransientError as error:
            self._put_off(rows, error)
            return
        rows = self._intend(rows, evidence, changes)
        if rows:
            now = {row.id: row for row in rows}  # as the journal has them
            with self.store.held(self.account, self.mailbox, ACTING):
                try:
                    outcomes = self._verb(rows, now)
                    self._end([now[row.id] for row in rows], outcomes)
                except Fenced:
                    raise
                except TransientError as error:
                    self._put_off([now[row.id] for row in rows], error)

    def _proven(self, rows: list[EffectRow]) -> list[EffectRow]:
        """A copy is taken away by an undo only while its original is there; gives those that may be."""
        copies = [row for row in rows if "original" in row.detail]
        if not copies:
            return rows
        proven = self.world.originals({row.id: (row.identity, row.detail["original"]) for row in copies})
        lone = [row for row in copies if row.id not in proven]
        alone = Outcome("failed", {"error": "the original is not there any more: this may be the last copy"})
        self._end(lone, {row.id: alone for row in lone})
        return [row for row in rows if "original" not in row.detail or row.id in proven]

    def _put_off(self, rows: Sequence[EffectRow], error: TransientError) -> None:
        """What failed for these alone is tried again later, and the others go on.

        A lost connection, a journal that can't be written, and a server that asks for patience concern
        everything: those are raised.
        """
        if not self.world.alive or isinstance(error, StoreError | Fenced) or error.retry_after:
            raise error
        self._end(rows, {row.id: Outcome("later", {"error": str(error)}) for row in rows})

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

    def _intend(
        self,
        rows: list[EffectRow],
        evidence: Mapping[str, Any],
        changes: Mapping[int, Mapping[str, Any]],
    ) -> list[EffectRow]:
        """Write that these are about to be done; rows that a person took from us meanwhile fall out.

        Where an earlier try was going to put them stays written: its copy may still show.
        """
        if not rows:
            return []
        frm: tuple[State, ...] = ("planned", "later", "intent", "copied", "commit")
        nothing: Mapping[str, Any] = {}
        going = {"destination": dict(evidence)} if evidence else nothing
        detail: dict[int, Mapping[str, Any]]
        detail = {row.id: nothing if "destination" in row.detail else going for row in rows}
        detail |= {row.id: changes[row.id] for row in rows if row.id in changes}
        try:
            return self.store.advance(
                [row.id for row in rows], frm=frm, to="intent", at=clock.now(), detail=detail,
                hand=hand_of(rows[0]), known=rows,
            )  # fmt: skip
        except Fenced:
            if len(rows) == 1:
                return []
            return [mine for row in rows for mine in self._intend([row], evidence, changes)]

    def _verb(self, rows: list[EffectRow], now: dict[int, EffectRow]) -> dict[int, Outcome]:
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

    def _let_go(self, row: EffectRow) -> None:
        try:
            self.store.let_go(self.account, self.mailbox, hand_of(row))
        except StoreError as error:
            log.error("%s", error)  # the next start only takes more care than it needs to

    def _end(self, rows: Sequence[EffectRow], outcomes: Mapping[int, Outcome]) -> None:
        self.endings.end(rows, outcomes)

    def _end_one(self, row: EffectRow, outcome: Outcome) -> None:
        self.endings.end([row], {row.id: outcome})

    # -- one by one -------------------------------------------------------------------------------
    def _send_off(self, row: EffectRow, turns: Turns) -> None:
        """An effect that can't be taken back: read the message, and let an errand do the rest."""
        if not self.errands.place(self.account):
            turns.park(row)
            return
        started = False
        try:
            mine = self._begin(row)
            errand = self._errand(mine[0]) if mine else None
            if errand is not None:
                started = self._start(mine[0], errand)
                if started:
                    turns.send_away(row.uid)
                else:
                    self._end_one(row, Outcome("later", {"error": "there is no thread to be had now"}))
        finally:
            if not started:
                self.errands.give_back(self.account)

    def _begin(self, row: EffectRow) -> list[EffectRow]:
        """`intent` for one, if there is room for it where the number of sends is limited."""
        if row.action not in SENDS:
            return self._intend([row], {}, {})
        with self.store.undisturbed():
            return self._intend(self.endings.make_room([row]), {}, {})

    def _errand(self, row: EffectRow) -> Errand | None:
        verb = getattr(self.world, row.action)
        with self.store.held(self.account, self.mailbox, hand_of(row)):
            try:
                errand: Errand = verb(row.target_message, row.arguments)
            except PermanentError as error:
                self._end_one(row, Outcome("failed", {"error": str(error)}))
                return None
            except TransientError as error:
                self._put_off([row], error)
                return None
        return errand

    def _start(self, row: EffectRow, errand: Errand) -> bool:
        message = MessageKey(row.account, row.mailbox, row.uidvalidity, row.uid)
        returns = self._returns

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
            self._let_go(row)  # paused or decided by a person before the point of no return
            return []
        except StoreError as error:
            # The journal's trouble, not the effect's: found at `intent`, it is done when there is room.
            log.error("%s/%s uid=%d rule=%s: %s", self.account, self.mailbox, row.uid, row.rule, error)
            self._let_go(row)
            return []
        except (PermanentError, TransientError) as error:
            outcome = _broken_off(error, str(error), committed=committed)
        except Exception as bug:
            log.exception(
                "%s/%s uid=%d rule=%s %s", self.account, self.mailbox, row.uid, row.rule, row.action
            )
            outcome = _broken_off(bug, f"internal error: {type(bug).__name__}: {bug}", committed=committed)
        if outcome.state == "unknown" and row.on_unknown == "retry":
            outcome = Outcome("later", outcome.detail)  # the rule says: rather twice than not at all
        try:
            if outcome.answers:
                return self.endings.answered(row, outcome)
            self._end_one(row, outcome)
        except TransientError as error:
            # It can't be written down: found at `intent` it is done anew, at `commit` it is unknown.
            self._let_go(row)
            log.error("%s/%s uid=%d rule=%s: %s", self.account, self.mailbox, row.uid, row.rule, error)
        except Exception:  # nobody waits for this thread's exceptions
            log.exception("%s/%s uid=%d rule=%s", self.account, self.mailbox, row.uid, row.rule)
        return []


def _broken_off(error: Exception, words: str, *, committed: bool) -> Outcome:
    """How an errand ended that raised: past the commit point nobody knows."""
    if committed:
        return Outcome("unknown", {"error": f"{words}; it may have happened"})
    return Outcome("failed" if isinstance(error, PermanentError) else "later", {"error": words})
