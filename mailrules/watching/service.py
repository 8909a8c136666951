"""The worker: watches every mailbox of every account until it is told to stop. The composition root."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from mailrules import clock
from mailrules import config as configuration
from mailrules.adapters.imap.connection import Connection
from mailrules.adapters.store import Store, StoreError
from mailrules.config import Config
from mailrules.core.rule import is_glob
from mailrules.house import House
from mailrules.watching.login_gate import LoginGate
from mailrules.watching.outage import Outage
from mailrules.watching.poller import Poller
from mailrules.watching.schedule import Alarm, ScheduledWorker
from mailrules.watching.worker import Watcher

log = logging.getLogger("mailrules.service")

OPENING_PER_HOST = 2
"""Connections being opened to one host at a time, so that a thousand accounts do not stampede."""
LAST_ANSWERS = 75.0
"""Seconds for errands to end when the worker stops: TimeoutStopSec less 15 s (RELIABILITY 3.1)."""
OPENING = 2.0
"""Seconds after which a connection that is still not open no longer keeps others from opening theirs."""
STEP = 5.0
"""Seconds that the wall clock must have gone astray between two looks, to have been set by somebody."""
MOST_LOST = 3
"""Connections that end before the server has sent anything of new messages as it was asked to (NOTIFY), after
which it is not asked to: it may be what ends them."""
REDISCOVER = 300.0
"""Seconds after which globs in `mailboxes` are looked up again."""


class AccountDesk:
    """One account's watchers: which mailbox is on which connection. What `worker.Desk` asks for."""

    def __init__(self, service: Service, account: str) -> None:
        self.account = account
        self.gate = LoginGate()
        self.stopping = False  # no Event: with 2,000 accounts their locks are megabytes
        self.watchers: list[Watcher] = []
        self._lost = 0  # connections in a row, see MOST_LOST
        self._together = True  # until it turns out that the server has no NOTIFY
        self._service = service
        self._lock = threading.Lock()

    def start(self) -> None:
        settings = self._service.house.account(self.account)
        literal = tuple(name for name in settings.mailboxes if not is_glob(name))
        with self._lock:
            self._lay_out(literal or ())

    def _lay_out(self, names: Sequence[str], asking: Connection | None = None) -> None:
        """All mailboxes on one connection where the server has NOTIFY. Else one IDLE connection for each of
        the first mailboxes, and the rest go round on the last one."""
        settings = self._service.house.account(self.account)
        groups: list[tuple[str, ...]] = [(name,) for name in names]
        if self._together:
            groups = [tuple(names)]
        elif len(groups) > settings.connections:
            alone = settings.connections - 1
            groups = [*groups[:alone], tuple(names[alone:])]
        if not groups:
            groups = [()]  # only globs: one connection looks what there is
        kept = [watcher for watcher in self.watchers if watcher.watching in groups]
        wanted = [group for group in groups if group not in {watcher.watching for watcher in kept}]
        for watcher in self.watchers:
            if watcher in kept:
                continue
            group = next((g for g in wanted if not watcher.watching or watcher.watching[:1] == g[:1]), None)
            if group is None:
                watcher.leave()
                self._service.poller.ask(watcher, "stop")
                continue
            wanted.remove(group)
            watcher.assign(group)
            kept.append(watcher)
            if asking is None or not watcher.owns(asking):
                self._service.poller.ask(watcher)
        self.watchers = kept
        for group in wanted:
            watcher = Watcher(
                self.account, group, self, self.gate,
                host=settings.host, idle=settings.idle.total_seconds(),
            )  # fmt: skip
            self.watchers.append(watcher)
            self._service.poller.add(watcher)

    # -- what a watcher asks ------------------------------------------------------------------------
    def connect(self) -> Connection:
        connection = self._service.house.connect(self.account)
        if not self._together:
            connection.do_without_notify()
        if self._lost >= MOST_LOST:
            connection.do_without_items()
        return connection

    def lost(self, connection: Connection) -> None:
        useful = connection.items_of_use
        if useful is not None:
            self._lost = 0 if useful else self._lost + 1

    def slot(self) -> Callable[[], None] | None:
        return self._service.opening(self._service.house.account(self.account).host)

    def discover(self, connection: Connection) -> None:
        house = self._service.house
        settings = house.account(self.account)
        state = house.state(self.account)
        if state.discovered > clock.timer() - REDISCOVER:
            names = state.watched
        else:
            names = house.discover(self.account, connection)
        if any(is_glob(name) for name in settings.mailboxes):
            with self._lock:
                if not self.stopping:
                    self._lay_out(names, connection)

    def no_notify(self, connection: Connection) -> None:
        with self._lock:
            if self._together and not self.stopping:
                self._together = False
                self._lay_out(self._service.house.state(self.account).watched, connection)

    def run(self, connection: Connection, name: str) -> float | None:
        self._service.mind_the_clock()  # before it is asked what is due
        self.discover_again(connection)
        house = self._service.house
        if name == next(iter(house.state(self.account).watched), name):
            house.finish_elsewhere(self.account, connection)  # not last: IDLE is for what is selected then
        result = house.sweep(self.account, connection, name)
        if result.due is None:
            return None
        return max(0.0, (result.due - clock.now()).total_seconds())

    def held_up(self, watcher: str, error: StoreError) -> None:
        self._service.outage.begin(watcher, error)

    def goes_on(self, watcher: str) -> None:
        self._service.outage.end(watcher)

    def no_room(self) -> bool:
        return not self._service.house.store.room().enough

    def discover_again(self, connection: Connection) -> None:
        """Globs are looked up again every few minutes: mailboxes come and go."""
        settings = self._service.house.account(self.account)
        if any(is_glob(name) for name in settings.mailboxes):
            self.discover(connection)

    def stop(self) -> None:
        self.stopping = True
        with self._lock:
            for watcher in self.watchers:
                watcher.leave()
                self._service.poller.ask(watcher, "stop")
            self.watchers = []


class Service:
    """The worker: watches every mailbox of every account until `stop`."""

    def __init__(self, config: Config, store: Store, *, dry_run: bool = False) -> None:
        self.house = House(config, store, dry_run=dry_run)
        self.house.watching = True
        self.house.errands.left_alone = self._wake_account
        self.house.mind_the_clock = self.mind_the_clock
        self.house.begin()
        self.poller = Poller()
        self.outage = Outage()
        self.desks: dict[str, AccountDesk] = {}
        self.alarm = Alarm()
        self._scheduled: dict[str, ScheduledWorker] = {}
        self.started = clock.now()
        self._tidied = clock.timer() - 86400 + 600  # not while everything starts
        self._clock_lock = threading.Lock()
        self._clock_minded = clock.timer()
        self._clock_offset = clock.now().timestamp() - self._clock_minded
        self._opening: dict[str, list[float]] = defaultdict(list)  # host -> since when
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start watching. Returns at once: a dead account must not hold up the others."""
        self.poller.start()
        for name in self.house.config.accounts:
            self._open_desk(name)
        self._lay_out_schedules()

    def stop(self, *, grace: float = 8.0) -> bool:
        """Finish the step at hand, log out, end. True if nothing had to be cut off.

        Mail past its commit point waits for the server's answer: without it nobody would know.
        """
        until = clock.timer() + LAST_ANSWERS
        self.house.stopping.set()
        for desk in list(self.desks.values()):
            desk.stopping = True
        clean = self.poller.stop(grace=grace, patience=5.0)
        self.alarm.stop()
        clean = self.house.errands.wait(until - clock.timer()) and clean
        try:
            self.house.store.let_go_of_all()
        except StoreError as error:
            log.error("%s", error)  # the next start only takes more care than it needs to
        return clean

    def _open_desk(self, name: str) -> None:
        desk = AccountDesk(self, name)
        self.desks[name] = desk
        desk.start()

    def _lay_out_schedules(self, changed: Sequence[str] = ()) -> None:
        """Each account with scheduled rules has somebody who runs them; all of them look what is due."""
        wanted = {name for name in self.house.config.accounts if self.house.scheduled_rules(name)}
        for name in [name for name in self._scheduled if name not in wanted or name in changed]:
            self._scheduled.pop(name).leave()
        for scheduled in self._scheduled.values():
            self.poller.ask(scheduled)
        for name in sorted(wanted - self._scheduled.keys()):
            self._scheduled[name] = ScheduledWorker(name, self, self.poller)
            self.poller.add(self._scheduled[name])

    def gate(self, account: str) -> LoginGate | None:
        """Through which an account's connections go while its login is in doubt; None: it is gone."""
        desk = self.desks.get(account)
        return None if desk is None else desk.gate

    def opening(self, host: str) -> Callable[[], None] | None:
        """A place among the connections being opened to a host, or None. Call the answer to give it back."""
        began = clock.timer()
        with self._lock:
            opening = self._opening[host]
            if sum(since > began - OPENING for since in opening) >= OPENING_PER_HOST:
                return None
            opening.append(began)

        def release() -> None:
            with self._lock:
                opening.remove(began)

        return release

    # -- what people ask of a running worker --------------------------------------------------------
    def reload(self) -> Mapping[str, Any]:
        """Read the file again, all or nothing. Raises ConfigError, and then the old one stays in force."""
        old = self.house.config
        new = configuration.load(old.path)
        with self._lock:
            self.house.config = new
        self.house.keep_rules()
        self.house.keep_schedules()
        changed = [name for name in old.accounts if new.accounts.get(name) != old.accounts[name]]
        for name in changed:
            self.desks.pop(name).stop()
            self.house.forget(name)
        for name in new.accounts:
            if name not in self.desks:
                self._open_desk(name)
            else:
                self.desks[name].gate.reset()
        self._lay_out_schedules(changed)
        log.info("configuration read again: accounts: %d, rules: %d", len(new.accounts), len(new.rules))
        return {"accounts": len(new.accounts), "rules": len(new.rules), "changed": changed}

    def wake(self) -> None:
        """Look at every mailbox now: after `resume`, `retry`, `skip` there may be work."""
        for desk in list(self.desks.values()):
            for watcher in list(desk.watchers):
                self.poller.ask(watcher)
        for scheduled in list(self._scheduled.values()):
            self.poller.ask(scheduled)

    def _wake_account(self, account: str) -> None:
        """An errand ended while nobody waited for it: its message may go on."""
        desk = self.desks.get(account)
        if desk is not None and not self.house.stopping.is_set():
            for watcher in list(desk.watchers):
                self.poller.ask(watcher)

    def forgive(self) -> None:
        """A person says that refused logins are mended: try them again."""
        for desk in list(self.desks.values()):
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

    def mind_the_clock(self) -> None:
        """If somebody has set the wall clock, what waits in the journal is due when it would have been."""
        with self._clock_lock:
            timer, now = clock.timer(), clock.now()
            step = (now.timestamp() - timer) - self._clock_offset
            if abs(step) > STEP:
                moved = self.house.store.clock_set(
                    timedelta(seconds=step), ago=timedelta(seconds=timer - self._clock_minded), now=now
                )
                log.warning("the clock was set by %+.0f s; %d waits are set with it", step, moved)
                self.wake()
                self.alarm.look()
            self._clock_offset, self._clock_minded = now.timestamp() - timer, timer

    def healthy(self) -> bool:
        """Whether the loop goes round and the journal answers: what feeds the watchdog."""
        return self.poller.alive and clock.timer() - self.poller.ticked < 30 and self.house.store.answers()

    def summary(self) -> str:
        """One line for sd_notify's STATUS."""
        up = sum(
            all(w.state in ("watching", "polling", "connected") for w in list(desk.watchers))
            for desk in list(self.desks.values())
        )
        words = f"{up}/{len(self.desks)} accounts up"
        if not self.house.store.room().enough:
            words += "; the disk is full: the journal has no room, nothing new is done"
        return words

    def connections(self) -> list[dict[str, Any]]:
        """For `status`: each connection, where it stands and since when."""
        return [
            {
                "account": name,
                "mailboxes": list(watcher.mailboxes),
                "missing": sorted(watcher.missing),
                "state": watcher.state,
                "error": watcher.error or None,
                "since": watcher.since,
            }
            for name, desk in list(self.desks.items())
            for watcher in list(desk.watchers)
        ]
