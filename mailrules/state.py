"""The state directory: where it is, who holds it, where its control socket is.

One process at a time may change a state: it holds an exclusive flock on the file `lock`, which also
says who it is. A worker holds it while it runs; a command that changes something asks the worker, or
holds the lock itself for a moment.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from mailrules import clock
from mailrules.core.errors import ConfigError, NotPermitted, PermanentError, TransientError

LOCK = "lock"
SOCKET = "control.sock"
LONGEST_SOCKET_PATH = 107
"""Bytes of a Unix socket's path (sun_path without its NUL)."""


class StateLocked(NotPermitted):
    """Another process holds the state. `holder` is who, if it said so."""

    def __init__(self, message: str, holder: Holder | None) -> None:
        super().__init__(message)
        self.holder = holder


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a state's lock, in its own words."""

    pid: int
    host: str
    since: str
    command: str
    socket: str = ""

    def __str__(self) -> str:
        return f"`mailrules {self.command}`, process {self.pid} on {self.host}, since {self.since}"


@dataclass(frozen=True, slots=True)
class State:
    """A state directory, there or not. `source`: what pointed to it, for messages."""

    directory: Path
    source: str

    @property
    def exists(self) -> bool:
        """Whether a journal has ever been kept here."""
        return (self.directory / "journal.db").exists()

    def __str__(self) -> str:
        return f"{self.directory} ({self.source})"

    def lock(self, command: str, *, wait: float = 0.0, socket: Path | None = None) -> Lock:
        """Take the exclusive lock, creating the directory. Release it by `close` or leaving `with`.

        Waits up to `wait` seconds for a command to end, but not for a worker. Raises StateLocked,
        NotPermitted, TransientError.
        """
        return Lock(self, command, wait=wait, socket=socket)

    def missing(self) -> PermanentError:
        """Neither state nor worker: where was looked, and what makes one."""
        return PermanentError(
            f"no state in {self}, and no worker listens at {self.socket()}. "
            "`mailrules run` starts one; --state DIRECTORY looks elsewhere."
        )

    def holder(self) -> Holder | None:
        """Who said last that it holds the lock; it may be gone by now."""
        try:
            return Holder(**json.loads((self.directory / LOCK).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def socket(self, *, environ: Mapping[str, str] = os.environ) -> Path:
        """Where a worker of this state listens: in the runtime directory, else beside the state.

        In a directory shared by all of a user's states the name carries which one it is.
        """
        if given := environ.get("RUNTIME_DIRECTORY"):  # systemd: ours alone
            return Path(given.partition(":")[0]) / SOCKET
        if (given := environ.get("XDG_RUNTIME_DIR")) and Path(given).is_dir():
            import hashlib

            which = hashlib.sha256(os.fsencode(self.directory.resolve())).hexdigest()[:12]
            return Path(given) / "mailrules" / f"{which}.sock"
        return self.directory / SOCKET


def locate(
    *,
    explicit: str | None = None,
    configured: str | None = None,
    config_path: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> State:
    """The state directory: `--state`, `settings.state`, $STATE_DIRECTORY, /var/lib, XDG; in this order.

    A relative `settings.state` is relative to the file that says it. Raises ConfigError for a URL.
    """
    if explicit:
        return State(_directory(explicit, Path(), "--state"), "--state")
    if configured:
        base = config_path.parent if config_path is not None else Path()
        return State(_directory(configured, base, "settings.state"), "settings.state")
    if given := environ.get("STATE_DIRECTORY"):
        return State(Path(given.partition(":")[0]), "$STATE_DIRECTORY")
    if config_path is not None and Path("/etc") in config_path.absolute().parents:
        return State(Path("/var/lib/mailrules"), "the configuration is in /etc")
    if given := environ.get("XDG_STATE_HOME"):
        return State(Path(given) / "mailrules", "$XDG_STATE_HOME")
    return State(Path(environ.get("HOME") or "~").expanduser() / ".local/state/mailrules", "default")


def _directory(text: str, base: Path, source: str) -> Path:
    if "://" in text:
        scheme = text.partition("://")[0]
        raise ConfigError(
            [f"{source}: {scheme}:// is not supported by this version. Name a directory for the state."]
        )
    return Path(os.path.abspath(base / Path(text).expanduser()))  # noqa: PTH100 - symlinks stay


class Lock:
    """The exclusive lock on a state, held. It goes with the process, however that ends."""

    def __init__(self, state: State, command: str, *, wait: float, socket: Path | None) -> None:
        self.state = state
        self._file = _open(state)
        deadline = clock.timer() + wait
        while not self._try():
            holder = state.holder()
            # A worker does not go away; a command does.
            if clock.timer() >= deadline or (holder is not None and holder.command == "run"):
                os.close(self._file)
                raise StateLocked(_held(state, holder), holder)
            time.sleep(0.05)
        self._say(command, socket)

    def _try(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            os.close(self._file)
            raise TransientError(
                f"the state {self.state} can't be locked: {error.strerror}. "
                "Put it on a file system that knows flock (a local one)."
            ) from error
        return True

    def _say(self, command: str, socket_path: Path | None) -> None:
        words = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.fromtimestamp(time.time()).astimezone().isoformat(timespec="seconds"),
            "command": command,
            "socket": str(socket_path or ""),
        }
        data = json.dumps(words).encode()
        try:
            os.pwrite(self._file, data, 0)
            os.ftruncate(self._file, len(data))
        except OSError as error:
            os.close(self._file)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise TransientError(f"no room left in {self.state.directory}.") from error
            raise TransientError(f"the state {self.state} can't be written: {error.strerror}.") from error

    def close(self) -> None:
        """Let go of it. Doing so twice does nothing."""
        if self._file >= 0:
            # Nobody holds it: nobody to name. Its block stays, so that a full disk does not keep the next
            # one from saying who it is.
            try:
                os.pwrite(self._file, b" " * os.fstat(self._file).st_size, 0)
            except OSError:
                pass  # then it names one that is gone, which whoever asks takes into account
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _open(state: State) -> int:
    try:
        state.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(state.directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise TransientError(f"no room left for the state in {state}.") from error
        raise NotPermitted(
            f"cannot write the state in {state}: {error.strerror}. "
            "Give this user a directory to write to, or name another one with --state."
        ) from error


def _held(state: State, holder: Holder | None) -> str:
    who = f"by {holder}" if holder is not None else "by another process"
    return f"the state {state.directory} is held {who}. Only one at a time may change it."
