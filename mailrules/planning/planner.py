"""`plan` and `apply`: the rules over the mail that is there now.

Planning judges every message and changes nothing. Applying records the same decisions in the journal
and performs them, mailbox by mailbox, in windows, so that Ctrl-C at any moment leaves a true journal. It
begins as soon as the mailbox's brake can't trip any more, and where what is done may change what is decided
for other messages, when all are judged. What is done is forgotten, what waits is kept small: memory does not
grow with the mailbox.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from mailrules import clock
from mailrules.adapters.imap.connection import Connection
from mailrules.adapters.imap.facts import in_words as fetch_words
from mailrules.adapters.imap.identity import Identity
from mailrules.adapters.imap.mailbox import Mailbox
from mailrules.adapters.imap.search import in_words as search_words
from mailrules.adapters.store import Decided, StoreError
from mailrules.adapters.store.assigning import Assignments
from mailrules.adapters.store.replies import Replies
from mailrules.core.actions.base import PlannedEffect
from mailrules.core.decision import Decision, explain, rules_for
from mailrules.core.errors import MailrulesError, NoSuchName, PermanentError, TransientError, did_you_mean
from mailrules.core.message import Fact
from mailrules.core.rule import Rule
from mailrules.core.search import Everything, Key
from mailrules.core.uidset import UidSet
from mailrules.house import House, scheduled_rules
from mailrules.judging.judge import LEARNED, WORTH_A_SEARCH, Judge
from mailrules.judging.pace import Pace
from mailrules.performing.assigning import whose_turn
from mailrules.performing.leftover import left_over
from mailrules.planning.carrying_out import CarryingOut, Do, same_numbers
from mailrules.planning.forecast import Forecast
from mailrules.planning.holding import Brake, Held
from mailrules.planning.known import Known
from mailrules.planning.planned import (
    MOST_CREATED,
    Compared,
    Event,
    LeftOut,
    Look,
    Planned,
    Progress,
    Selection,
    Summary,
)

_ASKED = {
    "sightings": "the journal", "written_to": "the Sent mailbox", "answer": "the Sent mailbox",
    "script": "scripts",
}  # fmt: skip


class Planner(CarryingOut):
    """Walks accounts and mailboxes. Events come as they happen; `summary` is complete at the end."""

    def __init__(
        self, house: House, selection: Selection, *, stopping: Callable[[], bool] | None = None
    ) -> None:
        self.house = house
        self.selection = selection
        self.summary = Summary()
        self._stopping = stopping or house.stopping.is_set
        self._turns: dict[str, Assignments] = {}  # whose turn it would be, by account
        self.forecast = _forecast(house)
        self._replies: dict[str, Replies] = {}  # who would be answered, by account
        self._missing: set[str] = set()  # mailboxes that were not there when one was begun with
        self._once: set[int] = set()  # hashes of what is done once only, and is planned

    # -- plan -----------------------------------------------------------------------------------
    def plan(self) -> Iterator[Event]:
        """Judge everything, change nothing. An account that fails is in `summary.errors`."""
        for account in self._accounts():
            yield from self._guarded(account, self._plan_account)

    def apply(self, *, over_brakes: bool = False) -> Iterator[Event]:
        """Judge a mailbox, then record and perform what was decided, then the next mailbox."""
        self._keeps = True
        for account in self._accounts():
            yield from self._guarded(
                account,
                lambda name, connection: self._apply_account(name, connection, over_brakes=over_brakes),
            )

    def _accounts(self) -> list[str]:
        chosen = self.selection.accounts
        unknown = [name for name in chosen if name not in self.house.config.accounts]
        if unknown:
            raise NoSuchName(
                f"there is no account '{unknown[0]}' in {self.house.config.path}. "
                f"Accounts: {', '.join(self.house.config.accounts)}."
            )
        rules = self._rule_names()
        for name in self.selection.rules:
            if name not in rules:
                raise NoSuchName(
                    f"there is no rule '{name}' in {self.house.config.path}.{did_you_mean(name, rules)}"
                )
        return list(chosen or self.house.config.accounts)

    def _rule_names(self) -> set[str]:
        return {rule.name for rule in self.house.config.rules}

    def _guarded(self, account: str, work: Callable[[str, Connection], Iterator[Event]]) -> Iterator[Event]:
        connection = self.house.connect(account)
        try:
            connection.open()
            self.house.discover(account, connection)
            yield from work(account, connection)
        except (TransientError, PermanentError) as error:
            if self._stopping() and isinstance(error, TransientError) and not isinstance(error, StoreError):
                self.summary.stopped = True  # cut off for that
                return
            self.summary.errors.append(f"{account}: {error}")
            self.failed = error
        finally:
            connection.close()

    failed: MailrulesError | None = None
    _keeps = False
    """Whether what no rule matched is written down: `plan` writes nothing."""

    def _rules(self, account: str, mailbox: str) -> tuple[Rule, ...]:
        watched = self.house.state(account).watched
        return self._chosen(self.house.config.rules, account, mailbox, watched)

    def _chosen(
        self, of: Sequence[Rule], account: str, mailbox: str, watched: Sequence[str]
    ) -> tuple[Rule, ...]:
        """The chosen rules; with them, the earlier rules that `stop`: what those protect is left alone."""
        chosen = self.selection.rules
        rules = rules_for(of, account, mailbox, scheduled=True)
        if mailbox not in (*self.selection.mailboxes, *watched):
            # Only scheduled rules that name it come here.
            chosen = tuple(r.name for r in self._scheduled(of, account) if r.mailboxes is not None)
        elif not chosen:
            return tuple(r for r in rules if r.schedule is None or self.selection.scheduled)
        return tuple(
            rule if rule.name in chosen else replace(rule, then=())
            for place, rule in enumerate(rules)
            if rule.name in chosen
            or (
                rule.stop
                and rule.enabled
                and not rule.dry_run
                and rule.schedule is None
                and any(later.name in chosen for later in rules[place:])
            )
        )

    def _matched(self, decision: Decision) -> bool:
        """Whether a rule that was asked for matched; one that only protects does not count."""
        chosen = self.selection.rules
        return any(not chosen or name in chosen for name in decision.matched)

    def _scheduled(self, of: Sequence[Rule], account: str) -> list[Rule]:
        """The scheduled rules that are asked for."""
        chosen = self.selection.rules
        return [
            rule
            for rule in scheduled_rules(of, account)
            if rule.name in chosen or (self.selection.scheduled and not chosen)
        ]

    def _mailboxes(self, account: str, connection: Connection) -> Sequence[str]:
        """Those that are asked for; else the watched ones, and what the scheduled rules run over."""
        if self.selection.mailboxes:
            return tuple(dict.fromkeys(self.selection.mailboxes))
        names = list(self.house.state(account).watched)
        names += self._run_over(self.house.config.rules, account, connection)
        return tuple(dict.fromkeys(names))

    def _run_over(self, of: Sequence[Rule], account: str, connection: Connection) -> list[str]:
        """The mailboxes, that are there, of the scheduled rules that are asked for."""
        return [
            name
            for rule in self._scheduled(of, account)
            for name in self.house.mailboxes_of(rule, account, connection)
            if connection.listing.get(name) is not None
        ]

    def _plan_account(self, account: str, connection: Connection) -> Iterator[Event]:
        for name in self._mailboxes(account, connection):
            mailbox = connection.select(name, read_only=True)
            there = array("Q", mailbox.uids())
            leaving, matched = 0, self.summary.matched
            for event in self._survey(account, mailbox, there):
                leaving += isinstance(event, Planned) and event.leaves
                yield event
            self.forecast.left(account, name, leaving=leaving, there=len(there))
            if self.summary.matched > matched and self.house.journal is not None and not self.house.dry_run:
                self.summary.left.add(left_over(self.house.journal, account, name, mailbox.uidvalidity))

    def _survey(self, account: str, mailbox: Mailbox, uids: Sequence[int]) -> Iterator[Event]:
        rules = self._rules(account, mailbox.name)
        there = uids
        uids = self._since(mailbox, uids)
        judge = self._judge(account, mailbox.name, rules)
        known = self._known(account, mailbox, judge)
        yield self._look(account, mailbox, judge, uids, known)
        self._missing.clear()
        pace = Pace()
        done = 0
        while done < len(uids):
            if self._stopping():
                self.summary.stopped = True
                break
            window = uids[done : done + pace.size]
            done += len(window)
            mailbox = _still(mailbox)
            began = clock.timer()
            looked = window if known is None else known.left(mailbox, window, clock.now())
            judged = judge.judge(mailbox, looked, clock.now())
            if known is not None:
                known.learn(looked, judged)
            pace.learn(len(window), seconds=clock.timer() - began, waited=len(judged.decisions))
            self.summary.messages += len(window) - len(judged.gone)
            self.summary.deferred += len(judged.deferred) + len(judged.broken)
            matched = [uid for uid, d in sorted(judged.decisions.items()) if self._matched(d)]
            if self.selection.traced and matched:
                judged.decisions.update(self._traced(judge).judge(mailbox, matched, clock.now()).decisions)
            identities = judge.identify(mailbox, judged, matched)
            yield from self._tell(
                account,
                mailbox,
                {u: (identities[u], judged.decisions[u]) for u in matched if u in identities},
            )
            del judged, identities  # not while it is acted on
            yield Progress(account, mailbox.name, done, len(uids))
        if known is not None and known.fresh and self._keeps:
            self.house.store.keep_unmatched(
                account, mailbox.name, mailbox.uidvalidity, known.all(there),
                fingerprint=known.fingerprint, at=clock.now(),
            )  # fmt: skip
        if self.summary.stopped:
            return
        narrowing = judge.narrowing(mailbox)
        if narrowing.search is not None:
            yield Look(account, mailbox.name, str(narrowing))

    def _judge(self, account: str, mailbox: str, rules: Sequence[Rule]) -> Judge:
        return self.house.judge(
            account, mailbox, rules=rules, situation=self.house.situation(account, mailbox, again=True)
        )

    def _known(self, account: str, mailbox: Mailbox, judge: Judge) -> Known | None:
        """What no rule matched when it was looked at before."""
        return Known.of(self.house, account, mailbox, judge, afresh=self.selection.afresh)

    def _traced(self, judge: Judge) -> Judge:
        """The same judge, who traces every condition."""
        return replace(judge, decide=explain, trust_search=False)

    def _tell(
        self, account: str, mailbox: Mailbox, found: Mapping[int, tuple[Identity, Decision]]
    ) -> Iterator[Event]:
        """A window's matches, without what was done before; counted."""
        told: list[Planned] = []
        turns = self._turns.setdefault(account, Assignments(account))
        found = whose_turn(found, store=self.house.journal, mailbox=mailbox, turns=turns)
        done = self._done_before(account, mailbox, found)
        exists = partial(self._exists, mailbox)
        for uid, (identity, decision) in found.items():
            known = [
                (uid, place) in done or self._twice(identity, effect)
                for place, effect in enumerate(decision.effects)
            ]
            before = tuple(e for e, was in zip(decision.effects, known, strict=True) if was)
            if before:
                kept = tuple(e for e, was in zip(decision.effects, known, strict=True) if not was)
                decision = replace(decision, effects=kept)
            decision = self._answered_lately(account, decision)
            planned = Planned(account, mailbox.name, mailbox.uidvalidity, uid, identity, decision, before)
            self.summary.count(planned, exists=exists)
            self.forecast.count(planned)
            told.append(planned)
        returned = self._returned(account, mailbox, told)
        for planned in told:
            yield replace(planned, returned=True) if planned.identity.identity in returned else planned

    def _returned(self, account: str, mailbox: Mailbox, told: Sequence[Planned]) -> frozenset[str]:
        """Of what would leave, what was brought back here before. `apply` acts on it all the same, so that
        only who looks at a plan is told."""
        store = self.house.journal
        if store is None or self._keeps:
            return frozenset()
        leaving = [planned.identity.identity for planned in told if planned.leaves]
        history = store.history(account, mailbox.name, store.known(account, leaving))
        return frozenset(identity for identity, how in history.items() if how == "returned")

    def _exists(self, mailbox: Mailbox, name: str) -> bool:
        """Whether a mailbox was there before what is planned now was begun with."""
        if name in self._missing:
            return False
        there = mailbox.connection.listing.get(name) is not None
        if not there and len(self._missing) < MOST_CREATED:
            self._missing.add(name)
        return there

    def _answered_lately(self, account: str, decision: Decision) -> Decision:
        """Without replies to those who have had theirs."""
        if not any(effect.action == "reply" for effect in decision.effects):
            return decision
        store, at = self.house.journal, clock.now()
        replies = self._replies.setdefault(account, Replies(account))
        if store is None:
            effects = [replies.once_in_a_while(None, effect, at=at) for effect in decision.effects]
        else:
            effects = store.answered_lately(replies, decision.effects, at=at)
        return replace(decision, effects=tuple(effects))

    def _done_before(
        self, account: str, mailbox: Mailbox, found: Mapping[int, tuple[Identity, Decision]]
    ) -> frozenset[tuple[int, int]]:
        store = self.house.journal
        if store is None or not found:
            return frozenset()
        return store.done_before(
            account, mailbox.name, mailbox.uidvalidity,
            [Decided(uid=u, identity=identity, effects=d.effects) for u, (identity, d) in found.items()],
            again=self.selection.again,
        )  # fmt: skip

    def _twice(self, identity: Identity, effect: PlannedEffect) -> bool:
        """Whether it is planned already, for the same message in another mailbox or another copy."""
        if not effect.once or effect.state not in ("planned", "held") or self.selection.again:
            return False
        key = hash((identity.identity, effect.rule, effect.action, effect.target))
        if key in self._once:
            return True
        self._once.add(key)
        return False

    def _look(
        self, account: str, mailbox: Mailbox, judge: Judge, uids: Sequence[int], known: Known | None
    ) -> Look:
        """What is asked of the server, in its own words."""
        messages = len(uids)
        search = judge.search(clock.now())
        if isinstance(search, Everything):
            asked = "no SEARCH, the rules look at every message"
        elif messages < WORTH_A_SEARCH and not judge.trust_search:
            asked = "no SEARCH, for so few it spares nothing"
        else:
            asked = f"SEARCH {search_words(search)}"
        if judge.trust_search:
            asked += " (trust_search: what it leaves out is left out)"
        first = judge.first_facts()
        words = f"{asked}; FETCH {fetch_words(first)}"
        if later := judge.rules.facts - first:
            asked_later = sorted({_ASKED.get(fact.kind, fact.kind) for fact in later})
            words += f"; where that leaves it open, {', '.join(asked_later)}"
        before = len(known.unmatched.part(uids)[0]) if known is not None else 0
        if before:
            again = "nothing but what changes" if known is not None and known.passing else "nothing"
            words += f"; of {before} that no rule matched before, {again} is asked"
        return Look(account, mailbox.name, f"{messages} messages: {words}")

    def _since(self, mailbox: Mailbox, uids: Sequence[int]) -> Sequence[int]:
        since = self.selection.since
        if since is None or not uids:
            return uids
        # SEARCH knows days, not hours, in the server's zone: two days of slack, then INTERNALDATE.
        day = since.date().fromordinal(since.date().toordinal() - 2)
        found = sorted(mailbox.search(Key("SINCE", (day,)), UidSet(uids)))
        dates = mailbox.dates(found)
        return [uid for uid in found if uid in dates and dates[uid] >= since]

    # -- apply ----------------------------------------------------------------------------------
    def _apply_account(self, account: str, connection: Connection, *, over_brakes: bool) -> Iterator[Event]:
        for name in self._mailboxes(account, connection):
            if self._stopping():
                self.summary.stopped = True
                return
            self.summary.left.add(self.house.finish(account, connection, name))
            if self._stopping():
                self.summary.stopped = True
                return
            self._turns.clear()  # those of the mailbox before are in the journal now
            self._replies.clear()
            mailbox = connection.selected(name) or connection.select(name)
            yield from self._apply_mailbox(account, connection, mailbox, over_brakes=over_brakes)
            if self.summary.stopped:
                return

    def _apply_mailbox(
        self, account: str, connection: Connection, mailbox: Mailbox, *, over_brakes: bool
    ) -> Iterator[Event]:
        uids = array("Q", self._ours(account, mailbox, mailbox.uids()))
        brake = Brake(len(uids), off=over_brakes)
        before, matched = self.summary.messages, self.summary.matched
        yield from self._do(
            account, connection, mailbox, self._found(account, mailbox, uids, brake),
            total=lambda: self.summary.matched - matched,
            judged=lambda: self.summary.messages - before,
            braked=lambda: self._braked(account, mailbox.name, brake),
        )  # fmt: skip

    def _found(
        self, account: str, mailbox: Mailbox, uids: Sequence[int], brake: Brake
    ) -> Iterator[Event | Do]:
        """The survey of a mailbox, and what it found to be done, once the brake can't trip any more."""
        early = self._by_themselves(self._rules(account, mailbox.name))
        held = Held()
        for event in self._survey(account, mailbox, uids):
            yield event
            if isinstance(event, Planned):
                brake.count(event)
                held.add(event)
            elif isinstance(event, Progress):
                if early and not brake.may_trip(to_come=event.total - event.done):
                    yield from map(Do, held.take())
                else:
                    held.pack()
        if not self.summary.stopped and not brake.may_trip(to_come=0):
            yield from map(Do, held.take())

    def _by_themselves(self, rules: Sequence[Rule]) -> bool:
        """Whether what is done to one message changes nothing of what is decided for the others."""
        facts = frozenset[Fact]().union(*(rule.facts() for rule in rules if rule.enabled))
        turns = any(action.key == "assign" for rule in rules for action in rule.then)
        return not turns and not any(fact.kind in LEARNED for fact in facts)

    def _braked(self, account: str, name: str, brake: Brake) -> bool:
        if not brake.may_trip(to_come=0):
            return False
        self.summary.braked.append(
            f"{account}/{name}: {brake.leaving} of {brake.there} messages would leave the mailbox. "
            "Nothing was done there; if that is what you want, say --over-brakes."
        )
        return True


def _forecast(house: House) -> Forecast:
    """What the brakes have counted so far, where there is a journal."""
    limits = {rule.name: rule.limits for rule in house.config.rules if rule.limits.any}
    store = house.journal
    if store is None:
        return Forecast(limits)
    return Forecast(
        limits,
        in_hour=lambda rule: store.acted_in_hour(rule, now=clock.now()),
        in_day=lambda account: store.sent_in_day(account, now=clock.now()),
    )


def _still(mailbox: Mailbox) -> Mailbox:
    """The mailbox, selected: acting may have selected another one meanwhile."""
    connection = mailbox.connection
    now = connection.current
    if now is None or (now.name, now.examined) != (mailbox.name, mailbox.examined):
        now = connection.select(mailbox.name, read_only=mailbox.examined)
    same_numbers(now, mailbox)
    return now


__all__ = ["Compared", "LeftOut", "Look", "Planned", "Planner", "Progress", "Selection", "Summary", "explain"]
