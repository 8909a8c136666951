"""What takes its time and needs no IMAP connection: mail being handed to SMTP, scripts.

They run in threads of their own beside the one that has the mailbox: a script that hangs or a relay that
is slow holds up its own message and nobody else's (RELIABILITY P4). The journal has each of them at
`intent` or `commit` meanwhile, and `under_way` says which those are: what it does not name there is left
over from a crash.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from mailrules import clock
from mailrules.core.message import MessageKey

log = logging.getLogger("mailrules.run")

MOST = 256
"""Errands at a time. Threads are made when they are needed."""
MOST_OF_ACCOUNT = 8
"""Errands of one account at a time: a relay that hangs must not take all there are."""

T = TypeVar("T")


class Returns(Generic[T]):
    """Where errands come back to while somebody waits for them. Closed, it takes no more."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[T] = SimpleQueue()
        self._lock = threading.Lock()
        self._open = True

    def put(self, item: T) -> bool:
        """From any thread. False: nobody is there any more."""
        with self._lock:
            if self._open:
                self._queue.put(item)
            return self._open

    def get(self, seconds: float) -> T | None:
        """The next one that is back; None if none came in time."""
        try:
            return self._queue.get(timeout=seconds) if seconds > 0 else self._queue.get_nowait()
        except Empty:
            return None

    def close(self) -> bool:
        """Take no more. True if something came that nobody has taken."""
        with self._lock:
            self._open = False
            return not self._queue.empty()


class Errands:
    """All errands of the program. `left_alone` is called with the account when one ends unattended."""

    def __init__(self, *, left_alone: Callable[[str], None] = lambda _: None) -> None:
        self.left_alone = left_alone
        self._pool = ThreadPoolExecutor(MOST, thread_name_prefix="mailrules-errand")
        self._lock = threading.Lock()
        self._ended = threading.Condition(self._lock)
        self._places: Counter[str] = Counter()
        self._under_way: dict[int, MessageKey] = {}
        self._wanting: set[str] = set()

    def place(self, account: str) -> bool:
        """Take a place for an errand; `start` or `give_back` must follow. False: none is free now, and
        `left_alone` is called when there may be one.
        """
        with self._lock:
            if self._places.total() >= MOST or self._places[account] >= MOST_OF_ACCOUNT:
                self._wanting.add(account)
                return False
            self._places[account] += 1
            return True

    def give_back(self, account: str) -> None:
        """The place is free again."""
        with self._ended:
            self._places[account] -= 1
            self._ended.notify_all()
            called = [name for name in self._wanting if self._places[name] < MOST_OF_ACCOUNT]
            self._wanting.difference_update(called)
        for name in called:
            self.left_alone(name)

    def start(self, effect: int, message: MessageKey, work: Callable[[], bool]) -> bool:
        """Do `work` in a thread, in a place taken before. It writes into the journal how the effect ended,
        and says whether somebody was there to take it back; if not, `left_alone` is called.

        False: there is no thread to be had; the place is still the caller's.
        """

        claim = threading.Lock()  # a pool that has no thread now keeps the work, and may yet do it

        def run() -> None:
            if not claim.acquire(blocking=False):
                return  # given up meanwhile
            attended = False
            try:
                attended = work()
            except Exception:  # a bug, and the pool would keep it to itself
                log.exception("%s/%s uid=%d effect %d", message.account, message.mailbox, message.uid, effect)
            finally:
                with self._lock:
                    del self._under_way[effect]
                self.give_back(message.account)
                if not attended:
                    self.left_alone(message.account)

        with self._lock:
            self._under_way[effect] = message
        try:
            self._pool.submit(run)
        except RuntimeError as error:
            if not claim.acquire(blocking=False):
                return True  # another thread has it already
            log.error("no thread for effect %d: %s", effect, error)
            with self._lock:
                del self._under_way[effect]
            return False
        return True

    def under_way(self) -> frozenset[int]:
        """The effects that errands are at. Ask before the journal is read: what ends in between has its end
        written before it is no longer named here.
        """
        with self._lock:
            return frozenset(self._under_way)

    def wait(self, seconds: float) -> bool:
        """Until no errand is under way. False if some still are after so many seconds."""
        deadline = clock.timer() + seconds
        with self._ended:
            while self._under_way:
                left = deadline - clock.timer()
                if left <= 0:
                    return False
                self._ended.wait(left)
        return True
