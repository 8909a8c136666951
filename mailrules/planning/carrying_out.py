"""What `apply` does with what it found, or with what a kept plan says: recorded and acted on, in windows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mailrules import clock
from mailrules.adapters.imap.connection import Connection
from mailrules.adapters.imap.mailbox import Mailbox
from mailrules.adapters.store import Decided, EffectRow
from mailrules.core.errors import TransientError
from mailrules.core.uidset import UidSet
from mailrules.house import House
from mailrules.judging.judge import PIECE
from mailrules.planning.planned import Event, Planned, Progress, Selection, Summary

ONE_BY_ONE = 40
"""The same where there are scripts or mail to be sent among them."""
TOGETHER = 1250
"""Messages recorded, then acted on together: large enough for sets of hundreds, done in a second or so."""


@dataclass(frozen=True, slots=True)
class Do:
    """This message is to be acted on now."""

    planned: Planned


@dataclass(slots=True)
class _Acting:
    """How far a run that acts has come."""

    run: int
    done: int = 0
    matched: int = 0
    states: Counter[str] = field(default_factory=Counter)


class CarryingOut:
    """The half of `apply` that acts. Events come as they happen; `summary` counts."""

    house: House
    selection: Selection
    summary: Summary
    _stopping: Callable[[], bool]
    _first_run = 0
    """What `per_run` is counted by: one `apply` is one run, in however many mailboxes."""

    def _do(
        self,
        account: str,
        connection: Connection,
        mailbox: Mailbox,
        found: Iterable[Event | Do],
        *,
        total: Callable[[], int],
        judged: Callable[[], int],
        braked: Callable[[], bool] = lambda: False,
        detail: Mapping[str, Any] | None = None,
    ) -> Iterator[Event]:
        """Record and perform, some messages at a time. Other events of `found` are handed on.

        `total`: of how many, by what is found so far. `braked`: whether, after all, nothing is to be done.
        """
        acting: _Acting | None = None
        window = _Window()
        try:
            for each in found:
                if not isinstance(each, Do):
                    yield each
                    continue
                acting = acting or self._begin(account, mailbox, detail)
                if window.add(each.planned):
                    yield from self._act(acting, account, connection, mailbox, window.take(), total)
                    if self.summary.stopped:
                        return
            if self.summary.stopped or braked():
                return
            acting = acting or self._begin(account, mailbox, detail)
            if window.messages:
                yield from self._act(acting, account, connection, mailbox, window.take(), total)
        finally:
            if acting is not None:
                self.summary.states.update(acting.states)
                self.house.store.end_run(
                    acting.run, at=clock.now(), judged=judged(), matched=acting.matched, detail=detail
                )

    def _begin(self, account: str, mailbox: Mailbox, detail: Mapping[str, Any] | None) -> _Acting:
        run = self.house.store.start_run(
            account=account,
            mailbox=mailbox.name,
            kind="apply",
            rules_hash=self.house.config.text_hash,
            at=clock.now(),
            detail=detail,
        )
        self._first_run = self._first_run or run
        self.summary.runs.append(run)
        return _Acting(run)

    def _act(
        self,
        acting: _Acting,
        account: str,
        connection: Connection,
        mailbox: Mailbox,
        window: Sequence[Planned],
        total: Callable[[], int],
    ) -> Iterator[Event]:
        """Record and perform these, unless it is to stop."""
        if self._stopping():
            self.summary.stopped = True
            return
        if not acting.done:  # whoever asked knows then that something is begun
            yield Progress(account, mailbox.name, 0, total(), "acting", {}, acting.run)
        told: list[Event] = []
        with self.house.lock(account, mailbox.name):
            selected = connection.selected(mailbox.name) or connection.select(mailbox.name)
            same_numbers(selected, mailbox)
            fit = self._fit(account, selected, window, told)
            self.summary.begun += len(window)
            acting.states.update(self._perform(acting.run, account, connection, selected, fit))
        if self._stopping() and self.house.store.unfinished_of([acting.run]):
            self.summary.stopped = True  # in the midst of these
        acting.done += len(window)
        acting.matched += len(fit)
        yield from told
        yield Progress(account, mailbox.name, acting.done, total(), "acting", dict(acting.states), acting.run)

    def _perform(
        self, run: int, account: str, connection: Connection, mailbox: Mailbox, window: Sequence[Planned]
    ) -> Counter[str]:
        """Gives what became of the effects."""
        rows: list[EffectRow] = []
        for piece in (window[at : at + PIECE] for at in range(0, len(window), PIECE)):
            connection.lane.let_pass()
            rows += self.house.store.record(
                run, account, mailbox.name, mailbox.uidvalidity,
                [Decided(uid=p.uid, identity=p.identity, effects=p.decision.effects) for p in piece],
                judged=self._judged(piece), high_uid=0, at=clock.now(), again=self.selection.again,
                together=self._first_run,
            )  # fmt: skip
        performer = self.house.performer(account, connection, mailbox)
        tally = performer.perform([row for row in rows if row.state == "planned"])
        return Counter(tally.states) + Counter(
            row.state for row in rows if row.state in ("held", "failed", "would")
        )

    def _fit(
        self, account: str, mailbox: Mailbox, window: Sequence[Planned], told: list[Event]
    ) -> Sequence[Planned]:
        """Those of a window that are to be acted on: here all, for they were judged a moment ago."""
        return window

    def _judged(self, window: Sequence[Planned]) -> UidSet:
        """What all the rules have judged now is not new any more; what only some have, still is."""
        if self.selection.rules:
            return UidSet()
        return UidSet(planned.uid for planned in window)

    def _ours(self, account: str, mailbox: Mailbox, uids: Sequence[int]) -> list[int]:
        """Without what kills, and what the running worker is about to judge: what came just now."""
        deadly = self.house.store.deadly(account, mailbox.name, mailbox.uidvalidity)
        ours = [uid for uid in uids if uid not in deadly]
        if self.house.watching and mailbox.name in self.house.state(account).watched:
            judged = self.house.store.judged(account, mailbox.name)
            ours = [uid for uid in ours if uid in judged]
        return ours


@dataclass(slots=True)
class _Window:
    """Messages recorded, then acted on together; few where scripts and SMTP take their time, for new mail
    waits for us."""

    messages: list[Planned] = field(default_factory=list)
    slow: bool = False

    def add(self, planned: Planned) -> bool:
        """Whether that makes it full."""
        self.messages.append(planned)
        self.slow = self.slow or any(effect.once for effect in planned.decision.effects)
        return len(self.messages) >= (ONE_BY_ONE if self.slow else TOGETHER)

    def take(self) -> list[Planned]:
        """What is in it, and it is empty."""
        messages, self.messages, self.slow = self.messages, [], False
        return messages


def same_numbers(selected: Mailbox, mailbox: Mailbox) -> None:
    if selected.uidvalidity != mailbox.uidvalidity:
        raise TransientError(f"{mailbox.name} was numbered anew meanwhile. Say it again.")
