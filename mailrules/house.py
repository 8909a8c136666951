"""What every way of running shares: configuration, journal, connections, one pass over a mailbox."""

from __future__ import annotations

import json
import logging
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from mailrules import clock, logins
from mailrules.adapters.imap.connection import Connection
from mailrules.adapters.imap.lane import Lane
from mailrules.adapters.imap.mailbox import Mailbox
from mailrules.adapters.store import EffectRow, Store, StoreError, StoreFull, covering, in_words
from mailrules.ahead import Ahead, login_of
from mailrules.config import Account, Config, rules_then
from mailrules.core.decision import AccountFacts, Situation, concerns, named_mailboxes, rules_for
from mailrules.core.errors import PermanentError, TransientError
from mailrules.core.rule import Rule, is_glob
from mailrules.core.ruleset import RuleSet
from mailrules.core.uidset import UidSet
from mailrules.judging.judge import Judge
from mailrules.judging.sources import Sources
from mailrules.performing.effects import WorkerEffects
from mailrules.performing.errands import Errands
from mailrules.performing.perform import Performer
from mailrules.run import Kind, Run, RunResult, Which, history_of

log = logging.getLogger("mailrules.service")

MOST_NEW_MAILBOXES = 20
"""New mailboxes a day and account: mail may choose names (`Lists/{{ message.list_id }}`), not how many."""

MOST_RULE_SETS = 100
"""Different selections of rules that are kept ready."""


@dataclass(slots=True)
class AccountState:
    """What is known of an account while the program runs. Guarded by `lock`."""

    special_use: Mapping[str, str] = field(default_factory=dict)
    watched: tuple[str, ...] = ()
    discovered: float = float("-inf")
    lock: threading.Lock = field(default_factory=threading.Lock)


class House:
    """Configuration, journal and connections; what every way of running shares."""

    def __init__(
        self, config: Config, store: Store | None, *, dry_run: bool = False, ahead: Ahead | None = None
    ) -> None:
        self.config = config
        self._store = store
        self._dry_run = dry_run
        self.stopping = threading.Event()
        self.errands = Errands()
        self.mind_the_clock: Callable[[], None] = lambda: None
        """Called before the journal is asked what is due: somebody may have set the clock."""
        self.watching = False
        """Whether watchers run in this process: new mail is theirs."""
        self._states: dict[str, AccountState] = {}
        self._locks: dict[tuple[str, str], threading.Lock] = {}
        self._entered: set[tuple[str, str]] = set()  # mailboxes that a pass has been over
        self._guard = threading.RLock()
        self._ahead = ahead
        self._lane = ahead.lane if ahead is not None else Lane()
        self._rule_sets: dict[tuple[int, ...], RuleSet] = {}
        self._sources = Sources(store, self.errands, self.stopping)
        self._connections: weakref.WeakSet[Connection] = weakref.WeakSet()
        if store is not None:
            logins.warn_of_others(store, config)

    @property
    def dry_run(self) -> bool:
        """Whether every effect is only `would`: said on the command line, or in the file."""
        return self._dry_run or self.config.settings.dry_run

    @property
    def store(self) -> Store:
        """The journal. Only `plan` and `explain` do without one."""
        if self._store is None:
            raise PermanentError("there is no journal yet; `mailrules run` creates it.")
        return self._store

    @property
    def journal(self) -> Store | None:
        """The journal, or None where there is none yet."""
        return self._store

    def paused(self) -> frozenset[str]:
        """What a person has paused: `*`, `rule:NAME`, `account:NAME`, `mailbox:ACCOUNT/NAME`."""
        return self._store.paused() if self._store is not None else frozenset()

    def begin(self) -> None:
        """What a process does first that is going to work on mail, and does once: look what the last one
        died of, and keep the rules' text."""
        buried = self.store.bury(at=clock.now())
        if buried.suspects:
            log.warning(
                "mailrules died with %d messages in hand: those are done last, one at a time", buried.suspects
            )
        if buried.found_out is not None:
            log.error(
                "%s/%s uid=%d quarantined: mailrules has died twice of it. `mailrules status` shows it.",
                *buried.found_out,
            )
        self.keep_rules()
        self.keep_schedules()
        self._doubt_schedules()
        try:
            self.store.take_up(at=clock.now())
            self._sources.tidy(self.config)
        except StoreFull as full:
            log.warning("%s", full)  # nothing that has to be done at once

    def keep_rules(self) -> None:
        """Keep the text of the rules in force by content hash, so that `log` can say what they were; and
        count by their limits from now on."""
        config = self.config
        logins.warn_of_others(self.store, config)
        self.store.limits = {rule.name: rule.limits for rule in config.rules if rule.limits.any}
        self.store.keep_rules((rule.revision, rule.name, rule.text) for rule in config.rules)
        if config.text_hash and self.store.rule_text(config.text_hash, "") is None:
            whole = rules_then.kept(config)  # under no name: all of them, in their order
            if whole:
                self.store.keep_rules([(config.text_hash, "", whole)])

    def keep_schedules(self) -> None:
        """What has a schedule now, with the moment from which it is counted (SPEC section 6)."""
        zone = self.config.settings.timezone_name
        wanted = {
            (rule.name, account): (rule.schedule.text, zone)
            for account in self.config.accounts
            for rule in self.scheduled_rules(account)
            if rule.schedule is not None
        }
        self.store.keep_schedules(wanted, at=clock.now())

    def _doubt_schedules(self) -> None:
        """After `resync`: a scheduled rule looks at all mail, and might send once more what it sent since the
        copy of the journal was made. Such rules wait for a person."""
        if not self.store.in_doubt():
            return
        for rule in self.config.rules:
            if rule.schedule is not None and any(a.once or a.key == "copy" for a in rule.then):
                reason = (
                    "the journal was put back from a copy: what this scheduled rule has done since is not "
                    f"known. `mailrules plan --rule '{rule.name}'` shows what it would do"
                )
                if self.store.pause(f"rule:{rule.name}", reason=reason, at=clock.now()):
                    log.error("rule '%s' is paused: %s", rule.name, reason)
        self.store.doubt_no_more()

    def scheduled_rules(self, account: str) -> list[Rule]:
        """The enabled rules with a schedule that are for this account, in the file's order."""
        return scheduled_rules(self.config.rules, account)

    def mailboxes_of(self, rule: Rule, account: str, connection: Connection) -> list[str]:
        """The mailboxes that a scheduled rule runs over: the watched ones, or what it names."""
        if rule.mailboxes is None:
            return list(self.state(account).watched)
        listed: list[str] = []
        if any(map(is_glob, rule.mailboxes)):
            listed = [m.name for m in connection.mailboxes() if m.selectable]
        return named_mailboxes(rule.mailboxes, listed)

    def account(self, name: str) -> Account:
        return self.config.accounts[name]

    def state(self, account: str) -> AccountState:
        with self._guard:
            return self._states.setdefault(account, AccountState())

    def lock(self, account: str, mailbox: str) -> threading.Lock:
        """Held while a mailbox is judged and acted on: new mail and `apply` take turns."""
        with self._guard:
            return self._locks.setdefault((account, mailbox), threading.Lock())

    def connect(self, account: str) -> Connection:
        """A connection for this account, not yet open. The password is read when it is opened."""
        connection = self._ahead.take(account) if self._ahead is not None else None
        connection = connection or Connection(login_of(self.account(account)), lane=self._lane)
        connection.create_mailboxes = lambda name: self.may_create(account, name)
        with self._guard:
            self._connections.add(connection)
        return connection

    def discover(self, account: str, connection: Connection) -> tuple[str, ...]:
        """Look up special-use mailboxes and globs. Returns the watched mailboxes that exist or must."""
        settings = self.account(account)
        state = self.state(account)
        patterns = settings.mailboxes
        names: list[str] = [name for name in patterns if not is_glob(name)]
        listed = [m.name for m in connection.mailboxes() if m.selectable]
        special_use = connection.special_use(fresh=False)
        if len(names) < len(patterns):
            matching = {m.name for m in connection.mailboxes(patterns)}
            names += [name for name in listed if name in matching and name not in names]
        if self._store is not None and not self._store.read_only:
            self._note_new_mailboxes(account, connection, patterns, listed)
        with state.lock:
            state.special_use = special_use
            state.watched = tuple(dict.fromkeys(names))
            state.discovered = clock.timer()
        return state.watched

    def _note_new_mailboxes(
        self, account: str, connection: Connection, patterns: Sequence[str], listed: Sequence[str]
    ) -> None:
        """A mailbox that comes into being while we watch for it has no baseline: all its mail is new.

        So it counts as new only if an earlier, complete list lacked it and its name was already among
        what is watched. What a person adds to the file later is old mail.
        """
        seen = self.store.seen_mailboxes(account)
        watched = self.store.get(f"watched:{account}")
        if seen is not None and watched is not None:
            for name in listed:
                if name in seen or self.store.mailbox(account, name) is not None:
                    continue
                if not matches_any(name, json.loads(watched)) or not matches_any(name, patterns):
                    continue
                status = connection.status(name)
                self.store.set_baseline(
                    account,
                    name,
                    uidvalidity=status.uidvalidity,
                    judged=UidSet(),
                    high_uid=0,
                    at=clock.now(),
                )
                log.info("%s/%s is new: judged from its first message", account, name)
        self.store.remember_mailboxes(account, listed)
        self.store.set_all(
            {f"watched:{account}": json.dumps(list(patterns)), **logins.of(self.account(account))}
        )

    def may_create(self, account: str, name: str) -> bool:
        """Whether a missing mailbox may be created now: allowed, and not too many today (SPEC section 5)."""
        if not self.config.settings.create_mailboxes or self._store is None:
            return False
        today = f"{clock.now():%Y-%m-%d}"
        with self._guard:
            day, _, count = (self.store.get(f"created:{account}") or "").partition(" ")
            made = int(count) if day == today else 0
            if made >= MOST_NEW_MAILBOXES:
                log.error(
                    "%s: '%s' is not created: %d new mailboxes today are enough. A name from mail may have "
                    "run wild; see `mailrules log`.",
                    account, name, made,
                )  # fmt: skip
                return False
            self.store.set(f"created:{account}", f"{today} {made + 1}")
        return True

    def forget(self, account: str) -> None:
        """The account has changed: look again what it has."""
        with self._guard:
            self._states.pop(account, None)

    def abort(self) -> None:
        """Cut every connection that is open: whatever waits for a server ends now."""
        for connection in list(self._connections):
            connection.abort()

    # -- judging and acting -------------------------------------------------------------------------
    def rules(self, account: str, mailbox: str, *, scheduled: bool = False) -> tuple[Rule, ...]:
        return rules_for(self.config.rules, account, mailbox, scheduled=scheduled)

    def situation(
        self, account: str, mailbox: str, *, again: bool = False, dry_run: bool = False
    ) -> Situation:
        settings = self.account(account)
        paused = self.paused()
        return Situation(
            account=AccountFacts(
                name=account,
                address=settings.address,
                addresses=settings.addresses,
                vars=settings.vars,
                special_use=self.state(account).special_use,
                timezone=self.config.settings.timezone_name,
                paused=self.why_paused(account, mailbox, ""),
            ),
            again=again,
            dry_run=dry_run or self.dry_run,
            paused=frozenset(name.removeprefix("rule:") for name in paused if name.startswith("rule:")),
        )

    def judge(self, account: str, mailbox: str, *, rules: Sequence[Rule], situation: Situation) -> Judge:
        settings = self.account(account)
        ways = self._sources.of(account, self.config, self.state(account).special_use)
        return Judge(
            rules=self._rule_set(tuple(rules)),
            situation=situation,
            body_limit=self.config.settings.body_limit,
            trusted_authserv=settings.trusted_authserv,
            trust_search=settings.trust_search,
            history=None if situation.again else history_of(self.store, account, mailbox),
            sources=ways.sources,
            note=ways.note,
            noting=ways.noting,
            ready=ways.ready,
        )

    def _rule_set(self, rules: tuple[Rule, ...]) -> RuleSet:
        """Mailboxes with the same rules share one: it takes milliseconds to build."""
        key = tuple(map(id, rules))
        with self._guard:
            known = self._rule_sets.get(key)
            if known is None:
                if len(self._rule_sets) > MOST_RULE_SETS:  # of files that were read before
                    self._rule_sets.clear()
                known = self._rule_sets[key] = RuleSet(rules)
            return known

    def performer(
        self, account: str, connection: Connection, mailbox: Mailbox, *, wait: bool = True
    ) -> Performer:
        """What performs the effects of a mailbox. `wait`: until scripts and SMTP are through."""
        return Performer(
            store=self.store,
            world=WorkerEffects(
                account=self.account(account),
                settings=self.config.settings,
                connection=connection,
                mailbox=mailbox,
                stopping=self.stopping,
            ),
            errands=self.errands,
            wait=wait,
            account=account,
            mailbox=mailbox.name,
            paused=lambda rule: self.why_paused(account, mailbox.name, rule),
            stopping=self.stopping.is_set,
        )

    def why_paused(self, account: str, mailbox: str, rule: str) -> str:
        """Why this rule's effects are held in this mailbox now, or ""."""
        for target in sorted(covering(rule, account, mailbox) & self.paused()):
            return f"{in_words(target)} is paused"
        return ""

    def sweep(self, account: str, connection: Connection, name: str, *, kind: Kind = "new") -> RunResult:
        """One pass over one mailbox: the story of `run.py`. Raises TransientError, PermanentError."""
        with self.lock(account, name):
            return self._run(account, connection, name, kind)()

    def finish(
        self,
        account: str,
        connection: Connection,
        name: str,
        *,
        wait: bool = True,
        patient: bool = True,
        which: Which | None = None,
    ) -> list[EffectRow]:
        """Only what an earlier run left over in a mailbox, which need not be watched. Gives what is done.

        Without `patient` not where somebody is at it: who watches another mailbox does not wait for that.
        """
        lock = self.lock(account, name)
        if not lock.acquire(blocking=patient):
            return []
        try:
            return self._run(account, connection, name, "apply" if wait else "new").finish(which)
        finally:
            lock.release()

    def _run(self, account: str, connection: Connection, name: str, kind: Kind) -> Run:
        mailbox = connection.selected(name) or connection.select(name)
        rules = self.rules(account, name)
        first = (account, name) not in self._entered
        self._entered.add((account, name))
        return Run(
            store=self.store,
            account=account,
            mailbox=mailbox,
            judge=self.judge(account, name, rules=rules, situation=self.situation(account, name)),
            performer=self.performer(account, connection, mailbox, wait=kind != "new"),
            stopping=self.stopping.is_set,
            mind_the_clock=self.mind_the_clock,
            rules_hash=self.config.text_hash,
            kind=kind,
            says_left=first,
        )

    def finish_elsewhere(self, account: str, connection: Connection) -> None:
        """Finish effects in mailboxes that nobody watches: `apply --mailbox` may have planned them."""
        watched = self.state(account).watched
        for name in self.store.unfinished_mailboxes(account):
            if name not in watched and not self.stopping.is_set():
                try:
                    self.finish(account, connection, name, wait=False, patient=False)
                except (PermanentError, TransientError) as error:
                    patience = getattr(error, "retry_after", None)
                    if not connection.alive or isinstance(error, StoreError) or patience:
                        raise
                    log.warning("%s/%s: %s", account, name, error)  # the watched mailboxes go on


def scheduled_rules(rules: Iterable[Rule], account: str) -> list[Rule]:
    """The enabled ones with a schedule that are for this account."""
    return [rule for rule in rules if rule.schedule is not None and rule.enabled and concerns(rule, account)]


def matches_any(name: str, patterns: Sequence[str]) -> bool:
    """Whether a mailbox is named, or matched by a glob, in `mailboxes`."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)
