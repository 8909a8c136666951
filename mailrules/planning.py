"""`plan` and `apply`: the rules over the mail that is there now.

Planning judges every message and changes nothing. Applying records the same decisions in the journal
and performs them, mailbox by mailbox, in windows, so that Ctrl-C at any moment leaves a true journal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from mailrules import clock
from mailrules.adapters.imap.connection import Connection
from mailrules.adapters.imap.identity import Identity
from mailrules.adapters.imap.mailbox import Mailbox
from mailrules.adapters.store import Decided, EffectRow
from mailrules.core.brakes import takes_most
from mailrules.core.decision import Decision, as_json, explain, rules_for
from mailrules.core.errors import MailrulesError, PermanentError, TransientError
from mailrules.core.rule import Rule
from mailrules.core.search import Key
from mailrules.core.template_check import did_you_mean
from mailrules.core.uidset import UidSet
from mailrules.house import House
from mailrules.judging import PIECE, Judge
from mailrules.pace import Pace

ONE_BY_ONE = 40
"""The same where there are scripts or mail to be sent among them."""
TOGETHER = 2500
"""Messages recorded, then acted on together: large enough for sets of hundreds, done in a second or so."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rules over which mail. None and () mean all."""

    rules: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    mailboxes: tuple[str, ...] = ()
    since: datetime | None = None
    scheduled: bool = False
    traced: bool = False  # every condition of every rule, for --json


@dataclass(frozen=True, slots=True)
class Planned:
    """One message that some rule matched, and its decision."""

    account: str
    mailbox: str
    uid: int
    identity: Identity
    decision: Decision

    def as_json(self) -> dict[str, Any]:
        return {
            "uid": self.uid,
            "account": self.account,
            "mailbox": self.mailbox,
            "message_id": self.identity.message_id,
            **as_json(self.decision),
        }


@dataclass(slots=True)
class Summary:
    """What was looked at and what the rules would do, or did."""

    messages: int = 0
    matched: int = 0
    rules: Counter[str] = field(default_factory=Counter)
    effects: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    deferred: int = 0
    braked: list[str] = field(default_factory=list)
    created: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {
            "messages": self.messages,
            "matched": self.matched,
            "rules": dict(self.rules),
            "effects": dict(self.effects),
        }

    def count(self, planned: Planned) -> None:
        self.matched += 1
        self.rules.update(planned.decision.matched)
        for effect in planned.decision.effects:
            if effect.state in ("planned", "held", "would"):
                self.effects[effect.action] += 1


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it has come, for the progress bar."""

    account: str
    mailbox: str
    done: int
    total: int
    phase: str = "judging"


Event = Planned | Progress


class NoSuchName(PermanentError):
    """A rule or account was asked for that the file does not have: a usage error."""


class Planner:
    """Walks accounts and mailboxes. Events come as they happen; `summary` is complete at the end."""

    def __init__(
        self, house: House, selection: Selection, *, stopping: Callable[[], bool] | None = None
    ) -> None:
        self.house = house
        self.selection = selection
        self.summary = Summary()
        self._stopping = stopping or house.stopping.is_set

    # -- plan -----------------------------------------------------------------------------------
    def plan(self) -> Iterator[Event]:
        """Judge everything, change nothing. An account that fails is in `summary.errors`."""
        for account in self._accounts():
            yield from self._guarded(account, self._plan_account)

    def apply(self, *, over_brakes: bool = False, again: bool = False) -> Iterator[Event]:
        """Judge a mailbox, then record and perform what was decided, then the next mailbox."""
        for account in self._accounts():
            yield from self._guarded(
                account,
                lambda name, connection: self._apply_account(
                    name, connection, over_brakes=over_brakes, again=again
                ),
            )

    def _accounts(self) -> list[str]:
        chosen = self.selection.accounts
        unknown = [name for name in chosen if name not in self.house.config.accounts]
        if unknown:
            raise NoSuchName(
                f"there is no account '{unknown[0]}' in {self.house.config.path}. "
                f"Accounts: {', '.join(self.house.config.accounts)}."
            )
        rules = {rule.name for rule in self.house.config.rules}
        for name in self.selection.rules:
            if name not in rules:
                raise NoSuchName(
                    f"there is no rule '{name}' in {self.house.config.path}.{did_you_mean(name, rules)}"
                )
        return list(chosen or self.house.config.accounts)

    def _guarded(self, account: str, work: Callable[[str, Connection], Iterator[Event]]) -> Iterator[Event]:
        connection = self.house.connect(account)
        try:
            connection.open()
            self.house.discover(account, connection)
            yield from work(account, connection)
        except (TransientError, PermanentError) as error:
            self.summary.errors.append(f"{account}: {error}")
            self.failed = error
        finally:
            connection.close()

    failed: MailrulesError | None = None

    def _rules(self, account: str, mailbox: str) -> tuple[Rule, ...]:
        """The chosen rules; with them, the earlier rules that `stop`: what those protect is left alone."""
        chosen = self.selection.rules
        rules = rules_for(self.house.config.rules, account, mailbox, scheduled=True)
        if mailbox not in (*self.selection.mailboxes, *self.house.state(account).watched):
            # Only scheduled rules that name it come here.
            chosen = tuple(r.name for r in self._scheduled(account) if r.mailboxes is not None)
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

    def _scheduled(self, account: str) -> list[Rule]:
        """The scheduled rules that are asked for."""
        chosen = self.selection.rules
        return [
            rule
            for rule in self.house.scheduled_rules(account)
            if rule.name in chosen or (self.selection.scheduled and not chosen)
        ]

    def _mailboxes(self, account: str, connection: Connection) -> Sequence[str]:
        """Those that are asked for; else the watched ones, and what the scheduled rules run over."""
        if self.selection.mailboxes:
            return self.selection.mailboxes
        names = list(self.house.state(account).watched)
        for rule in self._scheduled(account):
            found = self.house.mailboxes_of(rule, account, connection)
            names += [name for name in found if connection.listing.get(name) is not None]
        return tuple(dict.fromkeys(names))

    def _plan_account(self, account: str, connection: Connection) -> Iterator[Event]:
        for name in self._mailboxes(account, connection):
            mailbox = connection.select(name, read_only=True)
            yield from self._survey(account, mailbox, mailbox.uids())

    def _survey(self, account: str, mailbox: Mailbox, uids: Sequence[int]) -> Iterator[Event]:
        rules = self._rules(account, mailbox.name)
        uids = self._since(mailbox, uids)
        judge = self._judge(account, mailbox.name, rules)
        pace = Pace()
        done = 0
        while done < len(uids):
            if self._stopping():
                return
            window = uids[done : done + pace.size]
            done += len(window)
            began = clock.timer()
            judged = judge.judge(mailbox, window, clock.now())
            pace.learn(len(window), seconds=clock.timer() - began, waited=len(judged.decisions))
            self.summary.messages += len(window) - len(judged.gone)
            self.summary.deferred += len(judged.deferred) + len(judged.broken)
            matched = [uid for uid, d in sorted(judged.decisions.items()) if self._matched(d)]
            if self.selection.traced and matched:
                again = replace(judge, decide=explain, trust_search=False).judge(
                    mailbox, matched, clock.now()
                )
                judged.decisions.update(again.decisions)
            identities = judge.identify(mailbox, judged, matched)
            for uid in matched:
                if uid in identities:
                    planned = Planned(account, mailbox.name, uid, identities[uid], judged.decisions[uid])
                    self.summary.count(planned)
                    yield planned
            yield Progress(account, mailbox.name, done, len(uids))

    def _judge(self, account: str, mailbox: str, rules: Sequence[Rule]) -> Judge:
        return self.house.judge(
            account, mailbox, rules=rules, situation=self.house.situation(account, mailbox, again=True)
        )

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
    def _apply_account(
        self, account: str, connection: Connection, *, over_brakes: bool, again: bool
    ) -> Iterator[Event]:
        for name in self._mailboxes(account, connection):
            if self._stopping():
                return
            self.house.finish(account, connection, name)
            mailbox = connection.select(name)
            deadly = self.house.store.deadly(account, name, mailbox.uidvalidity)
            total = [uid for uid in mailbox.uids() if uid not in deadly]
            if self.house.watching and name in self.house.state(account).watched:
                judged = self.house.store.judged(account, name)  # what came just now is the watcher's
                total = [uid for uid in total if uid in judged]
            found: list[Planned] = []
            for event in self._survey(account, mailbox, total):
                if isinstance(event, Planned):
                    found.append(event)
                yield event
            leaving = sum(any(e.leaves and e.state == "planned" for e in p.decision.effects) for p in found)
            if takes_most(leaving=leaving, there=len(total)) and not over_brakes:
                self.summary.braked.append(
                    f"{account}/{name}: {leaving} of {len(total)} messages would leave the mailbox. "
                    "Nothing was done there; if that is what you want, say --over-brakes."
                )
                continue
            yield from self._do(account, connection, mailbox, found, again=again)

    def _judged(self, window: Sequence[Planned]) -> UidSet:
        """What all the rules have judged now is not new any more; what only some have, still is."""
        if self.selection.rules:
            return UidSet()
        return UidSet(planned.uid for planned in window)

    def _do(
        self,
        account: str,
        connection: Connection,
        mailbox: Mailbox,
        found: Sequence[Planned],
        *,
        again: bool,
    ) -> Iterator[Event]:
        run = self.house.store.start_run(
            account=account,
            mailbox=mailbox.name,
            kind="apply",
            rules_hash=self.house.config.text_hash,
            at=clock.now(),
        )
        done = 0
        while done < len(found):
            if self._stopping():
                break
            window = found[done : done + TOGETHER]
            if any(effect.once for planned in window for effect in planned.decision.effects):
                window = window[:ONE_BY_ONE]  # scripts and SMTP take their time, and new mail waits for us
            with self.house.lock(account, mailbox.name):
                selected = connection.selected(mailbox.name) or connection.select(mailbox.name)
                if selected.uidvalidity != mailbox.uidvalidity:
                    raise TransientError(f"{mailbox.name} was numbered anew meanwhile. Say it again.")
                rows: list[EffectRow] = []
                for piece in (window[at : at + PIECE] for at in range(0, len(window), PIECE)):
                    rows += self.house.store.record(
                        run, account, mailbox.name, mailbox.uidvalidity,
                        [Decided(uid=p.uid, identity=p.identity, effects=p.decision.effects) for p in piece],
                        judged=self._judged(piece), high_uid=0, at=clock.now(), again=again,
                    )  # fmt: skip
                performer = self.house.performer(account, connection, selected)
                tally = performer.perform([row for row in rows if row.state == "planned"])
            self.summary.states.update(tally.states)
            self.summary.states.update(r.state for r in rows if r.state in ("held", "failed", "would"))
            done += len(window)
            yield Progress(account, mailbox.name, done, len(found), "acting")
        self.house.store.end_run(run, at=clock.now(), judged=self.summary.messages, matched=done)


__all__ = ["Planned", "Planner", "Progress", "Selection", "Summary", "explain"]
