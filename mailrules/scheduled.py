"""Scheduled rules: which are due on an account, and one run of each over all the mail of its mailboxes.

::

    uids = search(the rule's condition, and what is left to do)     over the whole mailbox
    judge(windows)                          with the earlier rules that stop: what those match is left alone
    left_to_do(effects)                     what would change nothing is not planned, and leaves no row
    brake                                   a run that takes more than half of a large mailbox pauses its rule
    record, perform                         as `apply` does, in windows between which new mail has its turn

A run that is interrupted begins again with the mailbox it was at; what it did there has nothing left to do.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from mailrules import clock
from mailrules.adapters.imap.connection import Connection
from mailrules.adapters.imap.identity import Identity
from mailrules.adapters.imap.mailbox import Mailbox
from mailrules.adapters.store import SCHEDULED, Decided, EffectRow, StoreError
from mailrules.core import brakes
from mailrules.core.decision import Decision, protectors
from mailrules.core.errors import PermanentError, TransientError
from mailrules.core.repeating import asks_memory, left_to_do, worth_looking
from mailrules.core.rule import Rule, Schedule
from mailrules.core.ruleset import RuleSet
from mailrules.core.search import Everything, usable
from mailrules.core.timetable import due_time
from mailrules.core.uidset import UidSet
from mailrules.house import House
from mailrules.judging.judge import PIECE, Judge, Judged
from mailrules.judging.pace import Pace
from mailrules.performing.assigning import loads_of
from mailrules.performing.errands import MOST_OF_ACCOUNT

log = logging.getLogger("mailrules.schedule")

ERRANDS = MOST_OF_ACCOUNT // 2
"""Messages acted on together where there are scripts or mail to be sent: new mail has its places, too."""
PAUSE = 0.05
"""Seconds between two windows in a mailbox that somebody watches: a lock goes to whoever is awake."""


@dataclass(slots=True)
class Outcome:
    """What a run of one rule over one mailbox came to."""

    rule: str
    mailbox: str
    looked: int = 0  # messages that were judged
    matched: int = 0  # messages on which something was left to do
    states: Counter[str] = field(default_factory=Counter)
    deferred: int = 0
    braked: str = ""
    whole: bool = False  # false: it was interrupted


class ScheduledRules:
    """The scheduled rules of one account. `wait`: until scripts and SMTP are through. `leaving`: whether to
    end soon, as when the house stops."""

    def __init__(
        self, house: House, account: str, *, wait: bool = False, leaving: Callable[[], bool] = lambda: False
    ) -> None:
        self._house = house
        self._account = account
        self._wait = wait
        self._leaving = leaving
        self._first_run = 0  # of the rule whose time it is

    def _ending(self) -> bool:
        return self._leaving() or self._house.stopping.is_set()

    # -- when ---------------------------------------------------------------------------------------
    def times(self, now: datetime) -> Mapping[str, datetime]:
        """When each enabled rule is due next; what is past is due now."""
        zone = self._house.config.settings.timezone
        known = {row.rule: row for row in self._house.store.schedules(self._account)}
        found: dict[str, datetime] = {}
        for rule in self._house.scheduled_rules(self._account):
            row = known.get(rule.name)
            if row is None:
                continue
            at = row.begun_at or due_time(Schedule.of(row.schedule), row.since, now, zone)
            if at is not None:
                found[rule.name] = at
        return found

    def due(self, now: datetime) -> list[Rule]:
        """The rules that are due, in the file's order; none that is paused: it is made up for later."""
        times = self.times(now)
        return [
            rule
            for rule in self._house.scheduled_rules(self._account)
            if times.get(rule.name, now) <= now
            and rule.name in times
            and not self._house.why_paused(self._account, "", rule.name)
        ]

    # -- one run ------------------------------------------------------------------------------------
    def run(self, connection: Connection) -> Iterator[Outcome]:
        """Everything that is due now, each rule once. Raises TransientError when it can't go on."""
        for rule in self.due(clock.now()):
            if self._ending():
                return
            yield from self._rule(connection, rule)

    def _rule(self, connection: Connection, rule: Rule) -> Iterator[Outcome]:
        house, account = self._house, self._account
        self._first_run = 0
        begun, through = house.store.begin_schedule(rule.name, account, at=clock.now())
        began = clock.timer()
        troubles: list[str] = []
        for name in house.mailboxes_of(rule, account, connection):
            if name in through:
                continue
            if self._interrupted(rule, ""):
                return  # not at an end: it goes on from here
            if house.why_paused(account, name, rule.name):
                continue  # only this mailbox is
            outcome = Outcome(rule.name, name)
            try:
                self._mailbox(connection, rule, name, outcome)
            except (PermanentError, TransientError) as error:
                stuck = isinstance(error, StoreError) or getattr(error, "retry_after", None)
                if not connection.alive or stuck:
                    house.store.schedule_trouble(rule.name, account, f"{name}: {error}")
                    raise
                log.warning("%s/%s rule=%s schedule: %s", account, name, rule.name, error)
                troubles.append(f"{name}: {error}")
                continue
            yield outcome
            if outcome.braked:
                troubles.append(outcome.braked)
                break
            if not outcome.whole:
                return
            house.store.mailbox_done(rule.name, account, name, begun=begun)
        lasted = clock.timer() - began
        since = begun
        if rule.schedule is not None and rule.schedule.every is not None and lasted > rule.schedule.every:
            since = clock.now()  # it takes longer than it rests: it rests all the same
        house.store.end_schedule(
            rule.name, account, begun=begun, since=since, trouble="; ".join(troubles)[:1000]
        )

    def _interrupted(self, rule: Rule, name: str) -> bool:
        """Whether to stop here: the end, a pause, or another rule text since."""
        house = self._house
        in_force = any(
            r.name == rule.name and r.revision == rule.revision for r in house.scheduled_rules(self._account)
        )
        return self._ending() or not in_force or bool(house.why_paused(self._account, name, rule.name))

    def _mailbox(self, connection: Connection, rule: Rule, name: str, outcome: Outcome) -> None:
        house, account = self._house, self._account
        watched = house.watching and name in house.state(account).watched
        # Where nobody watches, nobody waits for us, and nobody else does what is left over.
        wait = self._wait or not watched
        if wait:
            house.finish(account, connection, name)
        mailbox = connection.selected(name) or connection.select(name)
        there = mailbox.uids()
        round_ = _Round(
            house, account, connection, mailbox, rule, outcome,
            interrupted=lambda: self._interrupted(rule, name), wait=wait, together=self._first_run,
        )  # fmt: skip
        uids = round_.candidates(there, watched=watched)
        if rule.leaves:
            found = [one for window in round_.judged(uids) for one in window]
            leaving = sum(any(e.leaves and e.state == "planned" for e in one.effects) for one in found)
            if brakes.takes_most(leaving=leaving, there=len(there)):
                self._brake(rule, name, outcome, leaving=leaving, there=len(there))
                return
            round_.act(found)
        else:
            for window in round_.judged(uids):
                round_.act(window)
        round_.try_suspects()
        round_.end()
        self._first_run = self._first_run or round_.run_id

    def _brake(self, rule: Rule, name: str, outcome: Outcome, *, leaving: int, there: int) -> None:
        outcome.braked = (
            f"{self._account}/{name}: {leaving} of {there} messages would have left the mailbox. Nothing was "
            f"done. If that is what you want: mailrules apply --rule '{rule.name}' --mailbox '{name}' "
            f"--over-brakes, then mailrules resume '{rule.name}'"
        )
        self._house.store.pause(f"rule:{rule.name}", reason=outcome.braked, at=clock.now())
        log.error("rule '%s' is paused: %s", rule.name, outcome.braked)


@dataclass(slots=True)
class _Round:
    """One rule over one mailbox."""

    house: House
    account: str
    connection: Connection
    mailbox: Mailbox
    rule: Rule
    outcome: Outcome
    interrupted: Callable[[], bool]
    wait: bool
    together: int = 0
    """The first run of this time, by which `per_run` counts in all mailboxes; 0: this is it."""
    _run: int | None = None
    _cut: bool = False
    _suspects: Sequence[int] = ()

    @property
    def run_id(self) -> int:
        """Of its row in the run log; 0: nothing was done."""
        return self._run or 0

    @property
    def _simulated(self) -> bool:
        return self.rule.dry_run or self.house.dry_run

    def candidates(self, there: Sequence[int], *, watched: bool) -> list[int]:
        """The messages to judge: what the server's SEARCH and the journal can leave out is left out."""
        store, name, uidvalidity = self.house.store, self.mailbox.name, self.mailbox.uidvalidity
        left: set[int] = set(there)
        left -= store.deadly(self.account, name, uidvalidity)
        left -= store.suspects(self.account, name, uidvalidity)
        left -= store.standing(
            self.account, name, uidvalidity, rule=self.rule.name, revision=self.rule.revision,
            leaves=self.rule.leaves, simulated=self._simulated,
        )  # fmt: skip
        if watched:
            judged = store.judged(self.account, name)
            left = {uid for uid in left if uid in judged}  # what came just now is the watcher's
        search = usable(
            worth_looking(self.rule),
            trusted=self.house.account(self.account).trust_search,
            now=clock.now(),
        )
        if left and not isinstance(search, Everything):
            left &= self.mailbox.search(search, UidSet(sorted(left)))
        died = store.died_with(self.account, name, uidvalidity)
        self._suspects = sorted(left & died)
        return sorted(left - died)

    def judged(self, uids: Sequence[int]) -> Iterator[list[Decided]]:
        """Windows of messages on which something is left to do."""
        first, last = self._judges()
        pace = Pace()
        at = 0
        while at < len(uids):
            if self.interrupted():
                self._cut = True
                return
            window = uids[at : at + pace.size]
            at += len(window)
            began = clock.timer()
            with self.house.store.held(self.account, self.mailbox.name, SCHEDULED):
                found, waited = self._window(first, last, window)
            self.house.store.let_go(self.account, self.mailbox.name, SCHEDULED)
            pace.learn(len(window), seconds=clock.timer() - began, waited=waited)
            yield found

    def _judges(self) -> tuple[Judge | None, Judge]:
        """The rule alone, where others protect: they need only be asked of what it matches. And all."""
        house, name = self.house, self.mailbox.name
        situation = house.situation(self.account, name)
        first = protectors(house.config.rules, self.rule, self.account, name)
        judge = replace(
            house.judge(self.account, name, rules=(self.rule,), situation=situation),
            searched=True,
            history=self._returned,
        )
        if not first:
            return None, judge
        alone = replace(judge, situation=replace(situation, again=True), history=None)
        return alone, replace(judge, rules=RuleSet([*first, self.rule]))

    def _returned(self, identities: Mapping[int, Identity]) -> Mapping[int, str]:
        """What a person brought back is left alone; what we have put here is what schedules are for."""
        known = self.house.store.history(
            self.account, self.mailbox.name, [one.identity for one in identities.values()]
        )
        return {
            uid: "returned" if known.get(one.identity) == "returned" else "new"
            for uid, one in identities.items()
        }

    def _window(self, first: Judge | None, last: Judge, uids: Sequence[int]) -> tuple[list[Decided], int]:
        hands = (self.account, self.mailbox.name, SCHEDULED)

        def hold(those: Sequence[int]) -> None:
            self.house.store.turn_to(*hands, self.mailbox.uidvalidity, those)

        wanted = uids
        waited = 0
        if first is not None:
            judged = first.judge(self.mailbox, uids, clock.now(), hold=hold)
            self.outcome.deferred += len(judged.deferred) + len(judged.broken)
            waited = judged.waited
            wanted = sorted(judged.decisions)
        judged = last.judge(self.mailbox, wanted, clock.now(), hold=hold)
        self.outcome.looked += len(uids)
        self.outcome.deferred += len(judged.deferred) + len(judged.broken)
        return self._left(last, judged), waited + judged.waited

    def _left(self, judge: Judge, judged: Judged) -> list[Decided]:
        acting = {
            uid: decision
            for uid, decision in sorted(judged.decisions.items())
            if any(effect.rule == self.rule.name for effect in decision.effects)
        }
        identities = judge.identify(self.mailbox, judged, acting)
        did = self._did(acting, identities)
        found = []
        for uid, decision in acting.items():
            told = identities.get(uid)
            if told is None:
                continue
            effects = left_to_do(
                decision.effects,
                self.rule.name,
                mailbox=self.mailbox.name,
                flags=told.flags,
                done=did.get(told.identity, ()),
            )
            if effects:
                found.append(Decided(uid=uid, identity=told, effects=effects))
        return found

    def _did(
        self, acting: Mapping[int, Decision], identities: Mapping[int, Identity]
    ) -> dict[str, set[tuple[str, str]]]:
        asked = [
            identities[uid].identity
            for uid, decision in acting.items()
            if uid in identities and asks_memory(decision.effects)
        ]
        did: dict[str, set[tuple[str, str]]] = {}
        for identity, action, what in (
            self.house.store.done_already(self.account, asked, rule=self.rule.name) if asked else ()
        ):
            did.setdefault(identity, set()).add((action, what))
        return did

    # -- acting -------------------------------------------------------------------------------------
    def act(self, found: Sequence[Decided]) -> None:
        """Record and perform, in windows between which new mail has its turn."""
        at = 0
        while at < len(found) and not self._cut:
            if self.interrupted():
                self._cut = True
                return
            window = found[at : at + PIECE]
            if any(effect.once for one in window for effect in one.effects):
                window = window[:ERRANDS]
            at += len(window)
            self._give_way({row.id for row in self._act(window)})

    def _give_way(self, ours: set[int]) -> None:
        """Without the mailbox: who waits for it has it now. And what takes its time ends before there is
        more of it, for new mail has scripts and forwards, too."""
        if self.wait:
            return
        self.house.stopping.wait(PAUSE)
        while not self.interrupted() and ours & self.house.errands.under_way():
            self.house.stopping.wait(PAUSE)

    def _act(self, window: Sequence[Decided]) -> list[EffectRow]:
        house, name = self.house, self.mailbox.name
        with house.lock(self.account, name):
            selected = self.connection.selected(name) or self.connection.select(name)
            if selected.uidvalidity != self.mailbox.uidvalidity:
                raise TransientError(f"{name} was numbered anew meanwhile.")
            if self._run is None:
                self._run = house.store.start_run(
                    account=self.account, mailbox=name, kind="schedule",
                    rules_hash=house.config.text_hash, at=clock.now(),
                )  # fmt: skip
            rows = house.store.record(
                self._run, self.account, name, selected.uidvalidity, window,
                judged=UidSet(), high_uid=0, at=clock.now(), together=self.together,
                loads=loads_of(selected, (effect for one in window for effect in one.effects)),
            )  # fmt: skip
            performer = house.performer(self.account, self.connection, selected, wait=self.wait)
            tally = performer.perform([row for row in rows if row.state == "planned"])
        self.outcome.matched += len(window)
        self.outcome.states.update(tally.states)
        self.outcome.states.update(row.state for row in rows if row.state in ("held", "failed", "would"))
        return rows

    def try_suspects(self) -> None:
        """What was in hand when the process died, each by itself (RELIABILITY R10)."""
        store, place = self.house.store, (self.account, self.mailbox.name, self.mailbox.uidvalidity)
        for uid in self._suspects:
            if self._cut or self.interrupted():
                self._cut = True
                return
            with store.alone() as mine:
                if not mine:
                    self.outcome.deferred += 1
                    continue
                self.wait = True  # whatever it begins has ended when its turn does
                for found in self.judged([uid]):
                    self.act(found)
                store.acquit(*place, uid)

    def end(self) -> None:
        """Write how it went, if anything was done."""
        self.outcome.whole = not self._cut
        if self._run is not None:
            self.house.store.end_run(
                self._run, at=clock.now(), judged=self.outcome.looked, matched=self.outcome.matched
            )
        if self.outcome.matched or self.outcome.deferred:
            log.info(
                "%s/%s rule=%s schedule: %d looked at, %d acted on%s",
                self.account, self.mailbox.name, self.rule.name, self.outcome.looked, self.outcome.matched,
                f", {self.outcome.deferred} could not be judged now" if self.outcome.deferred else "",
            )  # fmt: skip
