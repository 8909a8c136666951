"""Threads for the connections at work: as many as it takes, and gone when there is nothing to do.

A pool that only grows has, after a start with thousands of accounts, hundreds of threads that nobody needs
again, each with its stack and its part of the allocator. Here a thread is added when none has come free for a
moment, which means that those there are wait for servers, and now and then when they do come free and are
too few. It is not added at once where they compute: more would not be faster. Who has rested for long ends.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from itertools import count
from queue import Empty, SimpleQueue

from mailrules import clock

Work = Callable[[], None]

AT_ONCE = 8
"""Threads that are started without hesitating."""
PATIENCE = 0.02
"""Seconds without a thread that comes free, while work waits, before there is one more."""
LONG = 0.1
"""Seconds that work may wait, and between two threads that are added, where threads do come free."""
REST = 10.0
"""Seconds without work after which a thread ends."""
KEPT = 2
"""Threads that stay all the same, so that a single mail finds one."""
REFUSED = 1.0
"""Seconds before the system is asked for a thread again when it had none."""


class Crew:
    """At most `most` threads. Work must not raise."""

    def __init__(self, most: int, *, name: str, rest: float = REST) -> None:
        self._most = most
        self._name = name
        self._rest = rest
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._threads = 0
        self._at_once = AT_ONCE
        self._idle: list[SimpleQueue[Work | None]] = []  # who has worked last is the first to go again
        self._waiting: deque[tuple[float, Work]] = deque()
        self._freed = self._started = self._refused = float("-inf")  # when that was last so
        self._closed = False

    @property
    def size(self) -> int:
        """How many threads there are."""
        return self._threads

    def do(self, work: Work) -> None:
        """Have it done, from any thread. RuntimeError: no thread is to be had now; the work is kept, for the
        next one that is free or that `stretch` can start."""
        if not threading.main_thread().is_alive():
            self.close()  # the program ends without having said so; Python waits for our threads
        with self._lock:
            if self._closed:
                return
            if self._idle:
                self._idle.pop().put(work)
                return
            self._waiting.append((clock.timer(), work))
            if self._threads < min(self._at_once, self._most):
                self._start()

    def stretch(self) -> float:
        """One more thread, if it is time. Seconds until this is to be asked again."""
        with self._lock:
            if not self._waiting or self._closed or self._threads >= self._most:
                return float("inf")
            came = self._waiting[0][0]
            due = min(max(came, self._freed) + PATIENCE, max(came, self._started) + LONG)
            wait = max(due, self._refused + REFUSED) - clock.timer()
            if wait > 0:
                return wait
            try:
                self._start()
            except RuntimeError:
                return REFUSED
            return PATIENCE

    def hurry(self) -> None:
        """From now on a thread for each piece of work that finds none: they will not be kept for long."""
        self._at_once = self._most

    def close(self) -> None:
        """Who rests ends now, the others after what they are at; what waits is not done any more."""
        with self._lock:
            self._closed = True
            self._waiting.clear()
            while self._idle:
                self._idle.pop().put(None)

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name=f"{self._name}-{next(self._numbers)}", daemon=False)
        try:
            thread.start()
        except RuntimeError:
            self._refused = clock.timer()
            raise
        self._started = clock.timer()
        self._threads += 1

    def _run(self) -> None:
        handed: SimpleQueue[Work | None] = SimpleQueue()
        while (work := self._take(handed)) is not None:
            work()
            del work  # it holds a connection, which may be closed while this thread rests
        with self._lock:
            self._threads -= 1

    def _take(self, handed: SimpleQueue[Work | None]) -> Work | None:
        """What is to be done next; None: this thread ends."""
        with self._lock:
            if self._waiting:
                self._freed = clock.timer()
                return self._waiting.popleft()[1]
            if self._closed:
                return None
            self._idle.append(handed)
        while True:
            try:
                return handed.get(timeout=self._rest)
            except Empty:
                pass
            with self._lock:
                if handed in self._idle:
                    if self._threads > KEPT or not threading.main_thread().is_alive():
                        self._idle.remove(handed)
                        return None
                    continue
            return handed.get()  # somebody has handed it over just now
