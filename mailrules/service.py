"""The composition root: builds the parts, plugs them together, starts and ends them.

`House` is what a worker, `run --once`, `plan` and `apply` share: configuration, journal, connections.
`Service` is the worker: it watches every mailbox until it is told to stop.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from mailrules import clock
from mailrules import config as configuration
from mailrules.adapters.imap.connection import Connection, Login
from mailrules.adapters.imap.mailbox import Mailbox
from mailrules.adapters.store import Store, covering, in_words
from mailrules.config import Account, Config
from mailrules.core.decision import AccountFacts, Situation, rules_for
from mailrules.core.errors import PermanentError
from mailrules.core.rule import Rule
from mailrules.core.uidset import UidSet
from mailrules.effects import WorkerEffects
from mailrules.judging import Judge
from mailrules.perform import Performer
from mailrules.poller import Poller
from mailrules.run import Kind, Run, RunResult, history_of
from mailrules.worker import LoginGate, Watcher

log = logging.getLogger("mailrules.service")

OPENING_PER_HOST = 2
"""Connections being opened to one host at a time, so that a thousand accounts do not stampede."""
REDISCOVER = 300.0
"""Seconds after which globs in `mailboxes` are looked up again."""


@dataclass(slots=True)
class AccountState:
    """What is known of an account while the program runs. Guarded by `lock`."""

    special_use: Mapping[str, str] = field(default_factory=dict)
    watched: tuple[str, ...] = ()
    discovered: float = float("-inf")
    lock: threading.Lock = field(default_factory=threading.Lock)


class House:
    """Configuration, journal and connections; what every way of running shares."""

    def __init__(self, config: Config, store: Store | None, *, dry_run: bool = False) -> None:
        self.config = config
        self._store = store
        self._dry_run = dry_run
        self.stopping = threading.Event()
        self._states: dict[str, AccountState] = {}
        self._locks: dict[tuple[str, str], threading.Lock] = {}
        self._guard = threading.Lock()

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

    def paused(self) -> frozenset[str]:
        """What a person has paused: `*`, `rule:NAME`, `account:NAME`, `mailbox:ACCOUNT/NAME`."""
        return self._store.paused() if self._store is not None else frozenset()

    def keep_rules(self) -> None:
        """Keep the text of the rules in force by content hash, so that `log` can say what they were."""
        for rule in self.config.rules:
            self.store.keep_rule(rule.revision, rule.name, rule.text)

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
        settings = self.account(account)
        login = Login(
            account=account,
            host=settings.host,
            port=settings.port,
            security=settings.security,
            username=settings.username,
            password=settings.password.read,
            special_use=settings.special_use,
        )
        return Connection(login, create_mailboxes=self.config.settings.create_mailboxes)

    def discover(self, account: str, connection: Connection) -> tuple[str, ...]:
        """Look up special-use mailboxes and globs. Returns the watched mailboxes that exist or must."""
        settings = self.account(account)
        state = self.state(account)
        patterns = settings.mailboxes
        names: list[str] = [name for name in patterns if not _is_glob(name)]
        special_use = connection.special_use()
        if len(names) < len(patterns):
            listed = [m.name for m in connection.mailboxes(patterns) if m.selectable]
            names += [name for name in listed if name not in names]
            self._note_new_mailboxes(account, connection, listed)
        with state.lock:
            state.special_use = special_use
            state.watched = tuple(dict.fromkeys(names))
            state.discovered = clock.timer()
        return state.watched

    def _note_new_mailboxes(self, account: str, connection: Connection, listed: Sequence[str]) -> None:
        """A mailbox that came into being after we first looked has no baseline: all its mail is new."""
        seen = self.store.seen_mailboxes(account)
        if seen is not None:
            for name in listed:
                if name not in seen and self.store.mailbox(account, name) is None:
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
                vars=settings.vars,
                special_use=self.state(account).special_use,
                timezone=self.config.settings.timezone_name,
                paused=bool(paused & {"*", f"account:{account}", f"mailbox:{account}/{mailbox}"}),
            ),
            again=again,
            dry_run=dry_run or self.dry_run,
            paused=frozenset(name.removeprefix("rule:") for name in paused if name.startswith("rule:")),
        )

    def judge(self, account: str, mailbox: str, *, rules: Sequence[Rule], situation: Situation) -> Judge:
        settings = self.account(account)
        return Judge(
            rules=rules,
            situation=situation,
            body_limit=self.config.settings.body_limit,
            trusted_authserv=settings.trusted_authserv,
            trust_search=settings.trust_search,
            history=None if situation.again else history_of(self.store, account, mailbox),
        )

    def performer(self, account: str, connection: Connection, mailbox: Mailbox) -> Performer:
        return Performer(
            store=self.store,
            world=WorkerEffects(
                account=self.account(account),
                settings=self.config.settings,
                connection=connection,
                mailbox=mailbox,
                stopping=self.stopping,
            ),
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
            mailbox = connection.selected(name) or connection.select(name)
            rules = self.rules(account, name)
            run = Run(
                store=self.store,
                account=account,
                mailbox=mailbox,
                judge=self.judge(account, name, rules=rules, situation=self.situation(account, name)),
                performer=self.performer(account, connection, mailbox),
                stopping=self.stopping.is_set,
                rules_hash=self.config.text_hash,
                kind=kind,
            )
            return run()


def _is_glob(name: str) -> bool:
    return any(c in name for c in "*?[")


class AccountDesk:
    """One account's watchers: which mailbox is on which connection. What `worker.Desk` asks for."""

    def __init__(self, service: Service, account: str) -> None:
        self.account = account
        self.gate = LoginGate()
        self.stopping = threading.Event()
        self.watchers: list[Watcher] = []
        self._service = service
        self._lock = threading.Lock()

    def start(self) -> None:
        settings = self._service.house.account(self.account)
        literal = tuple(name for name in settings.mailboxes if not _is_glob(name))
        with self._lock:
            self._lay_out(literal or ())

    def _lay_out(self, names: Sequence[str]) -> None:
        """One IDLE connection for each of the first mailboxes, the rest go round on the last one."""
        settings = self._service.house.account(self.account)
        groups: list[tuple[str, ...]] = [(name,) for name in names]
        if len(groups) > settings.connections:
            alone = settings.connections - 1
            groups = [*groups[:alone], tuple(names[alone:])]
        if not groups:
            groups = [()]  # only globs: one connection looks what there is
        wanted = set(groups)
        kept = []
        for watcher in self.watchers:
            if watcher.mailboxes in wanted:
                wanted.discard(watcher.mailboxes)
                kept.append(watcher)
            else:
                watcher.leave()
                self._service.poller.ask(watcher, "stop")
        self.watchers = kept
        for group in groups:
            if group in wanted:
                watcher = Watcher(self.account, group, self, self.gate, idle=settings.idle.total_seconds())
                self.watchers.append(watcher)
                self._service.poller.add(watcher)

    # -- what a watcher asks ------------------------------------------------------------------------
    def connect(self) -> Connection:
        return self._service.house.connect(self.account)

    def slot(self) -> Callable[[], None] | None:
        return self._service.opening(self._service.house.account(self.account).host)

    def discover(self, connection: Connection) -> None:
        house = self._service.house
        settings = house.account(self.account)
        state = house.state(self.account)
        globs = any(_is_glob(name) for name in settings.mailboxes)
        if state.discovered > clock.timer() - REDISCOVER and (globs or state.special_use):
            return
        names = house.discover(self.account, connection)
        if globs:
            with self._lock:
                if not self.stopping.is_set():
                    self._lay_out(names)

    def run(self, connection: Connection, name: str) -> float | None:
        self.discover_again(connection)
        result = self._service.house.sweep(self.account, connection, name)
        self._service.swept(self.account, name, result)
        if result.due is None:
            return None
        return max(0.0, (result.due - clock.now()).total_seconds())

    def discover_again(self, connection: Connection) -> None:
        """Globs are looked up again every few minutes: mailboxes come and go."""
        settings = self._service.house.account(self.account)
        if any(_is_glob(name) for name in settings.mailboxes):
            self.discover(connection)

    def stop(self) -> None:
        self.stopping.set()
        with self._lock:
            for watcher in self.watchers:
                watcher.leave()
                self._service.poller.ask(watcher, "stop")
            self.watchers = []


class Service:
    """The worker: watches every mailbox of every account until `stop`."""

    def __init__(self, config: Config, store: Store, *, dry_run: bool = False) -> None:
        self.house = House(config, store, dry_run=dry_run)
        self.house.keep_rules()
        self.poller = Poller()
        self.desks: dict[str, AccountDesk] = {}
        self.started = clock.now()
        self._tidied = clock.timer() - 86400 + 600  # not while everything starts
        self.last_sweep: dict[tuple[str, str], datetime] = {}
        self._opening: dict[str, int] = {}
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start watching. Returns at once: a dead account must not hold up the others."""
        self.poller.start()
        for name in self.house.config.accounts:
            self._open_desk(name)

    def stop(self, *, grace: float = 8.0) -> bool:
        """Finish the step at hand, log out, end. True if nothing had to be cut off."""
        self.house.stopping.set()
        for desk in self.desks.values():
            desk.stopping.set()
        return self.poller.stop(grace=grace)

    def _open_desk(self, name: str) -> None:
        desk = AccountDesk(self, name)
        self.desks[name] = desk
        desk.start()

    def opening(self, host: str) -> Callable[[], None] | None:
        """A place among the connections being opened to a host, or None. Call the answer to give it back."""
        with self._lock:
            if self._opening.get(host, 0) >= OPENING_PER_HOST:
                return None
            self._opening[host] = self._opening.get(host, 0) + 1

        def release() -> None:
            with self._lock:
                self._opening[host] -= 1

        return release

    def swept(self, account: str, mailbox: str, result: RunResult) -> None:
        with self._lock:
            self.last_sweep[account, mailbox] = clock.now()

    # -- what people ask of a running worker --------------------------------------------------------
    def reload(self) -> Mapping[str, Any]:
        """Read the file again, all or nothing. Raises ConfigError, and then the old one stays in force."""
        old = self.house.config
        new = configuration.load(old.path)
        with self._lock:
            self.house.config = new
        self.house.keep_rules()
        changed = [name for name in old.accounts if new.accounts.get(name) != old.accounts[name]]
        for name in changed:
            self.desks.pop(name).stop()
        for name in new.accounts:
            if name not in self.desks:
                self._open_desk(name)
            else:
                self.desks[name].gate.reset()
        log.info("configuration read again: %d accounts, %d rules", len(new.accounts), len(new.rules))
        return {"accounts": len(new.accounts), "rules": len(new.rules), "changed": changed}

    def wake(self) -> None:
        """Look at every mailbox now: after `resume`, `retry`, `skip` there may be work."""
        for desk in self.desks.values():
            for watcher in desk.watchers:
                self.poller.ask(watcher)

    def forgive(self) -> None:
        """A person says that refused logins are mended: try them again."""
        for desk in self.desks.values():
            desk.gate.reset()
        self.wake()

    def tidy(self) -> None:
        """Once a day, forget what the log need not keep any longer (settings.log_retention)."""
        if clock.timer() - self._tidied < 86400:
            return
        self._tidied = clock.timer()
        keep = self.house.config.settings.log_retention
        gone = 0
        while not self.house.stopping.is_set():
            batch = self.house.store.expire(now=clock.now(), keep=keep)
            gone += batch
            if batch == 0:
                break
        if gone:
            log.info("forgot %d effects older than log_retention", gone)

    def healthy(self) -> bool:
        """Whether the loop goes round and the journal answers: what feeds the watchdog."""
        return clock.timer() - self.poller.ticked < 30 and self.house.store.answers()

    def summary(self) -> str:
        """One line for sd_notify's STATUS."""
        up = sum(
            all(w.state in ("watching", "polling", "connected") for w in desk.watchers)
            for desk in self.desks.values()
        )
        return f"{up}/{len(self.desks)} accounts up"

    def connections(self) -> list[dict[str, Any]]:
        """For `status`: each connection, where it stands and since when."""
        return [
            {
                "account": name,
                "mailboxes": list(watcher.mailboxes),
                "state": watcher.state,
                "error": watcher.error or None,
                "since": watcher.since,
            }
            for name, desk in self.desks.items()
            for watcher in desk.watchers
        ]
