"""A small disk that can be filled, and a journal whose writes can be made to fail.

::

    with SmallDisk(folder / "disk") as disk:       # a tmpfs of 8 MB; needs root
        disk.fill(); ...; disk.empty()

    writes = Writes(folder)                        # a library that stands before libc's write calls
    Program(folder, rules, environment=writes.environment(fail_at=7, error="ENOSPC"))
    writes.traced()                                # every write and sync of the journal, in order
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

FILL = "fill"


def no_mount(folder: Path) -> str | None:
    """Why no small disk can be had here, or None."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if done.returncode:
        return f"no tmpfs can be mounted here (it needs root): {done.stderr.strip()}"
    subprocess.run(["umount", str(folder)], check=True)
    return None


class SmallDisk:
    """A file system of its own; a context manager that takes it away again."""

    def __init__(self, path: Path, *, size: str = "8m") -> None:
        self.path = path
        self._size = size

    def __enter__(self) -> SmallDisk:
        self.path.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={self._size},mode=700", "tmpfs", str(self.path)], check=True
        )
        return self

    def __exit__(self, *exc: object) -> None:
        subprocess.run(["umount", "-l", str(self.path)], check=True)

    @property
    def free(self) -> int:
        disk = os.statvfs(self.path)
        return disk.f_bavail * disk.f_frsize

    def fill(self, *, leave: int = 0) -> None:
        """Until nothing is free, or so many bytes are."""
        with (self.path / FILL).open("ab", buffering=0) as file:
            if leave:
                os.posix_fallocate(file.fileno(), 0, max(1, self.free - leave))
                return
            for block in (65536, 4096):
                try:
                    while True:
                        file.write(bytes(block))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def empty(self) -> None:
        """Take the file that fills it away."""
        (self.path / FILL).unlink(missing_ok=True)


# -- writes that fail -------------------------------------------------------------------------------
def no_compiler() -> str | None:
    """Why writes can't be made to fail here, or None."""
    return None if shutil.which("gcc") else "gcc is not installed (Debian: apt install gcc libc6-dev)"


@dataclass(frozen=True)
class Call:
    """A write, or a sync (then `end` is 0), of one file. `end`: how far the file reaches after it."""

    number: int
    name: str
    file: str
    end: int


class Writes:
    """Compiles the library; `environment` says what it is to do in a program."""

    def __init__(self, folder: Path) -> None:
        self.library = folder / "failing_writes.so"
        self.trace = folder / "writes.trace"
        self.trigger = folder / "writes.fail"
        """While this file is there, all calls fail."""
        source = Path(__file__).with_name("failing_writes.c")
        subprocess.run(
            ["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-o", str(self.library), str(source), "-ldl"],
            check=True,
        )

    def environment(self, *, fail_at: int = 0, onward: bool = False, error: str = "EIO") -> dict[str, str]:
        """The `fail_at`-th call fails, or all from there on; 0: none does, they are only traced."""
        self.trace.unlink(missing_ok=True)
        self.trigger.unlink(missing_ok=True)
        return {
            "LD_PRELOAD": str(self.library),
            "WRITES_FAIL_AT": str(fail_at),
            "WRITES_ONWARD": str(int(onward)),
            "WRITES_ERRNO": str(getattr(errno, error)),
            "WRITES_TRACE": str(self.trace),
            "WRITES_TRIGGER": str(self.trigger),
        }

    def traced(self) -> list[Call]:
        """What has been called so far, those that failed included."""
        if not self.trace.exists():
            return []
        calls = []
        for line in self.trace.read_text().splitlines():
            number, name, end, file = line.split(" ", 3)
            calls.append(Call(int(number), name, file.rpartition("/")[2], int(end)))
        return calls


def synced(calls: list[Call], file: str) -> int:
    """How far a file reached at its last sync: what a power cut leaves of it for certain."""
    end = safe = 0
    for call in calls:
        if call.file != file:
            continue
        if call.name == "sync":
            safe = end
        elif call.name == "truncate":
            end = call.end
        else:
            end = max(end, call.end)
    return safe
