"""The guard of one script: a small process of its own between the worker and what a user's program starts.

Run as `python -I -S supervise.py FD`; it imports nothing of mailrules. It is the "subreaper" of everything
below it (prctl(2)): whoever forks, calls setsid and lets its parent die becomes a child of this process, and
not of the worker, whose own children it can therefore never touch. When the script has ended, or must
end, nothing that it started is left alive.

Over the socket FD: it says b"R" (ready), reads one line of JSON (what to run), later perhaps b"T"
(terminate; so does the end of the stream: the worker is gone), and answers with one line of JSON.
"""

from __future__ import annotations

import base64
import ctypes
import errno
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PR_SET_CHILD_SUBREAPER = 36
LONGEST_OUTPUT = 64 * 1024
TERM_GRACE = 2.0
KILL_TIME = 2.0


class Guard:
    """One script, from its start to its last descendant."""

    def __init__(self, control: socket.socket, spec: dict[str, Any]) -> None:
        self.control = control
        self.spec = spec
        self.outputs: dict[str, bytearray] = {}
        self.open: dict[int, str] = {}  # file descriptor -> stdout or stderr
        self.cut = False
        self.child = 0
        self.status: int | None = None
        self.terminated = 0.0  # when it was told to end

    def run(self) -> dict[str, Any]:
        """Start it, see it out, and say how it ended."""
        wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake[1], warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        try:
            self.child = self._spawn()
        except OSError as error:
            return {"error": f"could not be started: {os.strerror(error.errno or errno.EIO)}"}
        while self.status is None:
            self._pump([wake[0]], 0.5)
            _drain(wake[0])
            self._reap()
            if self.terminated and time.monotonic() - self.terminated > TERM_GRACE:
                self._kill_all()
        survivors = self._kill_all()
        self._pump_rest()
        return {
            "status": os.waitstatus_to_exitcode(self.status),
            "interrupted": bool(self.terminated),
            "survivors": survivors,
            "cut": self.cut,
            **{name: base64.b64encode(data).decode() for name, data in self.outputs.items()},
        }

    def _spawn(self) -> int:
        ends = {}
        for name in ("stdout", "stderr"):
            read, write = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(read, False)
            self.outputs[name], self.open[read], ends[name] = bytearray(), name, write
        actions = [
            (os.POSIX_SPAWN_DUP2, ends["stdout"], 1),
            (os.POSIX_SPAWN_DUP2, ends["stderr"], 2),
        ]
        try:
            return os.posix_spawn(
                self.spec["program"],
                [os.fsencode(argument) for argument in self.spec["argv"]],
                {os.fsencode(name): os.fsencode(value) for name, value in self.spec["env"].items()},
                file_actions=actions,
                setsid=True,
                setsigmask=[],
                setsigdef=[signal.SIGPIPE, signal.SIGCHLD, signal.SIGINT, signal.SIGTERM],
            )
        finally:
            for write in ends.values():
                os.close(write)
            os.close(0)

    def _pump(self, more: list[int], seconds: float) -> None:
        """Wait for output, a word of the worker, or a child's end; keep the first 64 KB of each output."""
        control = [] if self.terminated else [self.control.fileno()]
        ready, _, _ = select.select([*self.open, *control, *more], [], [], seconds)
        for fd in ready:
            if fd == self.control.fileno():
                self.terminated = time.monotonic()
                self.control.recv(1)
                self._signal(signal.SIGTERM)
            elif fd in self.open:
                self._take(fd)

    def _take(self, fd: int) -> bool:
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return False
        kept = self.outputs[self.open[fd]]
        self.cut |= len(kept) + len(data) > LONGEST_OUTPUT
        kept += data[: LONGEST_OUTPUT - len(kept)]
        if not data:
            del self.open[fd]
            os.close(fd)
        return bool(data)

    def _pump_rest(self) -> None:
        """What is still in the pipes. A survivor may hold them open: nobody waits for it."""
        for fd in list(self.open):
            while self._take(fd):
                pass

    def _reap(self) -> bool:
        """Bury who has died; whether any child is left, alive or dying."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.child:
                self.status = status

    def _signal(self, number: int) -> int:
        """Send it to every descendant; how many there are."""
        found = list(_descendants())
        for pid in found:
            try:
                os.kill(pid, number)
            except (ProcessLookupError, PermissionError):
                pass
        return len(found)

    def _kill_all(self) -> int:
        """Kill every descendant; how many could not be killed (they changed their user).

        Nobody is left when there is no child: orphans become children of this process. A look at /proc
        alone would miss who was forked while it was being read.
        """
        until = time.monotonic() + KILL_TIME
        while self._reap():
            found = self._signal(signal.SIGKILL)
            if time.monotonic() > until:
                return found
            time.sleep(0.005)
        return 0


def _descendants() -> Iterator[int]:
    """Process ids of everything below this process, zombies left out."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
            except OSError:
                continue
            if fields[0] not in (b"Z", b"X"):
                children.setdefault(int(fields[1]), []).append(int(entry.name))
            else:
                children.setdefault(int(fields[1]), [])
    below = [os.getpid()]
    while below:
        for pid in children.get(below.pop(), ()):
            below.append(pid)
            yield pid


def _drain(fd: int) -> None:
    try:
        os.read(fd, 4096)
    except BlockingIOError:
        pass


def _limit(timeout: float) -> None:
    """Bounds that a script inherits: no core dumps, 1 GB a file, processor time, 1,024 open files."""
    for kind, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 1024**3),
        (resource.RLIMIT_CPU, int(timeout * 4) + 10),
        (resource.RLIMIT_NOFILE, 1024),
    ):
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(kind, (value, value))
        except (ValueError, OSError):
            pass


def main() -> None:
    """Serve the worker at the other end of the socket, once."""
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    control.sendall(b"R")
    with control.makefile("rb", buffering=0) as lines:
        line = lines.readline()
    if not line.endswith(b"\n"):
        return  # the worker changed its mind, or is gone
    spec = json.loads(line)
    _limit(spec["timeout"])
    try:
        control.sendall(json.dumps(Guard(control, spec).run()).encode() + b"\n")
    except OSError:
        pass  # nobody is there to hear it


if __name__ == "__main__":
    main()
