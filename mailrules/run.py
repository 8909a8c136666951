"""One pass over one mailbox: finish what was left, find what is new, decide, record, perform.

::

    perform(store.unfinished(mailbox))      first what a crash or a passing failure left over
    uids = sweep(mailbox)                   a UID sweep is the truth; EXISTS is only a hint
    judged = judge(uids)                    facts, decisions, missing facts, decisions
    rows = store.record(judged)             decisions, planned effects, checkpoint: ONE transaction
    perform(rows)                           in sets, leaving last

and last, one by one, what the process may have died of (R10).
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from mailrules import clock
from mailrules.adapters.imap.identity import Identity
from mailrules.adapters.imap.mailbox import Mailbox
from mailrules.adapters.store import JUDGING, Decided, EffectRow, Look, Store, Swept
from mailrules.core.decision import Decision
from mailrules.core.retry import LONGEST_WAIT, next_try
from mailrules.core.safe import cut
from mailrules.core.uidset import UidSet
from mailrules.judging.baseline import Baseline
from mailrules.judging.judge import PIECE, Judge, Judged
from mailrules.judging.pace import Pace
from mailrules.performing.assigning import loads_of
from mailrules.performing.endings import Tally
from mailrules.performing.leftover import of_runs
from mailrules.performing.perform import Performer

log = logging.getLogger("mailrules.run")

OVERLAP = 200
"""UIDs below the checkpoint that every sweep looks at again: some servers show UIDs late (R4)."""
FULL_SCAN = timedelta(days=1)
SOON = timedelta(seconds=30)
SLICE = 1.0
"""Seconds for suspects before new mail is looked for again: nobody waits longer for their sake (P4)."""
QUEUE = timedelta(seconds=5)
"""After which it is asked again whether it is a suspect's turn."""

Kind = Literal["new", "once", "apply", "schedule"]
Which = Callable[[EffectRow], bool]


@dataclass(slots=True)
class RunResult:
    """What a run came to. `due`: when something of this mailbox is to be tried again."""

    judged: int = 0
    matched: int = 0
    baseline: int | None = None
    deferred: int = 0
    tally: Tally = field(default_factory=Tally)
    due: datetime | None = None

    def later(self, due: datetime | None, *, wait: timedelta = SOON) -> None:
        """Something is due then; what is overdue could not be done now and is not tried in a circle."""
        if due is not None and due <= (now := clock.now()):
            due = now + wait
        self.due = min(filter(None, (self.due, due)), default=None)


@dataclass(slots=True)
class Run:
    """A pass over the selected mailbox. Raises TransientError when the connection is lost."""

    store: Store
    account: str
    mailbox: Mailbox
    judge: Judge
    performer: Performer
    stopping: Callable[[], bool]
    mind_the_clock: Callable[[], None] = lambda: None
    rules_hash: str = ""
    kind: Kind = "new"
    says_left: bool = False
    """Whether what is left over is said: at the first pass of a process."""
    result: RunResult = field(default_factory=RunResult)
    tried: set[int] = field(default_factory=set)
    """Suspects that have had their turn."""
    pace: Pace = field(default_factory=Pace)
    _held: frozenset[int] = frozenset()
    _listed_to: int = 0
    _looked_short: bool = False
    """The last look was only at what is newest: what shows late was not asked for."""

    def __call__(self) -> RunResult:
        look = self._settle_baseline()
        self._finish()
        self.says_left = False
        while not self.stopping():
            uids, full = self._sweep(look or self._look())
            look = None
            if uids:
                log.debug("%s/%s: %d to judge", self.account, self.mailbox.name, len(uids))
                with self._recorded(uids, full) as run:
                    self._windows(run, uids)
            elif not self.stopping():
                self._swept(full)
            if not self.stopping():
                self._finish_due()
            # Where IDLE tells what comes from now on, to ask again is a round trip for nothing.
            told = self.kind == "new" and not self._looked_short and self.mailbox.told
            if (not uids or told) and not self._try_suspects() and not self._ready():
                break
        if self.kind == "new" and not self.stopping():
            self.mailbox.come_back()
        due = self.store.due(self.account, self.mailbox.name, uidvalidity=self.mailbox.uidvalidity)
        self.result.later(due)
        self.result.tally = self.performer.tally
        return self.result

    # -- what an earlier run left over --------------------------------------------------------------
    def finish(self, which: Which | None = None) -> list[EffectRow]:
        """Do what an earlier run left over, and nothing else. Gives what is done: in a dry run nothing.

        `which`: only of these effects.
        """
        left = self.store.unfinished(self.account, self.mailbox.name, now=clock.now())
        self._finish(which=which)
        while self._try_suspects(judging=False, which=which):
            pass
        now = self.store.states(row.id for row in left)
        return [row for row in now.values() if row.state == "done"]

    def _finish(self, suspect: int | None = None, which: Which | None = None) -> None:
        """Of one suspect, or of all the others."""
        if self.judge.situation.dry_run:
            return
        under_way = self.performer.errands.under_way()  # before the journal is read
        others = self._suspects() if suspect is None else ()
        rows = [
            row
            for row in self.store.unfinished(self.account, self.mailbox.name, now=clock.now(), uid=suspect)
            if row.uidvalidity == self.mailbox.uidvalidity  # another one's UIDs name other messages
            and row.uid not in others
            and (which is None or which(row))
        ]
        busy = {row.uid for row in rows if row.id in under_way}  # their other effects wait, too
        rows = [row for row in rows if row.uid not in busy]
        if rows:
            if self.says_left and suspect is None:
                self._say_left(rows)
            self.performer.perform(rows)

    def _say_left(self, rows: Sequence[EffectRow]) -> None:
        """What an earlier process left. Not what waits for something else: nothing comes of it now."""
        ours = {row.id for row in rows}
        waiting = self.store.blocking([row for row in rows if row.leaves])
        left = [row for row in rows if waiting.get(row.id, row.id) in ours]
        if left:
            runs = sorted({row.run for row in left})
            log.info(
                "%s/%s: %d effects left from %s are finished first",
                self.account, self.mailbox.name, len(left), of_runs(runs),
            )  # fmt: skip

    def _open(self, uid: int) -> bool:
        return bool(self.store.unfinished(self.account, self.mailbox.name, now=clock.now(), uid=uid))

    def _suspects(self) -> frozenset[int]:
        return self.store.suspects(self.account, self.mailbox.name, self.mailbox.uidvalidity)

    def _try_suspects(self, *, judging: bool = True, which: Which | None = None) -> bool:
        """What was in hand when the process died, each by itself. Gives whether there is more to try."""
        now, until = clock.now(), clock.timer() + SLICE
        waiting = self.store.deferred(self.account, self.mailbox.name, self.mailbox.uidvalidity)
        unjudged = {uid for uid, at in waiting.items() if at <= now and judging}
        suspects = self._suspects() - self.tried - (waiting.keys() - unjudged)
        with self._recorded() if suspects & unjudged else nullcontext(0) as run:
            for uid in sorted(suspects):
                if self.stopping():
                    return False
                if clock.timer() > until:
                    return True
                with self.store.alone() as mine:
                    if not mine:
                        self.result.deferred += 1
                        self.result.later(now, wait=QUEUE)
                        return False
                    self.tried.add(uid)
                    with self.performer.patient():  # its script, too, has ended when the turn ends
                        if uid in unjudged:
                            self._window(run, [uid], high_uid=uid)
                        self._finish(uid, which)
                    if which is not None and self._open(uid):
                        continue  # it has not had its whole turn
                    self.store.acquit(self.account, self.mailbox.name, self.mailbox.uidvalidity, uid)
        return False

    def _finish_due(self) -> None:
        """Where mail never stops coming, what is due meanwhile does not wait for the end of it."""
        self.mind_the_clock()
        due = self.store.due(self.account, self.mailbox.name, uidvalidity=self.mailbox.uidvalidity)
        if due is not None and due <= clock.now():
            self._finish()

    # -- finding ------------------------------------------------------------------------------------
    def _look(self) -> Look | None:
        return self.store.look(self.account, self.mailbox.name, overlap=OVERLAP)

    def _settle_baseline(self) -> Look | None:
        """Make sure the journal knows this mailbox as it is now; that may have paused it.

        Gives how the journal has it, if nothing had to be settled.
        """
        look = self._look()
        baseline = Baseline(self.store, self.account, self.mailbox, self.judge)
        if not baseline.stands(look):
            self.result.baseline = baseline.settle()
            look = None
        situation = self.judge.situation
        paused = self.performer.paused("")
        if paused and not situation.account.paused:
            account = replace(situation.account, paused=paused)
            self.judge = replace(self.judge, situation=replace(situation, account=account))
        return look

    def _sweep(self, look: Look | None) -> tuple[list[int], bool]:
        """UIDs not yet judged, ascending, and whether all of the mailbox was looked at."""
        assert look is not None
        row = look.row
        now = clock.now()
        # Either way: a time to come was written before the clock was set back.
        full = row.last_full_scan is None or abs(now - row.last_full_scan) > FULL_SCAN
        low = 1 if full else max(1, row.high_uid - OVERLAP)
        known = self.store.judged(self.account, self.mailbox.name) if full else look.judged
        waiting = self.store.deferred(self.account, self.mailbox.name, self.mailbox.uidvalidity)
        listed = self.mailbox.uids(low)
        self._listed_to = max(row.high_uid, listed[-1] if listed else 0)
        self._looked_short = False
        found = {uid for uid in listed if uid not in known}
        due = {uid for uid, at in waiting.items() if not now < at <= now + LONGEST_WAIT}
        due |= waiting.keys() & self.judge.ready(self.mailbox)
        for uid, at in waiting.items():
            if uid not in due:
                self.result.later(at)
        return sorted((found | due) - {uid for uid in waiting if uid not in due} - self._suspects()), full

    def _ready(self) -> bool:
        """Whether messages that were put off can be judged now."""
        ready = self.judge.ready(self.mailbox)
        if not ready:
            return False
        waiting = self.store.deferred(self.account, self.mailbox.name, self.mailbox.uidvalidity)
        return bool((ready & waiting.keys()) - self._suspects())

    def _swept(self, full: bool) -> None:
        self.store.mark_judged(
            self.account, self.mailbox.name,
            uidvalidity=self.mailbox.uidvalidity, uids=UidSet(), at=clock.now(), swept=True, full_scan=full,
        )  # fmt: skip

    # -- judging and recording --------------------------------------------------------------------
    @contextmanager
    def _recorded(self, uids: Sequence[int] = (), full: bool | None = None) -> Iterator[int]:
        """A row in the run log around windows. Gives its id.

        `uids`: those that are judged, the first of them at once. `full`: with them the mailbox is swept.
        """
        mine = (self.account, self.mailbox.name, JUDGING)
        first = uids[: min(self.pace.size, PIECE)]
        run = self.store.start_run(
            account=self.account, mailbox=self.mailbox.name, kind=self.kind,
            rules_hash=self.rules_hash, at=clock.now(),
            hand=(self.mailbox.uidvalidity, first) if first else None,
        )  # fmt: skip
        before = (self.result.judged, self.result.matched)
        self._held = frozenset(first)
        with self.store.held(*mine) if first else nullcontext():
            yield run
        swept = None
        if full is not None and not self.stopping():
            swept = Swept(self.account, self.mailbox.name, self.mailbox.uidvalidity, full)
        self.store.end_run(
            run, at=clock.now(), swept=swept,
            judged=self.result.judged - before[0], matched=self.result.matched - before[1],
        )  # fmt: skip

    def _windows(self, run: int, uids: Sequence[int]) -> None:
        """Oldest first, as they came; one window at a time, so that what is decided is also done.

        What comes meanwhile does not wait for all of them.
        """
        at = 0
        while at < len(uids) and not self.stopping():
            if at and self.mailbox.news:
                fresh = self.mailbox.uids(self._listed_to + 1)
                self._looked_short = True
                self._listed_to = fresh[-1] if fresh else self._listed_to
                for start in range(0, len(fresh), PIECE):
                    # The checkpoint stays where the old ones are: sweeps begin there.
                    self._window(run, fresh[start : start + PIECE], high_uid=0)
            window = uids[at : at + self.pace.size]
            at += len(window)
            began = clock.timer()
            waited = self._window(run, window, high_uid=window[-1])
            self.pace.learn(len(window), seconds=clock.timer() - began, waited=waited)

    def _window(self, run: int, uids: Sequence[int], *, high_uid: int) -> int:
        """Judge, record and perform. Gives how many messages had to wait for facts."""
        with self.mailbox.connection.lane.few(len(uids)):
            return self._do(run, uids, high_uid=high_uid)

    def _do(self, run: int, uids: Sequence[int], *, high_uid: int) -> int:
        mine = (self.account, self.mailbox.name, JUDGING)
        first = frozenset(uids[:PIECE])
        if first != self._held:
            self._held = first
            self.store.take(*mine, self.mailbox.uidvalidity, first)
        with self.store.held(*mine):  # until `record` has what was decided
            judge = replace(self.judge, patient=self.performer.wait)
            judged = judge.judge(self.mailbox, uids, clock.now(), hold=self._hold)
            rows = self._record(run, uids, judged, high_uid=high_uid)
        self.performer.perform([row for row in rows if row.state == "planned"])
        return judged.waited

    def _hold(self, uids: Sequence[int]) -> None:
        """Of a large window only those are in hand that are worked on: few are suspect after a death."""
        if not self._held.issuperset(uids):
            self._held = frozenset(uids)
            self.store.turn_to(self.account, self.mailbox.name, JUDGING, self.mailbox.uidvalidity, self._held)

    def _record(self, run: int, uids: Sequence[int], judged: Judged, *, high_uid: int) -> list[EffectRow]:
        """What was decided, in transactions of bounded size; the last one moves the checkpoint."""
        acting = sorted(uid for uid, decision in judged.decisions.items() if decision.effects)
        rows: list[EffectRow] = []
        while len(acting) > PIECE:
            decided = self._decided(judged, acting[:PIECE])
            acting = acting[PIECE:]
            rows += self._write(run, decided, UidSet(one.uid for one in decided), high_uid=0)
        decided = self._decided(judged, acting)
        self._say_unknown(judged)
        # Before the checkpoint moves on: what is deferred must not be forgotten if we die in between.
        self._defer(judged)
        unsettled = judged.deferred.keys() | judged.broken.keys() | judged.pending
        settled = UidSet(uid for uid in uids if uid not in unsettled)
        rows += self._write(run, decided, settled, high_uid=high_uid)
        self._say_failed(rows)
        if judged.left_out and self.judge.trust_search:
            log.info(
                "%s/%s: SEARCH is trusted (trust_search) and left out %d of %d messages",
                self.account, self.mailbox.name, len(judged.left_out), len(uids),
            )  # fmt: skip
        self.result.judged += len(settled)
        self.result.matched += sum(bool(d.matched) for d in judged.decisions.values())
        return rows

    def _decided(self, judged: Judged, uids: Sequence[int]) -> list[Decided]:
        self._hold(uids)
        identities = self.judge.identify(self.mailbox, judged, uids)
        return [
            Decided(uid=uid, identity=identities[uid], effects=judged.decisions[uid].effects)
            for uid in uids
            if uid in identities
        ]

    def _write(
        self, run: int, decided: Sequence[Decided], settled: UidSet, *, high_uid: int
    ) -> list[EffectRow]:
        rows = self.store.record(
            run, self.account, self.mailbox.name, self.mailbox.uidvalidity, decided,
            judged=settled, high_uid=high_uid, at=clock.now(), redo=False,
            loads=loads_of(self.mailbox, (effect for one in decided for effect in one.effects)),
        )  # fmt: skip
        self._held = frozenset()
        return rows

    def _say_failed(self, rows: Iterable[EffectRow]) -> None:
        """Effects that could not even be planned count and are told as those that failed."""
        for row in rows:
            if row.state == "failed":
                self.performer.tally.add("failed")
                log.warning(
                    "%s/%s uid=%d rule=%s %s failed: %s",
                    self.account, self.mailbox.name, row.uid, row.rule, row.action,
                    row.detail.get("because", ""),
                )  # fmt: skip
            elif row.state in ("held", "would"):
                self.performer.tally.add(row.state)

    def _say_unknown(self, judged: Judged) -> None:
        """A rule that can't be judged must not pass in silence: one line a rule and window."""
        causes: dict[tuple[str, str], list[int]] = defaultdict(list)
        for uid, decision in judged.decisions.items():
            for outcome in decision.outcomes:
                if outcome.reason == "unknown":
                    causes[outcome.rule, outcome.because].append(uid)
        for (rule, because), uids in causes.items():
            log.warning(
                "%s/%s uid=%s rule=%s could not be judged, so it does nothing there: %s",
                self.account, self.mailbox.name, cut(str(UidSet(uids)), 60), rule, because,
            )  # fmt: skip

    def _defer(self, judged: Judged) -> None:
        """Messages that can't be judged now stay unjudged; those that keep failing are quarantined (R10)."""
        if judged.pending:
            # Somebody wakes us when they are ready. After a crash they are begun anew.
            until = clock.now() + SOON
            self.store.put_off(
                self.account, self.mailbox.name, self.mailbox.uidvalidity, sorted(judged.pending),
                until=until,
            )  # fmt: skip
            self.result.later(until)
        reasons = dict(judged.deferred)
        reasons.update({uid: f"{type(bug).__name__}: {bug}" for uid, bug in judged.broken.items()})
        for uid, reason in reasons.items():
            tries = self.store.defer(
                self.account, self.mailbox.name, self.mailbox.uidvalidity, uid, reason=reason, at=clock.now()
            )
            wait = next_try(tries)
            self.result.deferred += 1
            if wait is None:
                log.error("%s/%s uid=%d quarantined: %s", self.account, self.mailbox.name, uid, reason)
            else:
                log.warning("%s/%s uid=%d not judged yet: %s", self.account, self.mailbox.name, uid, reason)
                self.result.later(clock.now() + wait)


def history_of(
    store: Store, account: str, mailbox: str
) -> Callable[[Mapping[int, Identity]], Mapping[int, str]]:
    """What the journal knows of messages by identity (SPEC section 4, Once)."""

    def ask(identities: Mapping[int, Identity]) -> Mapping[int, str]:
        known = store.history(account, mailbox, [i.identity for i in identities.values()])
        return {uid: known.get(i.identity, "new") for uid, i in identities.items()}

    return ask


def matched_rules(decisions: Iterable[Decision]) -> dict[str, int]:
    """How many messages each rule matched."""
    counts: dict[str, int] = {}
    for decision in decisions:
        for name in decision.matched:
            counts[name] = counts.get(name, 0) + 1
    return counts
