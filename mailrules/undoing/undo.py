"""`undo`: takes back what effects did, as far as that is possible and nobody has changed it since.

::

    chosen = store.recorded(…)          the effects that are meant
    jobs                                one for each message, by the journal (`inverse.py`)
    look                                where each message is now, and its flags (`whereabouts.py`)
    settle                              what is to be done, and why some is left as it is (`settling.py`)
    drop, finish                        what was never begun is dropped; what was begun is found out first
    store.plan_undo, perform            as all effects: planned → intent → done, in sets, leaving last

Copies go first, while their originals are proven where they are.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from mailrules import clock
from mailrules.adapters.imap.connection import Connection
from mailrules.adapters.store import EffectRow, LogQuery, Recorded
from mailrules.core.decision import rules_for
from mailrules.core.errors import NoSuchName, PermanentError, TransientError
from mailrules.house import House
from mailrules.undoing.inverse import (
    History,
    Place,
    nothing,
    place_of,
    put,
    to_be_settled,
    why_not,
)
from mailrules.undoing.settling import Settlement
from mailrules.undoing.takings import Job, Taking
from mailrules.undoing.whereabouts import look

TOGETHER = 2500
"""Messages whose undo is recorded, then done together."""
PIECE = 500
"""Messages of one transaction."""

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class UndoSelection:
    """Which effects are to be taken back; all that is said must hold."""

    ids: tuple[int, ...] = ()
    run: int | None = None
    rules: tuple[str, ...] = ()
    message_id: str | None = None
    accounts: tuple[str, ...] = ()
    mailboxes: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    force: bool = False  # also what was moved on, or changed, since

    @property
    def named(self) -> bool:
        """Whether effects are named themselves, so that undos may be meant too."""
        return bool(self.ids) or self.run is not None

    def query(self) -> LogQuery:
        return LogQuery(
            since=self.since, until=self.until, rules=self.rules, accounts=self.accounts,
            mailboxes=self.mailboxes, message_id=self.message_id, run=self.run, ids=self.ids,
        )  # fmt: skip


@dataclass(slots=True)
class Undoer:
    """Says what can be taken back (`plan`), or does it (`undo`)."""

    house: House
    selection: UndoSelection
    stopping: Callable[[], bool] | None = None
    states: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    passing: bool = True
    _run: int | None = None

    def plan(self) -> Iterator[Event]:
        """`{"undo": …}` for each effect that is meant, then `{"result": …}`. Changes nothing."""
        yield from self._all(act=False)

    def undo(self) -> Iterator[Event]:
        """The same, done; with `{"progress": …}` between."""
        try:
            yield from self._all(act=True)
        finally:  # also if whoever asked has gone
            if self._run is not None:
                done = sum(self.states.values())
                self.house.store.end_run(self._run, at=clock.now(), judged=0, matched=done)

    def _all(self, *, act: bool) -> Iterator[Event]:
        chosen = self._chosen()
        by_account: dict[str, list[Recorded]] = defaultdict(list)
        for recorded in chosen:
            by_account[recorded.row.account].append(recorded)
        takings: list[Taking] = []
        for account, those in by_account.items():
            mine = [Taking(recorded) for recorded in those]
            takings += mine
            try:
                yield from self._account(account, mine, act=act, alone=len(by_account) == 1)
            except (TransientError, PermanentError) as error:
                self.errors.append(f"{account}: {error}")
                self.passing = self.passing and isinstance(error, TransientError)
                for taking in mine:
                    if taking.undo is None:
                        taking.action = ""
                        taking.leave(str(error))
        self._learn_states(takings)
        for taking in takings:
            yield {"undo": taking.as_json()}
        yield {"result": self._result(takings)}

    def _chosen(self) -> list[Recorded]:
        selection = self.selection
        chosen = self.house.store.recorded(selection.query())
        missing = set(selection.ids) - {recorded.row.id for recorded in chosen}
        if missing:
            raise NoSuchName(f"there is no effect {min(missing)} in the log. `mailrules log` shows them.")
        if selection.ids:
            return chosen
        return [
            recorded
            for recorded in chosen
            if not nothing(recorded.row) and (selection.named or recorded.row.undoes is None)
        ]

    def _result(self, takings: Sequence[Taking]) -> Event:
        return {
            "summary": {
                "effects": len(takings),
                "undone": sum(taking.state in ("would", "done") for taking in takings),
                "dropped": sum(taking.dropped for taking in takings),
                "begun": sum(taking.begun for taking in takings),
                "left": sum(not (taking.action or taking.dropped or taking.begun) for taking in takings),
                "run": self._run,
            },
            "states": dict(self.states),
            "returning": self._returning(takings),
            "errors": self.errors,
            "passing": self.passing,
        }

    def _returning(self, takings: Sequence[Taking]) -> list[str]:
        """Rules that act again on what is put back (`on_return: apply`)."""
        homes = {(t.row.account, str(t.arguments["mailbox"])) for t in takings if t.action == "move"}
        return sorted(
            {
                rule.name
                for account, home in homes
                if home in self.house.state(account).watched
                for rule in rules_for(self.house.config.rules, account, home)
                if rule.on_return == "apply" and rule.enabled
            }
        )

    def _learn_states(self, takings: Sequence[Taking]) -> None:
        """How the undos ended."""
        rows = self.house.store.states({taking.undo for taking in takings if taking.undo is not None})
        for row in rows.values():
            self.states[row.state] += 1
        for taking in takings:
            if taking.undo is not None:
                row = rows[taking.undo]
                taking.state = "running" if row.state in ("intent", "copied", "commit") else row.state
                if row.state != "done":
                    taking.leave(str(row.detail.get("error") or ""))

    # -- one account ------------------------------------------------------------------------------
    def _account(self, account: str, takings: Sequence[Taking], *, act: bool, alone: bool) -> Iterator[Event]:
        if account not in self.house.config.accounts:
            raise PermanentError(f"there is no such account in {self.house.config.path} any more.")
        connection = self.house.connect(account)
        try:
            connection.open()
            self.house.discover(account, connection)
            planned = [taking.row.id for taking in takings if taking.row.state == "planned"]
            unbegun = self.house.store.unbegun(planned)
            for taking in takings:
                taking.unbegun = taking.row.id in unbegun
            if act:
                self._drop(account, takings)
                self._finish(account, connection, takings)
            else:
                self._foresee(takings)
            jobs, history = self._jobs(account, takings, labels="X-GM-EXT-1" in connection.capabilities)
            sought = [*jobs, *(job.original for job in jobs if job.original is not None)]
            look(connection, sought, _copies(history))
            trash = connection.special_use().get("\\Trash")
            settlement = Settlement(history, trash, self.selection.force)
            for job in jobs:
                settlement.settle(job)
            if act:
                yield from self._do(account, connection, jobs, alone=alone)
        finally:
            connection.close()

    def _drop(self, account: str, takings: Sequence[Taking]) -> None:
        """What was never begun is not begun for the sake of this. Who acts in the mailbox is waited for."""
        by_mailbox: dict[str, list[Taking]] = defaultdict(list)
        for taking in takings:
            if taking.unbegun:
                by_mailbox[taking.row.mailbox].append(taking)
        for name, those in by_mailbox.items():
            with self.house.lock(account, name):
                dropped = self.house.store.drop(
                    [taking.row.id for taking in those], because="undone before it was begun", at=clock.now()
                )
            for taking in those:
                taking.dropped = taking.row.id in dropped

    def _foresee(self, takings: Sequence[Taking]) -> None:
        """What `_drop` and `_finish` would do."""
        midst = {place_of(taking.row) for taking in takings if _in_midst(taking)}
        for taking in takings:
            taking.dropped = taking.unbegun
            taking.begun = _in_midst(taking) or (taking.row.state == "done" and place_of(taking.row) in midst)

    def _finish(self, account: str, connection: Connection, takings: Sequence[Taking]) -> None:
        """What an earlier undo left over is done first, and what is in the midst is found out; no more."""
        midst = {taking.row.id for taking in takings if _in_midst(taking)}
        left = set(self.house.store.unfinished_mailboxes(account))
        names = {taking.row.mailbox for taking in takings}
        names |= {there.mailbox for taking in takings if (there := put(taking.row)) is not None}
        for name in sorted(left & names):
            with suppress(PermanentError):  # the mailbox is gone, say: the others are not to wait for it
                self.house.finish(
                    account, connection, name, which=lambda row: row.undoes is not None or row.id in midst
                )
        fresh = self.house.store.states(taking.row.id for taking in takings)
        for taking in takings:
            row = fresh.get(taking.row.id, taking.row)
            taking.recorded = Recorded(row, taking.recorded.message_id, taking.recorded.subject)

    def _jobs(self, account: str, takings: Sequence[Taking], *, labels: bool) -> tuple[list[Job], History]:
        """What the journal alone says: one job for each message, leaving out what can't be.

        `labels`: the server's mailboxes are labels of the same messages (Gmail).
        """
        history = History.of(self.house.store.done_to(account, (taking.row.identity for taking in takings)))
        jobs: dict[tuple[Place, str, bool], Job] = {}
        for taking in takings:
            row = taking.row
            reason = _beforehand(taking) or why_not(row, history)
            if reason:
                taking.leave(reason)
                continue
            start, copied = place_of(row), row.action == "copy"
            if copied:
                there = put(row)
                if there is None or not there.uid:
                    taking.leave("the server did not say where it put the copy")
                    continue
                if labels:  # the trash would take the message itself, out of every mailbox
                    taking.leave(f"on Gmail it is the message itself: take the label {there.mailbox} off")
                    continue
                start = there
            thread = history.thread(start)
            key = (thread.end, row.identity, copied)
            job = jobs.setdefault(key, Job(row.identity, thread, copy=copied))
            if len(thread.places) > len(job.thread.places):
                job.thread = thread  # seen from further back
            if copied:
                job.original = Job(row.identity, history.thread(place_of(row)))
            job.takings.append(taking)
        return list(jobs.values()), history

    # -- doing it ---------------------------------------------------------------------------------
    def _do(
        self, account: str, connection: Connection, jobs: Sequence[Job], *, alone: bool
    ) -> Iterator[Event]:
        acting = [job for job in jobs if job.plans]
        done, total = 0, len(acting)
        for copies in (True, False):
            by_mailbox: dict[tuple[str, int], list[Job]] = defaultdict(list)
            for job in acting:
                if job.copy == copies and job.at is not None:
                    by_mailbox[job.at.mailbox, job.at.uidvalidity].append(job)
            for (name, uidvalidity), those in by_mailbox.items():
                for start in range(0, len(those), TOGETHER):
                    if self._stopped():
                        self._abandon(those[start:])
                        break
                    window = those[start : start + TOGETHER]
                    run = self._started(account if alone else "", name if len(by_mailbox) == 1 else "")
                    self._do_window(run, account, connection, name, uidvalidity, window)
                    done += len(window)
                    yield {
                        "progress": {
                            "account": account, "mailbox": name, "done": done, "total": total,
                            "phase": "undoing",
                        }
                    }  # fmt: skip

    def _do_window(
        self,
        run: int,
        account: str,
        connection: Connection,
        name: str,
        uidvalidity: int,
        window: Sequence[Job],
    ) -> None:
        with self.house.lock(account, name):
            selected = connection.selected(name) or connection.select(name)
            if selected.uidvalidity != uidvalidity:
                raise TransientError(f"{name} was numbered anew meanwhile. Say it again.")
            rows: list[EffectRow] = []
            for start in range(0, len(window), PIECE):
                plans = [plan for job in window[start : start + PIECE] for plan in job.plans]
                planned = self.house.store.plan_undo(
                    run, account, name, uidvalidity, [undo for undo, _ in plans], at=clock.now()
                )
                for row, (_, takings) in zip(planned, plans, strict=True):
                    for taking in takings:
                        taking.undo = row.id
                rows += planned
            self.house.performer(account, connection, selected).perform(rows)

    def _started(self, account: str, mailbox: str) -> int:
        """One run for the whole undo, so that it can be undone as one."""
        if self._run is None:
            self._run = self.house.store.start_run(
                account=account, mailbox=mailbox, kind="undo",
                rules_hash=self.house.config.text_hash, at=clock.now(),
            )  # fmt: skip
        return self._run

    def _stopped(self) -> bool:
        return (self.stopping or self.house.stopping.is_set)()

    def _abandon(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            for taking in job.takings:
                if taking.action:
                    taking.action, taking.state = "", None
                    taking.leave("stopped before its turn")


def _beforehand(taking: Taking) -> str:
    """Why there is nothing to be looked for, or ""."""
    if taking.dropped:
        return "it was never begun, and is dropped"
    if taking.begun:
        return "its message is in the midst: what came of that is found out first, then it is taken back"
    return ""


def _copies(history: History) -> set[Place]:
    """Where copies are that we made: the same message by identity, but not the one."""
    return {
        history.thread(there).end
        for row in history.rows.values()
        if row.action == "copy" and row.state == "done" and (there := put(row)) is not None
    }


def _in_midst(taking: Taking) -> bool:
    return to_be_settled(taking.row, unbegun=taking.unbegun)
