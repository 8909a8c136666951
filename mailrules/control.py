"""The control socket: what a command asks of a running worker.

A Unix socket (0600) that talks JSON lines. The client sends one line, `{"command": NAME, …}`; the server
answers with any number of `{"event": {…}}` and one last line, `{"end": true}` or `{"error": {…}}`.
Only the worker's own user and root may ask. Nothing a client does, or stops doing, harms the worker.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import stat
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mailrules.core.errors import (
    ConfigError,
    MailrulesError,
    NoSuchName,
    NotPermitted,
    PermanentError,
    TransientError,
)
from mailrules.state import LONGEST_SOCKET_PATH, State

log = logging.getLogger("mailrules.control")

Handler = Callable[[Mapping[str, Any]], Iterable[Mapping[str, Any]] | Mapping[str, Any] | None]
"""Answers one request: with one event, with several (a generator streams them), or with none."""

LONGEST_REQUEST = 64 * 1024
LONGEST_EVENT = 16 * 1024 * 1024
MOST_CLIENTS = 16
ASK_TIMEOUT = 10.0
"""Seconds a client has to say what it wants."""
TELL_TIMEOUT = 30.0
"""Seconds a client may take to read an event, before it counts as gone."""

_KINDS: dict[str, type[MailrulesError]] = {
    "transient": TransientError,
    "permanent": PermanentError,
    "not permitted": NotPermitted,
    "no such name": NoSuchName,
}


class ControlServer:
    """Listens in a thread of its own, a short-lived thread for each client. `register` before `start`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handlers: dict[str, Handler] = {}
        self._socket: socket.socket | None = None
        self._places = threading.BoundedSemaphore(MOST_CLIENTS)
        self._clients: set[socket.socket] = set()
        self._guard = threading.Lock()
        self._closing = False

    def register(self, name: str, handler: Handler) -> None:
        """What is to be done when a client asks for `name`. Called in a thread of its own."""
        self._handlers[name] = handler

    def start(self) -> None:
        """Listen. Call it holding the state's lock: a socket that is already there is a dead worker's."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISSOCK(self.path.lstat().st_mode):
                    self.path.unlink()
            listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            os.fchmod(listening.fileno(), 0o600)  # on Linux the name is born with this mode
            with _address(self.path) as address:
                listening.bind(address)
            listening.listen(MOST_CLIENTS)
        except OSError as error:
            raise NotPermitted(f"cannot listen on {self.path}: {error.strerror}.") from error
        self._socket = listening
        threading.Thread(target=self._listen, name="mailrules-control", daemon=True).start()

    def stop(self) -> None:
        """Stop listening and send every client away."""
        self._closing = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # wakes accept
            self._socket.close()
            with contextlib.suppress(OSError):
                self.path.unlink()
        with self._guard:
            for client in self._clients:
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _listen(self) -> None:
        assert self._socket is not None
        while not self._closing:
            try:
                client, _ = self._socket.accept()
            except OSError:
                if self._closing:
                    return
                threading.Event().wait(0.1)  # out of file descriptors, say: it passes
                continue
            if not self._places.acquire(blocking=False):
                client.close()
                continue
            threading.Thread(
                target=self._serve, args=(client,), name="mailrules-control-client", daemon=True
            ).start()

    def _serve(self, client: socket.socket) -> None:
        with self._guard:
            self._clients.add(client)
        try:
            with client:
                client.settimeout(ASK_TIMEOUT)
                self._answer(client)
        except (
            OSError,
            ValueError,
            RecursionError,
        ) as error:  # it went, or talked nonsense
            log.debug("a client of the control socket: %s", error)
        finally:
            with self._guard:
                self._clients.discard(client)
            self._places.release()

    def _answer(self, client: socket.socket) -> None:
        uid = _peer(client)
        with contextlib.ExitStack() as opened:
            line = _line(client, LONGEST_REQUEST, opened)  # who is cut off in mid-sentence never reads why
            self._heard(client, uid, *line)

    def _heard(self, client: socket.socket, uid: int, line: bytes, file: int | None) -> None:
        if uid not in (0, os.geteuid()):
            _send(
                client,
                {"error": {"kind": "not permitted", "message": f"user {uid} may not ask this worker."}},
            )
            return
        match json.loads(line):
            case {"command": str(name), **rest}:
                arguments: dict[str, Any] = {str(key): value for key, value in rest.items()}
                arguments.pop("file", None)  # a number from out there names nothing in here
                if file is not None:
                    arguments["file"] = file
            case _:
                raise ValueError("a request is an object with a command")
        client.settimeout(TELL_TIMEOUT)
        handler = self._handlers.get(name)
        if handler is None:
            message = f"the running worker does not know '{name}'. Is it an older version? Restart it."
            _send(client, {"error": {"kind": "permanent", "message": message}})
            return
        try:
            self._stream(client, handler(arguments))
        except _Gone:
            log.debug("the client who asked for %s is gone", name)
        except MailrulesError as error:
            _send(client, {"error": _described(error)})
        except Exception as bug:
            log.exception("the request %s failed", name)
            message = f"the worker failed: {type(bug).__name__}: {bug}. Its log has the traceback."
            _send(client, {"error": {"kind": "permanent", "message": message}})
        else:
            _send(client, {"end": True})

    def _stream(
        self, client: socket.socket, answer: Iterable[Mapping[str, Any]] | Mapping[str, Any] | None
    ) -> None:
        if answer is None:
            return
        events = iter([answer]) if isinstance(answer, Mapping) else iter(answer)
        try:
            for event in events:
                try:
                    _send(client, {"event": event})
                except OSError as error:
                    raise _Gone from error
        finally:
            close = getattr(events, "close", None)
            if close is not None:
                close()


class _Gone(Exception):
    """The client does not listen any more."""


class ControlClient:
    """One running worker, asked by a command. A connection for each request."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def request(
        self, name: str, /, *, timeout: float | None = 60.0, file: int | None = None, **arguments: Any
    ) -> Iterator[dict[str, Any]]:
        """Ask, and give the events as they come. `file`: an open file that the worker, who may be another
        user, is to read; unix(7), SCM_RIGHTS.

        `timeout`: seconds between two events after which the worker counts as hung; None: never. Raises
        what the worker raised, and TransientError when it does not answer.
        """
        with _connected(self.path) as connection:
            connection.settimeout(timeout)
            try:
                request = json.dumps({"command": name, **arguments}).encode() + b"\n"
                if file is None:
                    connection.sendall(request)
                else:
                    sent = socket.send_fds(connection, [request], [file])
                    connection.sendall(request[sent:])
                reader = connection.makefile("rb")
                while True:
                    line = reader.readline(LONGEST_EVENT)
                    if not line.endswith(b"\n"):
                        raise TransientError(f"the worker at {self.path} ended in the middle of its answer.")
                    answer = json.loads(line)
                    if "event" in answer:
                        yield answer["event"]
                    elif "error" in answer:
                        raise _raised(answer["error"])
                    else:
                        return
            except TimeoutError:
                raise TransientError(
                    f"the worker at {self.path} does not answer. Its log may say why; restart it if it hangs."
                ) from None
            except OSError as error:
                raise TransientError(f"the worker at {self.path} went away: {error.strerror}.") from error


def connect(state: State) -> ControlClient | None:
    """The worker that holds this state, or None if none listens. Raises NotPermitted if it is not ours."""
    paths = [state.socket()]
    holder = state.holder()
    if holder is not None and holder.socket:  # its runtime directory may not be ours: systemd's
        paths.insert(0, Path(holder.socket))
    for path in dict.fromkeys(paths):
        try:
            with _connected(path):
                return ControlClient(path)
        except TransientError:
            continue
    return None


def _connected(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(ASK_TIMEOUT)
    try:
        with _address(path) as address:
            connection.connect(address)
    except PermissionError as error:
        connection.close()
        raise NotPermitted(f"this user may not talk to the worker at {path}.") from error
    except OSError as error:
        connection.close()
        raise TransientError(f"no worker listens at {path}.") from error
    return connection


@contextlib.contextmanager
def _address(path: Path) -> Iterator[str]:
    """The socket's address. A path that is too long for one goes by way of its open directory."""
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def _peer(client: socket.socket) -> int:
    """The user id at the other end (unix(7), SO_PEERCRED)."""
    size = struct.calcsize("3i")
    return int(struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))[1])


def _line(client: socket.socket, longest: int, opened: contextlib.ExitStack) -> tuple[bytes, int | None]:
    """A request, and the file that came with it, if one did; `opened` closes it."""
    data = bytearray()
    file = None
    while not data.endswith(b"\n"):
        piece, descriptors, _, _ = socket.recv_fds(client, 4096, 4)
        for descriptor in descriptors:
            opened.callback(os.close, descriptor)
            file = descriptor
        if not piece or len(data) + len(piece) > longest:
            raise ValueError("no whole request")
        data += piece
    return bytes(data), file


def _send(connection: socket.socket, message: Mapping[str, Any]) -> None:
    connection.sendall(json.dumps(message).encode() + b"\n")


def _described(error: MailrulesError) -> dict[str, Any]:
    if isinstance(error, ConfigError):
        return {"kind": "config", "message": str(error), "lines": list(error.lines)}
    special = ("not permitted", "no such name", "transient")
    kind = next((k for k in special if isinstance(error, _KINDS[k])), "permanent")
    return {"kind": kind, "message": str(error)}


def _raised(error: Mapping[str, Any]) -> MailrulesError:
    if error.get("kind") == "config":
        return ConfigError(error.get("lines") or [str(error.get("message"))])
    return _KINDS.get(str(error.get("kind")), PermanentError)(str(error.get("message")))
