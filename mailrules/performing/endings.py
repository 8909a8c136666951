"""How effects ended: into the journal, and into the log."""

from __future__ import annotations

import logging
import threading
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast

from mailrules import clock
from mailrules.adapters.store import EffectRow, Fenced, State, Store, StoreError, doing
from mailrules.core.actions.base import Outcome, PlannedEffect
from mailrules.core.assigned import is_assigned
from mailrules.core.errors import TransientError
from mailrules.core.retry import OUTAGE, next_try
from mailrules.performing.recovery import MOVES

log = logging.getLogger("mailrules.run")


@dataclass(slots=True)
class Tally:
    """What performing came to: how many effects ended in each state. From any thread."""

    states: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, state: str, count: int = 1) -> None:
        with self._lock:
            self.states[state] += count


@dataclass(frozen=True, slots=True)
class Endings:
    """Of the effects of one mailbox. From any thread."""

    store: Store
    account: str
    mailbox: str
    tally: Tally = field(default_factory=Tally)

    def end(self, rows: Sequence[EffectRow], outcomes: Mapping[int, Outcome], *, hand: str = "") -> None:
        """Write how each ended, one transaction a state. The `hand` that they are in is empty then.

        Raises Fenced, StoreError.
        """
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
                detail={row.id: _detail(row, outcomes[row.id]) for row in those},
                next_try=_next_try(those, outcomes, at) if state == "later" else None,
                hand=hand if last == 0 else "",
                known=those,
            )
            self.tally.add(state, len(those))
            for row in those:
                self._say(row, state, _why(outcomes[row.id]))
        for row in by_state["later"]:
            if _wait(row, outcomes[row.id]) is None:
                self._give_up(row, outcomes[row.id], at)

    def end_one(self, row: EffectRow, outcome: Outcome) -> None:
        """`end` of one that is done by itself."""
        self.end([row], {row.id: outcome}, hand=doing(row.id))

    def put_off(
        self, rows: Sequence[EffectRow], error: TransientError, *, alive: bool, hand: str = ""
    ) -> None:
        """What failed for these alone is tried again later, and the others go on.

        A lost connection (not `alive`), a journal that can't be written, and a server that asks for
        patience concern everything: those are raised.
        """
        if not alive or isinstance(error, StoreError | Fenced) or error.retry_after:
            raise error
        self.end(rows, {row.id: Outcome("later", {"error": str(error)}) for row in rows}, hand=hand)

    def let_go(self, row: EffectRow) -> None:
        """It is in hand no more, and stays where it is in the journal."""
        try:
            self.store.let_go(self.account, self.mailbox, doing(row.id))
        except StoreError as error:
            log.error("%s", error)  # the next start only takes more care than it needs to

    def hold(self, rows: Sequence[EffectRow]) -> list[EffectRow]:
        """Effects that a pause covers are held; gives the others that are ours still."""
        try:
            why = self.store.hold(rows, at=clock.now())
        except Fenced:
            return [mine for row in rows for mine in self.hold([row])] if len(rows) > 1 else []
        for row in rows:
            if row.id in why and row.state != "commit":
                self.tally.add("held")
                self._say(row, "held", why[row.id])
        return [row for row in rows if row.id not in why]

    def make_room(self, rows: Sequence[EffectRow]) -> list[EffectRow]:
        """Of sends, those that there is room for now; the others are put off or held."""
        if not rows:
            return []
        try:
            free, others, why = self.store.room_to_send(rows, at=clock.now())
        except Fenced:
            return [mine for row in rows for mine in self.make_room([row])] if len(rows) > 1 else []
        if others:
            self.tally.add(others, len(rows) - len(free))
            log.warning(
                "%s/%s: of %d messages to be sent %d are %s: %s",
                self.account, self.mailbox, len(rows), len(rows) - len(free), others, why,
            )  # fmt: skip
        return free

    def answered(self, row: EffectRow, outcome: Outcome) -> list[EffectRow]:
        """A script is done and asked for more: those effects, to be performed."""
        answers = [
            PlannedEffect(
                rule=row.rule, revision=row.revision, step=row.step, action=action, arguments=dict(arguments),
                leaves=_leaves(action, arguments), once=False, because=f"asked for by effect {row.id}",
            )
            for action, arguments in outcome.answers
        ]  # fmt: skip
        if any(a.leaves for a in answers) and self.store.leaving(row.id):
            twice = {**outcome.detail, "error": "its answer would move the message twice"}
            self.end([row], {row.id: Outcome("failed", twice)})
            return []
        added = self.store.answered(row.id, answers, detail=outcome.detail, at=clock.now())
        self._say(row, outcome.state, _why(outcome))
        self.tally.add("done")
        return added

    def _give_up(self, row: EffectRow, outcome: Outcome, at: datetime) -> None:
        reason = str(outcome.detail.get("error", "")) or "it kept failing"
        self.store.quarantine([row.id], reason=f"given up after {row.tries} tries: {reason}", at=at)
        log.error(
            "%s/%s uid=%d given up after %d tries: %s",
            self.account, self.mailbox, row.uid, row.tries, reason,
        )  # fmt: skip

    def _say(self, row: EffectRow, state: str, error: str) -> None:
        level = logging.INFO if state in ("done", "gone", "held") else logging.WARNING
        if not log.isEnabledFor(level):
            return
        log.log(
            level,
            "%s/%s uid=%d rule=%s %s%s %s%s",
            self.account, self.mailbox, row.uid, row.rule, row.action, _where(row), state,
            f": {error}" if error else "",
        )  # fmt: skip


def _why(outcome: Outcome) -> str:
    return str(outcome.detail.get("error") or outcome.detail.get("because") or "")


def _leaves(action: str, arguments: Mapping[str, Any]) -> bool:
    return action in MOVES or is_assigned(action, arguments, how="mailbox")


def _next_try(rows: Sequence[EffectRow], outcomes: Mapping[int, Outcome], at: datetime) -> datetime:
    wait = max((_wait(row, outcomes[row.id]) or timedelta(0) for row in rows), default=timedelta(0))
    asked = max(outcomes[row.id].retry_after or 0.0 for row in rows)
    return at + max(wait, timedelta(seconds=asked))


def _detail(row: EffectRow, outcome: Outcome) -> Mapping[str, Any]:
    """What goes into the log, and how many tries never came to the message."""
    return {**outcome.detail, "unreached": _unreached(row, outcome)} if outcome.unreached else outcome.detail


def _wait(row: EffectRow, outcome: Outcome) -> timedelta | None:
    """Until the next try; None: enough. A server that is away does not use up the tries of the messages."""
    unreached = _unreached(row, outcome)
    if outcome.unreached:
        return next_try(unreached, ladder=OUTAGE)
    return next_try(row.tries - unreached)


def _unreached(row: EffectRow, outcome: Outcome) -> int:
    return int(row.detail.get("unreached", 0)) + outcome.unreached


def _where(row: EffectRow) -> str:
    if "mailbox" in row.arguments:
        return f" to={row.arguments['mailbox']}"
    for names in ("flags", "labels"):
        if names in row.arguments:
            return f" {' '.join(row.arguments[names])}"
    return ""
