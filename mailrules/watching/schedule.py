"""The worker's schedules: an alarm clock (APScheduler), and for each account what it wakes.

The alarm only rings: what is due is asked of the journal and the wall clock, so that a run that was missed
(the worker was down, the laptop asleep, the clock set) is made up once. The work is done in the poller's
threads, over a connection of its own that is closed afterwards: new mail does not wait for it.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from mailrules import clock
from mailrules.adapters.imap.connection import Connection, LoginRefused
from mailrules.adapters.store import StoreError
from mailrules.core.errors import MailrulesError, PermanentError, TransientError
from mailrules.core.retry import full_jitter
from mailrules.house import House
from mailrules.scheduled import ScheduledRules
from mailrules.watching.back_off import journal_again
from mailrules.watching.login_gate import CONFIRM, LoginGate
from mailrules.watching.poller import Park, Poller, Why
from mailrules.watching.worker import SHELVED

log = logging.getLogger("mailrules.schedule")

LOOK = 300.0
"""Seconds after which it is looked what is due, whether the alarm has rung or not."""
KEPT = 60.0
"""A connection that is used again within so many seconds is not closed: logging in costs the server more."""


class Alarm:
    """Rings once at a moment of the wall clock, for whoever has set it."""

    def __init__(self) -> None:
        self._scheduler: Any = None
        self._lock = threading.Lock()

    def set(self, name: str, at: datetime | None, ring: Callable[[], None]) -> None:
        """Ring for this one then, and not when it was set for before; None: not at all."""
        with self._lock:
            if self._scheduler is None:
                if at is None:
                    return
                self._scheduler = _scheduler()
            if at is None:
                if self._scheduler.get_job(name) is not None:
                    self._scheduler.remove_job(name)
                return
            self._scheduler.add_job(ring, "date", run_date=at, id=name, replace_existing=True)

    def look(self) -> None:
        """The clock was set: look again how long it is until the next."""
        with self._lock:
            if self._scheduler is not None:
                self._scheduler.wakeup()

    def stop(self) -> None:
        with self._lock:
            if self._scheduler is not None:
                self._scheduler.shutdown(wait=False)
                self._scheduler = None


def _scheduler() -> Any:
    from apscheduler.executors.debug import DebugExecutor  # who has no schedules does without
    from apscheduler.schedulers.background import BackgroundScheduler

    scheduler = BackgroundScheduler(
        timezone=UTC,
        executors={"default": DebugExecutor()},  # in its own thread: a ring takes no time
        job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        daemon=True,
    )
    scheduler.start()
    return scheduler


class Host(Protocol):
    """What a ScheduledWorker needs of the service."""

    house: House
    alarm: Alarm

    def gate(self, account: str) -> LoginGate | None:
        """The account's, which its watchers go through, too; None: it is gone."""

    def opening(self, host: str) -> Callable[[], None] | None:
        """A place among the connections being opened, or None; call the answer to give it back."""


class ScheduledWorker:
    """The scheduled rules of one account, as the poller holds them."""

    def __init__(self, account: str, service: Host, poller: Poller) -> None:
        self.account = account
        self.name = f"{account} schedules"
        self.host = service.house.account(account).host
        self._service = service
        self._poller = poller
        self._connection: Connection | None = None
        self._failures = 0
        self._leaving = False
        self._looked = clock.now()

    # -- the poller's side ----------------------------------------------------------------------
    def wake(self, why: Why) -> Park | None:
        house = self._service.house
        if why == "stop" or self._leaving or house.stopping.is_set():
            self._service.alarm.set(self.name, None, self._ring)
            self._close()
            return None
        if why == "resumed":  # like everybody else, not in the same moment
            self._close()
            return Park(None, random.uniform(0, 30))  # noqa: S311 - spreads load, guards nothing
        try:
            park = self._work()
        except StoreError as error:
            log.error("%s: %s", self.name, error)
            park = Park(None, journal_again())
        except LoginRefused as refused:
            gate = self._service.gate(self.account)
            self._close()
            if gate is not None:
                gate.refused(str(refused))
            log.warning("%s: login refused: %s", self.name, refused)
            park = Park(None, CONFIRM)
        except MailrulesError as error:
            park = self._back_off(error)
        except BaseException:
            self._close()
            raise
        self._set_alarm()
        return park

    def failed(self, error: BaseException) -> Park | None:
        """A bug. The others' schedules go on, and this one is tried again."""
        log.error("%s: unexpected error", self.name, exc_info=error)
        return Park(None, LOOK)

    def abort(self) -> None:
        connection = self._connection
        if connection is not None:
            connection.abort()

    def leave(self) -> None:
        """From any thread: end."""
        self._leaving = True
        self._poller.ask(self, "stop")

    # -- the work -------------------------------------------------------------------------------
    def _work(self) -> Park:
        rules = ScheduledRules(self._service.house, self.account, leaving=lambda: self._leaving)
        if not self._due(rules):
            return Park(None, LOOK)
        kept = self._connection
        try:
            wait = self._connect() if kept is None else None
            if wait is not None:
                return Park(None, wait)
            self._run(rules)
        except TransientError:
            if kept is None or kept.alive:
                raise
            self._close()  # the server has hung up meanwhile: that is no failure
            return Park(None, 0.0)
        self._failures = 0
        return Park(None, 1.0 if self._due(rules) else LOOK)

    def _run(self, rules: ScheduledRules) -> None:
        house, connection = self._service.house, self._connection
        assert connection is not None
        if house.state(self.account).discovered < clock.timer() - LOOK:
            house.discover(self.account, connection)
        for _ in rules.run(connection):
            self._failures = 0

    def _due(self, rules: ScheduledRules) -> bool:
        self._looked = clock.now()
        return bool(rules.due(self._looked))

    def _connect(self) -> float | None:
        """None: connected; else seconds after which to try."""
        gate = self._service.gate(self.account)
        if gate is None:
            return LOOK
        wait = gate.enter()
        if wait is None:
            return SHELVED
        if wait > 0:
            return wait
        release = self._service.opening(self.host)
        if release is None:
            gate.failed()
            return random.uniform(0.2, 2.0)  # noqa: S311
        connection = self._connection = self._service.house.connect(self.account)
        try:
            connection.open()
        except LoginRefused:
            raise
        except BaseException:
            gate.failed()
            raise
        finally:
            release()
        gate.succeeded()
        return None

    def _set_alarm(self) -> None:
        """For what is due next. What was due when we looked waits already: for a pause, a server, a login."""
        try:
            times = ScheduledRules(self._service.house, self.account).times(self._looked)
        except StoreError:
            return  # it is looked again soon
        at = min((at for at in times.values() if at > self._looked), default=None)
        if at is None or (at - self._looked).total_seconds() > KEPT:
            self._close()
        self._service.alarm.set(self.name, at, self._ring)

    def _ring(self) -> None:
        self._poller.ask(self)

    def _back_off(self, error: MailrulesError) -> Park:
        self._close()
        self._failures += 1
        patience = getattr(error, "retry_after", None) or 0.0
        wait = SHELVED if isinstance(error, PermanentError) else max(full_jitter(self._failures), patience)
        log.warning("%s: %s; going on in %.0f s", self.name, error, wait)
        return Park(None, wait)

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
