"""Room for the journal on its disk, and a file that is thrown overboard when there is none (RELIABILITY R11).

What has been done must be recorded, also on a full disk. So nothing new is begun while room is short, and a
file beside the journal holds blocks that outcomes can have when even that was not enough.
"""

from __future__ import annotations

import errno
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from mailrules.clock import timer

FILE = "ballast"
SIZE = 16 * 2**20
"""Bytes of the ballast, but at most 1/20 of the file system."""
LOW = 64 * 2**20
"""Free bytes below which nothing new is begun, but at most 1/10 of the file system."""
EXHAUSTED = 64 * 2**10
"""Free bytes below which even SQLite's own shared memory (32 KB) may find no room."""
LOOK = 1.0
"""Seconds for which a look at the disk is good."""
AGAIN = 5.0
"""Seconds after the ballast was dropped, or could not be made, before it is made again."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Room:
    """How much is free beside the journal, and how much must be for something new to be begun.

    `short`: the ballast is not there for want of room, whatever the file system says is free (a quota).
    `needed` is 0 where a file system does not count its blocks.
    """

    free: int
    needed: int
    short: bool = False

    @property
    def enough(self) -> bool:
        return self.free >= self.needed and not self.short

    @property
    def exhausted(self) -> bool:
        return self.needed > 0 and self.free < EXHAUSTED


class Ballast:
    """The ballast of one state directory. Only the writer makes and drops it; anybody may look."""

    def __init__(self, directory: Path, *, writer: bool, size: int = SIZE, low: int = LOW) -> None:
        self.path = directory / FILE
        self.drops = 0
        """How often it was dropped."""
        self._writer = writer
        self._size = size
        self._low = low
        self._lock = threading.Lock()
        self._seen: Room | None = None
        self._due = float("-inf")
        self._not_before = float("-inf")

    def room(self, *, fresh: bool = False) -> Room:
        """Free space, looked at once a second or when it must be `fresh`. Makes the ballast when it fits."""
        with self._lock:
            if self._seen is None or fresh or timer() >= self._due:
                self._seen = self._look()
                self._due = timer() + LOOK
            return self._seen

    def drop(self) -> bool:
        """Give its blocks to the journal. False if it was not there."""
        with self._lock:
            try:
                self.path.unlink()
            except OSError:
                return False
            self.drops += 1
            self._seen = None
            self._not_before = timer() + AGAIN  # the journal first
            return True

    def _look(self) -> Room:
        try:
            disk = os.statvfs(self.path.parent)
        except OSError:
            return Room(0, 0)  # it can't be known: the write itself will say
        if not disk.f_blocks:
            return Room(0, 0)  # a file system that does not count
        total, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
        size, low = min(self._size, total // 20), min(self._low, total // 10)
        if self._there(size):
            return Room(free, low)
        # Without ballast there must be room for it too; once it is made, `low` stays free beside it.
        if not self._writer or free < low + size:
            return Room(free, low + size)
        if timer() < self._not_before:
            return Room(free, low + size, short=True)
        return self._made(size, free, low)

    def _made(self, size: int, free: int, low: int) -> Room:
        try:
            _allocate(self.path, size)
        except OSError as error:
            self.path.unlink(missing_ok=True)
            self._not_before = timer() + AGAIN
            # For any other reason than room, go without one: the disk may still be large enough for us.
            return Room(free, low + size, short=error.errno in NO_ROOM)
        return Room(free - size, low)

    def _there(self, size: int) -> bool:
        try:
            return self.path.stat().st_size >= size
        except OSError:
            return False


def _allocate(path: Path, size: int) -> None:
    """Make a file that really holds its blocks. Raises OSError."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            os.posix_fallocate(file, 0, size)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise
        if os.fstat(file).st_blocks * 512 < size:
            # No such call, or one that only says so. Zeros might be kept as a hole (ZFS, btrfs).
            for start in range(0, size, 2**20):
                os.pwrite(file, os.urandom(min(2**20, size - start)), start)
    finally:
        os.close(file)
