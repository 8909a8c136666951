"""The selector loop: who is parked, who is due.

One thread holds every idle connection. A parked one costs a socket and a timer, no thread. When its
socket turns readable or its timer runs out it is handed to a thread, which alone owns it
until its `wake` returns and it is parked again.

A server that freezes, or drips a byte a second, holds a thread while the wire has patience (60 s of silence,
120 s a command). So there are more threads where all wait (crew.py), and one host gets its share and no more.
"""

from __future__ import annotations

import heapq
import logging
import os
import selectors
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Literal, Protocol

from mailrules import clock
from mailrules.watching.crew import Crew

log = logging.getLogger("mailrules.poller")

Why = Literal["start", "readable", "timer", "resumed", "asked", "stop"]

TICK = 10.0
"""Seconds the loop sleeps at most: bounds how late a suspend or a dead loop is noticed."""
SUSPENDED = 10.0
"""A jump of this many seconds between the two clocks means the machine slept and its sockets are dead."""

THREADS = 512
"""Connections at work at once, at most. A thread that waits for a server costs 50 to 70 KB of memory."""


@dataclass(frozen=True, slots=True)
class Park:
    """Where a connection waits: a socket to watch (or None) and seconds until it is due anyway."""

    fileno: int | None
    seconds: float


class Parked(Protocol):
    """What the poller holds. `wake` runs in a thread of the crew and says where to park next; None ends it.

    After `wake("stop")` it must return None. `failed` is asked instead of a result when `wake` raised.
    `abort` comes from any thread and makes whatever `wake` waits for end. `host`: those of one host
    share its part of the threads.
    """

    name: str
    host: str

    def wake(self, why: Why) -> Park | None: ...
    def failed(self, error: BaseException) -> Park | None: ...
    def abort(self) -> None: ...


@dataclass(slots=True, eq=False)
class _Place:
    member: Parked
    serial: int = 0  # a timer of an older serial is stale
    fileno: int | None = None
    busy: bool = True
    queued: bool = False  # busy, but its host's share of the threads is used up
    asked: Why | None = None  # woken while busy: runs once more


class Poller:
    """Owns the selector thread and its crew. `threads` bounds how many connections work at once."""

    def __init__(self, *, threads: int = THREADS) -> None:
        self._share = max(1, threads // 2)  # of one host
        self._running: Counter[str] = Counter()  # by host
        self._queues: dict[str, deque[tuple[int, _Place, Why]]] = defaultdict(deque)
        self._crew = Crew(threads, name="mailrules-worker")
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)
        self._lock = threading.Lock()
        self._empty = threading.Condition(self._lock)
        self._inbox: list[Callable[[], None]] = []
        self._places: dict[Parked, _Place] = {}
        self._timers: list[tuple[float, int, int, _Place]] = []
        self._order = count()
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, name="mailrules-poller", daemon=True)
        self.ticked = clock.timer()
        """When the loop last went round (clock.timer()): the watchdog feeds on it."""

    # -- from any thread ----------------------------------------------------------------------
    def start(self) -> None:
        self._thread.start()

    def add(self, member: Parked) -> None:
        """Take over a connection; its first `wake("start")` runs at once."""
        self._call(lambda: self._add(member))

    def ask(self, member: Parked, why: Why = "asked") -> None:
        """Wake a member now; if it is at work, it goes round once more afterwards."""
        self._call(lambda: self._ask(member, why))

    def remove(self, member: Parked) -> None:
        """Let go of a member: it is not woken again. Its `abort` ends what it is doing."""
        self._call(lambda: self._remove(member))
        member.abort()

    def stop(self, *, grace: float, patience: float = 0.0) -> bool:
        """End every member: `wake("stop")`, and `abort` for those still there after `grace` seconds.

        Members at work finish the step they are at; after `abort` they have `patience` seconds for it.
        True if all ended by themselves.
        """
        self._crew.hurry()
        with self._empty:
            members = list(self._places)
            for member in members:
                self._inbox.append(lambda member=member: self._ask(member, "stop"))  # type: ignore[misc]
        self._knock()
        deadline = clock.timer() + grace
        with self._empty:
            while self._places and clock.timer() < deadline:
                self._empty.wait(deadline - clock.timer())
            left = list(self._places)
        for member in left:
            log.warning("%s did not end within %.0f s: cutting its connection", member.name, grace)
            member.abort()
        if self.alive:  # else nobody would tell that they have ended
            with self._empty:
                self._empty.wait_for(lambda: not self._places, patience)
        self._stopping = True
        self._knock()
        self._thread.join(TICK)
        self._crew.close()
        return not left

    @property
    def alive(self) -> bool:
        """Whether the loop still runs. Without it nobody is woken any more."""
        return self._thread.is_alive()

    @property
    def busy(self) -> int:
        """How many members are at work."""
        with self._lock:
            return sum(place.busy for place in self._places.values())

    # -- in the poller's thread -----------------------------------------------------------------
    def _call(self, function: Callable[[], None]) -> None:
        with self._lock:
            self._inbox.append(function)
        self._knock()

    def _knock(self) -> None:
        with suppress(BlockingIOError):  # the pipe is full: the loop is going to wake up anyway
            os.write(self._wake_write, b"x")

    def _loop(self) -> None:
        slept = clock.suspended()
        while not self._stopping:
            self.ticked = clock.timer()
            timeout = min(TICK, self._crew.stretch())
            if self._timers:
                timeout = min(timeout, max(0.0, self._timers[0][0] - self.ticked))
            for key, _ in self._selector.select(timeout):
                if key.data is None:
                    self._drain_pipe()
                else:
                    self._submit(key.data, "readable")
            with self._lock:
                calls, self._inbox = self._inbox, []
            for call in calls:
                call()
            if clock.suspended() - slept > SUSPENDED:
                log.info("resumed after a suspend of %.0f s: reconnecting", clock.suspended() - slept)
                slept = clock.suspended()
                for place in list(self._places.values()):
                    if not place.busy:
                        self._submit(place, "resumed")
            self._run_timers()

    def _drain_pipe(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self._wake_read, 4096):
                pass

    def _run_timers(self) -> None:
        now = clock.timer()
        while self._timers and self._timers[0][0] <= now:
            _, _, serial, place = heapq.heappop(self._timers)
            if serial == place.serial and not place.busy:
                self._submit(place, "timer")

    def _add(self, member: Parked) -> None:
        place = _Place(member, busy=False)
        with self._lock:
            self._places[member] = place
        self._submit(place, "start")

    def _ask(self, member: Parked, why: Why) -> None:
        place = self._places.get(member)
        if place is None:
            return
        if place.queued and why != "stop":
            place.asked = place.asked or why  # about to be woken, but perhaps not for this
            return
        if place.busy and not place.queued:
            place.asked = "stop" if "stop" in (why, place.asked) else why
        else:
            self._submit(place, why)

    def _remove(self, member: Parked) -> None:
        with self._empty:
            place = self._places.pop(member, None)
            self._empty.notify_all()
        if place is not None:
            self._unwatch(place)
            place.serial += 1

    def _unwatch(self, place: _Place) -> None:
        if place.fileno is not None:
            try:
                self._selector.unregister(place.fileno)
            except (KeyError, ValueError, OSError):
                pass  # closed behind our back: epoll has forgotten it already
            place.fileno = None

    def _submit(self, place: _Place, why: Why) -> None:
        if self._stopping:
            return
        self._unwatch(place)
        place.serial += 1
        place.busy = True
        host = place.member.host
        # "stop" takes no time: it need not wait behind those who do.
        place.queued = self._running[host] >= self._share and why != "stop"
        if place.queued:
            self._queues[host].append((place.serial, place, why))
            return
        self._running[host] += 1
        try:
            self._crew.do(partial(self._wake, place, why))
        except RuntimeError as error:  # no new thread to be had now; the crew keeps the work for the next one
            log.error("%s: %s; waiting for a free thread", place.member.name, error)

    def _wake(self, place: _Place, why: Why) -> None:
        """In a thread of the crew: one turn, and back to the poller's thread."""
        park, failure = None, None
        try:
            park = place.member.wake(why)
        except BaseException as error:  # noqa: BLE001 - its member is told, in `failed`
            failure = error
        self._call(lambda: self._returned(place, park, failure))

    def _next_in_line(self, host: str) -> None:
        """A thread of this host's share is free again."""
        line = self._queues[host]
        while line and self._running[host] < self._share:
            serial, place, why = line.popleft()
            if place.queued and serial == place.serial:
                self._submit(place, why)
        if not line:
            del self._queues[host]

    def _returned(self, place: _Place, park: Park | None, error: BaseException | None) -> None:
        place.busy = False
        self._running[place.member.host] -= 1
        self._next_in_line(place.member.host)
        if place.member not in self._places or self._stopping:
            return
        if error is not None:
            park = place.member.failed(error)
        if park is None:
            self._remove(place.member)
            return
        if place.asked is not None:
            why, place.asked = place.asked, None
            self._submit(place, why)
            return
        if park.fileno is not None:
            try:
                self._selector.register(park.fileno, selectors.EVENT_READ, place)
                place.fileno = park.fileno
            except (KeyError, ValueError, OSError):
                self._submit(place, "asked")  # it died between parking and now
                return
        self._push(place, park.seconds)

    def _push(self, place: _Place, seconds: float) -> None:
        heapq.heappush(self._timers, (clock.timer() + seconds, next(self._order), place.serial, place))
