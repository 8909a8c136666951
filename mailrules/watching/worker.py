"""One connection's life: connect, SELECT, run, IDLE, park; and backing off when it fails."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from mailrules import clock
from mailrules.adapters.imap.connection import Connection, LoginRefused
from mailrules.adapters.imap.refusals import NoSuchMailbox
from mailrules.adapters.store import StoreError
from mailrules.core.errors import PermanentError, TransientError
from mailrules.watching.back_off import BackOff, journal_again
from mailrules.watching.login_gate import LoginGate
from mailrules.watching.poller import Park, Why

log = logging.getLogger("mailrules.worker")

SWEEP = 300.0
"""Seconds between two sweeps of a mailbox: bounds what a lying IDLE can hide (RELIABILITY P1)."""
POLL = 60.0
"""Seconds between two looks at a mailbox that no IDLE watches."""
TOGETHER = 30.0
"""Mailboxes of one connection that are due within so many seconds are looked at in one go."""
SHELVED = 300.0
"""Seconds before a mailbox that is missing, or an account that must not log in, is looked at again."""
MOST_ROUNDS = 20
"""Looks in a row at a mailbox that always has news, before somebody else has the thread."""

State = Literal["starting", "connected", "watching", "polling", "waiting", "needs-login", "failed", "ended"]


class Desk(Protocol):
    """What a watcher needs of the service."""

    stopping: bool

    def connect(self) -> Connection:
        """A new connection, not yet open."""

    def discover(self, connection: Connection) -> None:
        """Called after each login: which mailboxes there are."""

    def no_notify(self, connection: Connection) -> None:
        """The server does not tell, on one connection, of several mailboxes."""

    def lost(self, connection: Connection) -> None:
        """This connection has failed; it is not closed yet."""

    def slot(self) -> Callable[[], None] | None:
        """A place among the connections being opened (then call the answer when open); None: wait."""

    def run(self, connection: Connection, name: str) -> float | None:
        """Judge and act until nothing is left; seconds until something of this mailbox is due again."""

    def held_up(self, watcher: str, error: StoreError) -> None:
        """This watcher can't go on, because the journal can't be written."""

    def goes_on(self, watcher: str) -> None:
        """This watcher does not wait for the journal any more."""

    def no_room(self) -> bool:
        """Whether the journal still has no room, so that there is no use in asking the server."""


class Watcher:
    """Keeps one connection on one mailbox (IDLE), on several (NOTIFY), or goes round several (polling).

    The poller wakes it; while it runs, the thread it runs in alone owns the connection.
    """

    def __init__(
        self,
        account: str,
        mailboxes: Sequence[str],
        desk: Desk,
        gate: LoginGate,
        *,
        host: str,
        idle: float = SWEEP,
    ) -> None:
        self.account = account
        self.host = host
        self.mailboxes = tuple(mailboxes)
        self.name = f"{account}/{','.join(mailboxes)}"
        self.state: State = "starting"
        self.error = ""
        self.since = clock.now()
        self._desk = desk
        self._gate = gate
        self._interval = min(idle, SWEEP)
        self._connection: Connection | None = None
        self._back_off = BackOff()
        self._due = 0.0
        self._idling = False
        self._discovered = False
        self._held_up = False  # by the journal
        self._said = ""  # why it does not connect: the log has it already
        self._leaving = False
        self._assigned: tuple[str, ...] | None = None  # what to watch from the next turn on
        self._next: dict[str, float] = {}  # when each mailbox must be looked at again
        self._shelved: dict[str, str] = {}  # mailboxes that failed at their last turn, and why
        self.missing: frozenset[str] = frozenset()  # those that were not there then

    # -- the poller's side ----------------------------------------------------------------------
    def wake(self, why: Why) -> Park | None:
        if why == "stop" or self._leaving or self._desk.stopping:
            self._close()
            self._go_on()
            self._become("ended")
            return None
        if why == "resumed":
            self._drop()  # the peer has long forgotten us; do not wait for TCP to find out
            return Park(None, random.uniform(0, 30))  # noqa: S311 - spreads load, guards nothing
        if self._held_up and self._desk.no_room():
            return Park(None, journal_again())
        try:
            return self._work(why)
        except LoginRefused as refused:
            return self._refused(refused)
        except StoreError as error:
            return self._wait_for_journal(error)
        except TransientError as error:
            return self._try_later(error)
        except PermanentError as error:
            self._drop()
            self._go_on()
            self._become("failed", str(error))
            log.error("%s: %s", self.name, error)
            return Park(None, SHELVED)

    def failed(self, error: BaseException) -> Park | None:
        """A bug. It must not end the watching, and it must be seen."""
        log.error("%s: unexpected error, reconnecting", self.name, exc_info=error)
        return self._try_later(TransientError(f"internal error: {type(error).__name__}: {error}"))

    def leave(self) -> None:
        """From any thread: end at the next wake (another watcher takes these mailboxes over)."""
        self._leaving = True

    def assign(self, mailboxes: Sequence[str]) -> None:
        """From any thread: watch these from the next turn on, over the same connection."""
        self._assigned = tuple(mailboxes)

    @property
    def watching(self) -> tuple[str, ...]:
        """What is watched, or will be from the next turn on."""
        assigned = self._assigned
        return self.mailboxes if assigned is None else assigned

    def owns(self, connection: Connection) -> bool:
        return self._connection is connection

    def abort(self) -> None:
        connection = self._connection
        if connection is not None:
            connection.abort()

    # -- the work -------------------------------------------------------------------------------
    def _work(self, why: Why) -> Park:
        connection = self._connection
        news: frozenset[str] = frozenset()
        if connection is None:
            answer = self._connect()
            if isinstance(answer, Park):
                return answer
            connection = answer
            self._next.clear()
        elif self._idling:
            if why == "readable":
                news = connection.idle_events()
                if not news:
                    return Park(connection.fileno(), max(0.0, self._due - clock.timer()))
            connection.done()
            self._idling = False
        if not self._discovered:
            self._desk.discover(connection)
            self._discovered = True
            log.info("%s connected", self.name)
        if why not in ("readable", "timer"):
            self._next.clear()  # look at all
        for _ in range(MOST_ROUNDS):
            self._take_assignment()
            idle = self._can_wait(connection)
            if not idle and len(self.mailboxes) > 1:
                self._desk.no_notify(connection)
                self._take_assignment()
                idle = self._can_wait(connection)
            for name in self._whose_turn(news):
                self._next[name] = clock.timer() + self._run(connection, name, idle=idle)
                if self._desk.stopping or self._leaving:
                    return Park(None, 0)
            self._go_on()
            if not self.mailboxes:  # nothing matches yet: look again what there is
                self._desk.discover(connection)
                if self._assigned is not None:
                    continue
                self._become("connected", "no mailbox matches yet")
                return Park(None, min(self._interval, POLL))
            if self._assigned is not None:
                continue
            self._due = min(self._next.values())
            if not self._can_wait(connection):
                self._become("polling", "; ".join(self._shelved.values()))
                return Park(None, max(0.0, self._due - clock.timer()))
            news = connection.idle()
            if news or not self._can_wait(connection):
                connection.done()  # something came while we were about to wait, or we can't
                continue
            self._idling = True
            self._become("watching", "; ".join(self._shelved.values()))
            return Park(connection.fileno(), max(0.0, self._due - clock.timer()))
        return Park(None, 1.0)  # a server that has news each time it is asked

    def _can_wait(self, connection: Connection) -> bool:
        """Whether the server tells of new mail in all our mailboxes."""
        return connection.watch(self.mailboxes) if len(self.mailboxes) > 1 else connection.supports_idle

    def _whose_turn(self, news: frozenset[str]) -> tuple[str, ...]:
        """The mailboxes to look at now. Each is due until it has been."""
        soon = clock.timer() + TOGETHER
        names = tuple(
            name
            for name in self.mailboxes
            if len(self.mailboxes) == 1 or name in news or self._next.get(name, 0.0) <= soon
        )
        for name in names:
            self._next[name] = 0.0
        return names

    def _take_assignment(self) -> None:
        assigned, self._assigned = self._assigned, None
        if assigned is not None:
            self._go_on()  # under the old name
            self.mailboxes = assigned
            self.name = f"{self.account}/{','.join(assigned)}"
            self._next = {name: at for name, at in self._next.items() if name in assigned}
            self.missing &= set(assigned)

    def _run(self, connection: Connection, name: str, *, idle: bool) -> float:
        """One mailbox's turn; seconds until its next. Where there are several, one that fails must not
        starve the others."""
        wait = self._interval if idle else min(self._interval, POLL)
        try:
            due = self._desk.run(connection, name)
            self._shelved.pop(name, None)
            self.missing -= {name}
        except (TransientError, PermanentError) as error:
            if isinstance(error, NoSuchMailbox):
                self.missing |= {name}
            if len(self.mailboxes) == 1 or not connection.alive:
                raise
            if isinstance(error, StoreError) or getattr(error, "retry_after", None):
                raise
            if self._shelved.get(name) != str(error):
                log.error("%s/%s: %s", self.account, name, error)
            self._shelved[name] = str(error)
            due = POLL
        # ±10 %, so that a thousand accounts do not renew in the same second
        wait *= random.uniform(0.9, 1.0)  # noqa: S311
        return wait if due is None else min(wait, max(1.0, due))

    def _connect(self) -> Connection | Park:
        wait = self._gate.enter()
        if wait is None:
            self._become("needs-login", self._gate.error)
            return Park(None, SHELVED)
        if wait > 0:
            return Park(None, wait)
        release = self._desk.slot()
        if release is None:
            self._gate.failed()
            return Park(None, self._back_off.turned_away())
        self._back_off.admitted()
        connection = self._desk.connect()
        self._connection = connection
        try:
            connection.open()
        except LoginRefused:
            raise
        except BaseException:
            self._gate.failed()
            raise
        finally:
            release()
        self._gate.succeeded()
        self._back_off.connected()
        self._said = ""
        self._become("connected")
        self._discovered = False
        return connection

    # -- endings ----------------------------------------------------------------------------------
    def _refused(self, refused: LoginRefused) -> Park:
        self._drop()
        self._go_on()
        again = self._gate.refused(str(refused))
        if again is None:
            self._become("needs-login", str(refused))
            log.error(
                "%s: login refused twice, not trying again: %s Mend the password, then say "
                "`mailrules resume %s` or reload.",
                self.account, refused, self.account,
            )  # fmt: skip
            return Park(None, SHELVED)
        self._become("waiting", str(refused))
        log.warning("%s: login refused, trying once more in %.0f s: %s", self.account, again, refused)
        return Park(None, again)

    def _wait_for_journal(self, error: StoreError) -> Park:
        """It is not the server's fault: its connection stays, and the journal is tried again soon."""
        if self._connection is not None and not self._connection.alive:
            self._drop()
        self._held_up = True
        self._desk.held_up(self.name, error)
        self._become("waiting", str(error))
        return Park(None, journal_again())

    def _go_on(self) -> None:
        if self._held_up:
            self._held_up = False
            self._desk.goes_on(self.name)

    def _try_later(self, error: TransientError) -> Park:
        if self._connection is not None:
            self._desk.lost(self._connection)
        self._drop()
        self._go_on()
        wait = self._back_off.failed(error.retry_after)
        self._become("waiting", str(error))
        words = error.brief if str(error) == self._said else str(error).removesuffix(".")
        self._said = str(error)
        log.warning("%s: %s; trying again in %.1f s", self.name, words, wait)
        return Park(None, wait)

    def _become(self, state: State, error: str = "") -> None:
        if (state, error) != (self.state, self.error):
            self.state, self.error, self.since = state, error, clock.now()

    def _close(self) -> None:
        connection, self._connection, self._idling = self._connection, None, False
        if connection is not None:
            connection.close()

    def _drop(self) -> None:
        """Close without a word: there may be nobody to say LOGOUT to."""
        connection, self._connection, self._idling = self._connection, None, False
        if connection is not None:
            connection.abort()
            connection.close()
