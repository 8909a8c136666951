"""`undo`: takes back what effects did, as far as that is possible and nobody has changed it since.

::

    chosen = store.recorded(…)          the effects that are meant
    jobs                                one for each message, by the journal (`inverse.py`)
    look                                where each message is now, and its flags: one FETCH a mailbox
    settle                              what is to be done, and why some things are left as they are
    store.plan_undo, perform            as all effects: planned → intent → done, in sets, leaving last

Copies go first, while their originals are proven where they are.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from mailrules import clock
from mailrules.adapters.imap.connection import Connection
from mailrules.adapters.imap.identity import Identity
from mailrules.adapters.store import TURNS, EffectRow, LogQuery, PlannedUndo, Recorded
from mailrules.core.decision import rules_for
from mailrules.core.errors import PermanentError, TransientError
from mailrules.house import House
from mailrules.inverse import (
    OPPOSITE,
    History,
    Place,
    Thread,
    nothing,
    place_of,
    put,
    turned_back,
    why_not,
)
from mailrules.planning import NoSuchName
from mailrules.recovery import MOVES

TOGETHER = 2500
"""Messages whose undo is recorded, then done together."""
PIECE = 500
"""Messages of one transaction."""
FEW = 20
"""So many messages are searched for one by one; for more, a mailbox is read through."""

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
class Taking:
    """One effect that is to be taken back, and what came of it."""

    recorded: Recorded
    because: str = ""  # why not, or not all of it
    action: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    at: Place | None = None
    undo: int | None = None  # the effect that takes it back
    state: str | None = None

    @property
    def row(self) -> EffectRow:
        return self.recorded.row

    def leave(self, because: str) -> None:
        self.because = "; ".join(filter(None, (self.because, because)))

    def will(self, action: str, arguments: Mapping[str, Any], at: Place) -> None:
        self.action, self.arguments, self.at, self.state = action, arguments, at, "would"

    def as_json(self) -> Event:
        row = self.row
        undo = None
        if self.action and self.at is not None:
            undo = {
                "id": self.undo, "mailbox": self.at.mailbox, "uid": self.at.uid, "action": self.action,
                "arguments": dict(self.arguments), "state": self.state,
            }  # fmt: skip
        return {
            "id": row.id,
            "account": row.account,
            "mailbox": row.mailbox,
            "uid": row.uid,
            "message_id": self.recorded.message_id,
            "subject": self.recorded.subject,
            "rule": row.rule or None,
            "action": row.action,
            "arguments": dict(row.arguments),
            "undo": undo,
            "because": self.because or None,
        }


@dataclass(slots=True)
class Job:
    """One message, and what is to be taken back of what was done to it."""

    identity: str
    thread: Thread
    takings: list[Taking] = field(default_factory=list)
    copy: bool = False  # it is a copy that we made
    original: Job | None = None  # of a copy
    at: Place | None = None
    known: Identity | None = None
    by_hand: bool = False  # it is elsewhere than where we put it
    plans: list[tuple[PlannedUndo, list[Taking]]] = field(default_factory=list)

    def leave(self, because: str) -> None:
        for taking in self.takings:
            taking.leave(because)

    def found(self, at: Place, known: Identity, *, by_hand: bool = False) -> None:
        self.at, self.known, self.by_hand = at, known, by_hand


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
                "left": sum(not taking.action for taking in takings),
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
            if act:
                self._finish(account, connection, takings)
            jobs = self._jobs(account, takings, labels="X-GM-EXT-1" in connection.capabilities)
            sought = [*jobs, *(job.original for job in jobs if job.original is not None)]
            self._look(connection, sought, self._copies())
            trash = connection.special_use().get("\\Trash")
            for job in jobs:
                self._settle(job, trash)
            if act:
                yield from self._do(account, connection, jobs, alone=alone)
        finally:
            connection.close()

    def _finish(self, account: str, connection: Connection, takings: Sequence[Taking]) -> None:
        """What an earlier undo left over is done first."""
        left = set(self.house.store.unfinished_mailboxes(account))
        names = {taking.row.mailbox for taking in takings}
        names |= {there.mailbox for taking in takings if (there := put(taking.row)) is not None}
        for name in sorted(left & names):
            with suppress(PermanentError):  # the mailbox is gone, say: the others are not to wait for it
                self.house.finish(account, connection, name)
        fresh = self.house.store.states(taking.row.id for taking in takings)
        for taking in takings:
            row = fresh.get(taking.row.id, taking.row)
            taking.recorded = Recorded(row, taking.recorded.message_id, taking.recorded.subject)

    def _jobs(self, account: str, takings: Sequence[Taking], *, labels: bool) -> list[Job]:
        """What the journal alone says: one job for each message, leaving out what can't be.

        `labels`: the server's mailboxes are labels of the same messages (Gmail).
        """
        self._history = history = History.of(
            self.house.store.done_to(account, (taking.row.identity for taking in takings))
        )
        jobs: dict[tuple[Place, str, bool], Job] = {}
        for taking in takings:
            row = taking.row
            reason = why_not(row, history)
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
        return list(jobs.values())

    def _copies(self) -> set[Place]:
        """Where copies are that we made: the same message by identity, but not the one."""
        history = self._history
        return {
            history.thread(there).end
            for row in history.rows.values()
            if row.action == "copy" and row.state == "done" and (there := put(row)) is not None
        }

    # -- looking ----------------------------------------------------------------------------------
    def _look(self, connection: Connection, jobs: Sequence[Job], copies: set[Place]) -> None:
        """Find each message: where the journal says, else by its identity wherever it is."""
        by_mailbox: dict[str, list[Job]] = defaultdict(list)
        for job in jobs:
            by_mailbox[job.thread.end.mailbox].append(job)
        for name, those in by_mailbox.items():
            self._look_there(connection, name, those)
        lost = [job for job in jobs if job.at is None]
        if lost:
            expected = {job.at for job in jobs if job.at is not None} | copies
            self._search(connection, lost, expected)

    def _look_there(self, connection: Connection, name: str, jobs: Sequence[Job]) -> None:
        try:
            box = connection.select(name, read_only=True)
        except PermanentError:
            return
        same = [job for job in jobs if job.thread.end.uidvalidity == box.uidvalidity]
        told = box.identities(sorted({job.thread.end.uid for job in same if job.thread.end.uid}))
        for job in same:
            known = told.get(job.thread.end.uid)
            if known is not None and known.identity == job.identity:
                job.found(job.thread.end, known)

    def _search(self, connection: Connection, lost: Sequence[Job], expected: set[Place]) -> None:
        """By identity, first in the mailboxes that the journal knows of, then in all."""
        near = {place.mailbox for job in lost for place in job.thread.places}
        listed = connection.mailboxes()
        everything = connection.special_use().get("\\All")  # a view of the others, on Gmail
        others = [info.name for info in listed if info.selectable and info.name != everything]
        others += [everything] if everything else []
        hits: dict[str, list[tuple[Place, Identity]]] = defaultdict(list)
        wanted = {job.identity for job in lost}
        for name in (*sorted(near), *(name for name in others if name not in near)):
            try:
                box = connection.select(name, read_only=True)
            except PermanentError:
                continue
            if len(wanted) <= FEW and not any(identity.startswith("sha256:") for identity in wanted):
                uids = sorted({uid for identity in wanted for uid in box.find(identity)})
            else:
                uids = box.uids()
            for uid, known in box.identities(uids).items():
                place = Place(name, box.uidvalidity, uid)
                if known.identity in wanted and place not in expected:
                    hits[known.identity].append((place, known))
            if name not in near:
                wanted -= hits.keys()  # found: no need to look everywhere
            if not wanted:
                break
        for job in lost:
            self._recognise(job, hits.get(job.identity, []))

    def _recognise(self, job: Job, hits: Sequence[tuple[Place, Identity]]) -> None:
        end = job.thread.end
        home = [hit for hit in hits if hit[0].mailbox == end.mailbox]
        if len(home) == len(hits) == 1:  # the server did not say its UID, or it has another one by now
            job.found(*home[0])
        elif len(hits) == 1 and not job.copy:
            job.found(*hits[0], by_hand=True)
        elif hits and not job.copy:
            where = ", ".join(sorted({place.mailbox for place, _ in hits}))
            job.leave(f"it is not where it was put, and there is more than one like it ({where})")
        else:
            job.leave("it is not where it was put, and nowhere else")

    # -- what is to be done -----------------------------------------------------------------------
    def _settle(self, job: Job, trash: str | None) -> None:
        if job.at is None or job.known is None:
            return
        if job.copy:
            self._settle_copy(job, trash)
            return
        moves = [t for t in job.takings if t.row.verb in MOVES]
        flags = [t for t in job.takings if t.row.verb in OPPOSITE]
        if job.by_hand and not self.selection.force:
            home = moves and job.at.mailbox == moves[0].row.mailbox
            words = f"it is back in {job.at.mailbox}" if home else f"it was moved on to {job.at.mailbox}"
            job.leave(f"{words} by somebody since; --force takes it back all the same")
            return
        if moves and not self._may_move(job, moves):
            moves = []
        self._turn_flags(job, flags)
        if moves:
            self._move_back(job, moves)

    def _may_move(self, job: Job, moves: Sequence[Taking]) -> bool:
        """Whether nothing else has moved it on since."""
        if self.selection.force:
            return True
        chosen = {taking.row.id for taking in moves}
        for taking in moves:
            since = self._history.later(taking.row, job.thread, chosen, MOVES)
            if since:
                for each in moves:
                    each.leave(f"effect {since[-1].id} has moved it on since; --force takes it back")
                return False
        return True

    def _move_back(self, job: Job, moves: Sequence[Taking]) -> None:
        """All the moves at once, to where the first of them took it from."""
        assert job.at is not None and job.known is not None
        first = next((t for row in job.thread.path for t in moves if t.row.id == row.id), moves[0])
        home = first.row.mailbox
        if job.at.mailbox == home:
            for taking in moves:
                taking.leave(f"it is in {home} already")
            return
        also = tuple(taking.row.id for taking in moves if taking is not first)
        arguments = {"mailbox": home}
        for taking in moves:
            taking.will("move", arguments, job.at)
        undo = PlannedUndo(job.at.uid, job.known, first.row, "move", arguments, leaves=True, also=also)
        job.plans.append((undo, list(moves)))

    def _turn_flags(self, job: Job, takings: Sequence[Taking]) -> None:
        assert job.at is not None and job.known is not None
        now = {
            "flags": {flag.lower() for flag in job.known.flags},
            "labels": {label.lower() for label in job.known.labels},
        }
        chosen = {taking.row.id for taking in takings}
        for taking in sorted(takings, key=lambda t: self._history.place(t.row), reverse=True):
            row = taking.row
            later = self._history.later(row, job.thread, chosen, OPPOSITE)
            turned = turned_back(row, now[TURNS[row.verb]], later, force=self.selection.force)
            for because in turned.because:
                taking.leave(because)
            if turned.flags:
                arguments = {TURNS[row.verb]: list(turned.flags)}
                taking.will(OPPOSITE[row.verb], arguments, job.at)
                undo = PlannedUndo(job.at.uid, job.known, row, OPPOSITE[row.verb], arguments, leaves=False)
                job.plans.append((undo, [taking]))

    def _settle_copy(self, job: Job, trash: str | None) -> None:
        assert job.at is not None and job.known is not None
        original = job.original
        since = [row for row in job.thread.path if row.undone is None and row.undoes is None]
        if since and not self.selection.force:
            job.leave(f"effect {since[-1].id} has moved the copy on since; --force takes it back")
        elif trash is None:
            job.leave("the account has no trash to put the copy into")
        elif job.at.mailbox == trash:
            job.leave("the copy is in the trash already")
        elif original is None or original.at is None:
            job.leave("the original is not to be found, so this may be the last copy")
        else:
            (taking,) = job.takings[:1]
            arguments = {"mailbox": trash, "special_use": "\\Trash"}
            taking.will("trash", arguments, job.at)
            home = taking.row.mailbox
            proof = {**original.at._asdict(), "or": home if home != job.at.mailbox else None}
            undo = PlannedUndo(
                job.at.uid, job.known, taking.row, "trash", arguments, leaves=True,
                detail={"original": proof},
            )  # fmt: skip
            job.plans.append((undo, [taking]))

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

    _history: History = field(default_factory=lambda: History({}))
