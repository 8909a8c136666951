"""Performing planned effects: in sets, in order, through the journal, leaving last.

Every arrow of the journal is written before and after the act (RELIABILITY 1.3)::

    planned → intent → [commit] → done | later | failed | unknown | gone

A lost connection raises TransientError and leaves rows at `intent`; the next run finds them there and
`recovery.settled` asks the server what became of them before anything is done again.
"""

from __future__ import annotations

import json
import logging
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast

from mailrules import clock
from mailrules.adapters.store import ACTING, LARGEST_SET, EffectRow, Fenced, State, Store, StoreError, doing
from mailrules.core.actions.base import Outcome, PlannedEffect
from mailrules.core.errors import PermanentError, TransientError
from mailrules.core.retry import next_try
from mailrules.recovery import MOVES, World, begun_of, settled

log = logging.getLogger("mailrules.run")

SET_ACTIONS = MOVES | {"copy", "flag", "unflag", "delete"}
"""Done for many messages with one command; the others one by one, with their commit point."""
NOTES = frozenset({"log", "keep"})
"""Done by being recorded."""


@dataclass(slots=True)
class Tally:
    """What performing came to: how many effects ended in each state."""

    states: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Performer:
    """Performs the effects of one mailbox. `paused` names why a rule's effects are held, or ""."""

    store: Store
    world: World
    account: str
    mailbox: str
    paused: Callable[[str], str]
    stopping: Callable[[], bool]
    tally: Tally = field(default_factory=Tally)

    def perform(self, rows: Sequence[EffectRow]) -> Tally:
        """Perform rows that `Store.unfinished` or `Store.record` gave. Raises TransientError if cut off."""
        queues: dict[int, deque[EffectRow]] = defaultdict(deque)
        for row in sorted(rows, key=lambda r: (r.uid, *_turn(r))):
            queues[row.uid].append(row)
        while queues and not self.stopping():
            round_ = {uid: queue.popleft() for uid, queue in queues.items()}
            staying = [row for row in round_.values() if not row.leaves]
            if staying:
                # Those that would leave wait until every message's other effects had their turn:
                # it makes their sets larger, and they leave in one command.
                for uid, row in round_.items():
                    if row.leaves:
                        queues[uid].appendleft(row)
                chosen = staying
            else:
                chosen = self._may_leave(list(round_.values()))
            for group in _sets(chosen):
                if self.stopping():
                    return self.tally
                for added in self._perform_set(group):  # what scripts asked for
                    queue = queues[added.uid]
                    queue.append(added)
                    queues[added.uid] = deque(sorted(queue, key=_turn))
            queues = defaultdict(deque, {uid: queue for uid, queue in queues.items() if queue})
        return self.tally

    def _may_leave(self, rows: list[EffectRow]) -> list[EffectRow]:
        blocking = self.store.blocking([row.id for row in rows])
        free = []
        for row in rows:
            if row.id in blocking:
                self.tally.states["waiting"] += 1
                log.debug(
                    "%s/%s uid=%d rule=%s %s waits for effect %s",
                    self.account, self.mailbox, row.uid, row.rule, row.action, blocking[row.id],
                )  # fmt: skip
            else:
                free.append(row)
        return free

    # -- one set ----------------------------------------------------------------------------------
    def _perform_set(self, rows: list[EffectRow]) -> list[EffectRow]:
        """Perform rows of the same action and arguments; gives back effects that scripts asked for."""
        try:
            rows = self._settle(rows)
        except TransientError as error:
            self._put_off(rows, error)
            return []
        if not rows or self._hold(rows):
            return []
        if rows[0].action in NOTES:
            self._end(rows, {row.id: Outcome("done") for row in rows})
            return []
        if rows[0].action in SET_ACTIONS:
            self._at_once(rows)
            return []
        added: list[EffectRow] = []
        for row in rows:  # each with its own look at the brakes: they hold before the next effect
            if self.stopping():
                break
            if not self._hold([row]):
                added += self._one(row)
        return added

    def _settle(self, rows: list[EffectRow]) -> list[EffectRow]:
        """What an earlier try left unfinished is settled first; gives those still to be done."""
        begun = begun_of(rows)
        if not begun:
            return rows
        mine = (self.account, self.mailbox, _hand(begun[0]))
        self.store.take(*mine, begun[0].uidvalidity, [row.uid for row in begun])
        with self.store.held(*mine):
            ended = settled(self.world, begun)
            self._end([row for row in begun if row.id in ended], ended)
        self.store.let_go(*mine)
        return [row for row in rows if row.id not in ended]

    def _hold(self, rows: list[EffectRow]) -> bool:
        """Whether a person has paused the rule: then its effects are held."""
        held = self.paused(rows[0].rule)
        if held:
            self._end(rows, {row.id: Outcome("held", {"because": held}) for row in rows})  # type: ignore[arg-type]
        return bool(held)

    def _at_once(self, rows: list[EffectRow]) -> None:
        """A set with one command: intent for all, the act, how each ended."""
        action, arguments = rows[0].action, rows[0].arguments
        evidence: Mapping[str, Any] = {}
        try:
            if action in MOVES or action == "copy":
                evidence = self.world.destination(arguments["mailbox"])
        except PermanentError as error:
            self._end(rows, {row.id: Outcome("failed", {"error": str(error)}) for row in rows})
            return
        except TransientError as error:
            self._put_off(rows, error)
            return
        rows = self._intend(rows, evidence)
        if rows:
            with self.store.held(self.account, self.mailbox, ACTING):
                try:
                    self._end(rows, self._verb(rows))
                except Fenced:
                    raise
                except TransientError as error:
                    self._put_off(rows, error)

    def _put_off(self, rows: Sequence[EffectRow], error: TransientError) -> None:
        """What failed for these alone is tried again later, and the others go on.

        A lost connection, a journal that can't be written, and a server that asks for patience concern
        everything: those are raised.
        """
        if not self.world.alive or isinstance(error, StoreError | Fenced) or error.retry_after:
            raise error
        self._end(rows, {row.id: Outcome("later", {"error": str(error)}) for row in rows})

    def _intend(self, rows: list[EffectRow], evidence: Mapping[str, Any]) -> list[EffectRow]:
        """Write that these are about to be done; rows that a person took from us meanwhile fall out.

        Where an earlier try was going to put them stays written: its copy may still show.
        """
        frm: tuple[State, ...] = ("planned", "later", "intent", "copied", "commit")
        detail = {
            row.id: {"destination": dict(evidence)} if evidence and "destination" not in row.detail else {}
            for row in rows
        }
        try:
            return self.store.advance(
                [row.id for row in rows], frm=frm, to="intent", at=clock.now(), detail=detail,
                hand=_hand(rows[0]),
            )  # fmt: skip
        except Fenced:
            if len(rows) == 1:
                return []
            return [mine for row in rows for mine in self._intend([row], evidence)]

    def _verb(self, rows: list[EffectRow]) -> dict[int, Outcome]:
        targets = [row.target_message for row in rows]
        arguments = rows[0].arguments
        action = rows[0].action
        try:
            if action in MOVES:
                outcomes = self.world.move(
                    targets, arguments["mailbox"], on_copied=lambda copied: self._copied(rows, copied)
                )
            elif action == "copy":
                outcomes = self.world.copy(targets, arguments["mailbox"])
            elif action == "flag":
                outcomes = self.world.add_flags(targets, arguments["flags"])
            elif action == "unflag":
                outcomes = self.world.remove_flags(targets, arguments["flags"])
            else:
                outcomes = self.world.delete(targets)
        except PermanentError as error:
            return {row.id: Outcome("failed", {"error": str(error)}) for row in rows}
        missing = Outcome("unknown", {"error": "the server did not say what became of it"})
        return {row.id: outcomes.get(row.uid, missing) for row in rows}

    def _copied(self, rows: Sequence[EffectRow], copied: Mapping[int, Outcome]) -> None:
        """The copies of a move without MOVE are proven: only the originals are left to remove."""
        proven = [row for row in rows if row.uid in copied]
        self.store.advance(
            [row.id for row in proven],
            frm="intent",
            to="copied",
            at=clock.now(),
            detail={row.id: copied[row.uid].detail for row in proven},
        )

    def _one(self, row: EffectRow) -> list[EffectRow]:
        """An effect that can't be taken back: its commit point stands between intent and the act."""
        mine = self._intend([row], {})
        if not mine:
            return []
        with self.store.held(self.account, self.mailbox, _hand(row)):
            return self._do(mine[0])

    def _do(self, row: EffectRow) -> list[EffectRow]:
        committed = False

        def commit() -> None:
            nonlocal committed
            self.store.advance([row.id], frm="intent", to="commit", at=clock.now())
            committed = True

        verb = getattr(self.world, row.action)
        try:
            outcome: Outcome = verb(row.target_message, row.arguments, commit)
        except Fenced:
            # paused or decided by a person before the point of no return
            self.store.let_go(self.account, self.mailbox, _hand(row))
            return []
        except PermanentError as error:
            outcome = Outcome("failed", {"error": str(error)})
        except TransientError as error:
            if committed:
                raise  # found at commit, it will be `unknown`
            self._put_off([row], error)
            return []
        if outcome.answers:
            return self._answered(row, outcome)
        self._end([row], {row.id: outcome})
        return []

    def _answered(self, row: EffectRow, outcome: Outcome) -> list[EffectRow]:
        answers = [
            PlannedEffect(
                rule=row.rule, revision=row.revision, step=row.step, action=action, arguments=dict(arguments),
                leaves=action in MOVES, once=False, because=f"asked for by effect {row.id}",
            )
            for action, arguments in outcome.answers
        ]  # fmt: skip
        if any(a.leaves for a in answers) and self.store.leaving(row.id):
            self._end(
                [row],
                {
                    row.id: Outcome(
                        "failed", {**outcome.detail, "error": "its answer would move the message twice"}
                    )
                },
            )
            return []
        added = self.store.answered(row.id, answers, detail=outcome.detail, at=clock.now())
        self._say(row, outcome)
        self.tally.states["done"] += 1
        return added

    # -- endings ----------------------------------------------------------------------------------
    def _end(self, rows: Sequence[EffectRow], outcomes: Mapping[int, Outcome]) -> None:
        """Write how each ended, one transaction a state."""
        by_state: dict[str, list[EffectRow]] = defaultdict(list)
        at = clock.now()
        for row in rows:
            by_state[outcomes[row.id].state].append(row)
        for last, (state, those) in enumerate(by_state.items(), 1 - len(by_state)):
            self.store.advance(
                [row.id for row in those],
                frm=("planned", "later", "intent", "copied", "commit"),
                to=cast(State, state),
                at=at,
                detail={row.id: outcomes[row.id].detail for row in those},
                next_try=self._next_try(those, outcomes, at) if state == "later" else None,
                hand=_hand(those[0]) if last == 0 else "",
            )
            self.tally.states[state] += len(those)
            for row in those:
                self._say(row, outcomes[row.id])
        worn_out = [row for row in by_state["later"] if next_try(row.tries) is None]
        for row in worn_out:
            reason = str(outcomes[row.id].detail.get("error", "")) or "it kept failing"
            self.store.quarantine([row.id], reason=f"given up after {row.tries} tries: {reason}", at=at)
            log.error("%s/%s uid=%d given up after %d tries: %s", *self._place(row), row.tries, reason)

    def _next_try(self, rows: Sequence[EffectRow], outcomes: Mapping[int, Outcome], at: datetime) -> datetime:
        wait = max((next_try(row.tries) or timedelta(0) for row in rows), default=timedelta(0))
        asked = max(outcomes[row.id].retry_after or 0.0 for row in rows)
        return at + max(wait, timedelta(seconds=asked))

    def _place(self, row: EffectRow) -> tuple[str, str, int]:
        return self.account, self.mailbox, row.uid

    def _say(self, row: EffectRow, outcome: Outcome) -> None:
        level = logging.INFO if outcome.state in ("done", "gone", "held") else logging.WARNING
        error = outcome.detail.get("error") or outcome.detail.get("because") or ""
        log.log(
            level,
            "%s/%s uid=%d rule=%s %s%s %s%s",
            self.account, self.mailbox, row.uid, row.rule, row.action, _where(row), outcome.state,
            f": {error}" if error else "",
        )  # fmt: skip


def _turn(row: EffectRow) -> tuple[bool, int, int]:
    """When an effect's turn comes among those on its message: leaving last."""
    return row.leaves, row.order, row.id


def _hand(row: EffectRow) -> str:
    """The hand that it is in while it is done (`Store.advance`)."""
    return ACTING if row.action in SET_ACTIONS else doing(row.id)


def _where(row: EffectRow) -> str:
    if "mailbox" in row.arguments:
        return f" to={row.arguments['mailbox']}"
    if "flags" in row.arguments:
        return f" {' '.join(row.arguments['flags'])}"
    return ""


def _sets(rows: Sequence[EffectRow]) -> list[list[EffectRow]]:
    """Rows of the same action, arguments and rule together, at most LARGEST_SET of them."""
    sets: dict[tuple[str, str, str], list[EffectRow]] = defaultdict(list)
    for row in rows:
        sets[row.action, json.dumps(row.arguments, sort_keys=True), row.rule].append(row)
    return [
        those[start : start + LARGEST_SET]
        for those in sets.values()
        for start in range(0, len(those), LARGEST_SET)
    ]
