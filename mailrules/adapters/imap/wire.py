"""The socket: imaplib with a reader of our own, guarded against what a server may do.

imaplib reads through a BufferedReader: a time-out kills the connection, half a line is lost, what
lies in the buffer is invisible to a selector, and nothing bounds what a server may send. Here every
byte passes one reader (`Guarded.receive`) with limits on size, time and number.

One owner at a time; only `abort_io` may be called from another thread.
"""

from __future__ import annotations

import imaplib
import random
import re
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

from mailrules.adapters.imap.arguments import quoted, refuse_control
from mailrules.adapters.imap.deflate import Deflate, Garbled
from mailrules.adapters.imap.framing import Framer, Limits, OutOfBounds, Response, Several, Status, printable
from mailrules.adapters.imap.lane import Lane
from mailrules.adapters.imap.tls import (
    CONNECT,
    Security,
    TlsError,
    default_context,
    is_loopback,
    secured,
    tune,
)
from mailrules.adapters.secret import scrub
from mailrules.core.errors import PermanentError, TransientError


class ConnectionLost(TransientError):
    """The connection is gone; a new one has to be made."""


class TooMuch(ConnectionLost):
    """The connection was given up because the server sent more than it may."""


class Guarded(imaplib.IMAP4):
    """imaplib with a reader of its own. Raises ConnectionLost, never imaplib's `abort`."""

    # A dict of more than thirty attributes is one that instances do not share: 1.5 KB for each connection.
    __slots__ = (
        "_context", "_deadline", "_deflate", "_framer", "_limits", "_local", "_octets", "_read_timeout",
        "_responses", "_seconds", "_security", "dead", "lane", "last", "leaving", "observer",
    )  # fmt: skip

    # What typeshed has as str, or narrower, is this in truth.
    tagpre: bytes  # type: ignore[assignment]
    continuation_response: bytes  # type: ignore[assignment]
    tagged_commands: dict[bytes, Any]
    capabilities: tuple[str, ...]

    def __init__(
        self,
        host: str,
        port: int,
        *,
        security: Security,
        context: ssl.SSLContext | None,
        timeout: float,
        limits: Limits,
        born: Callable[[Guarded], None] | None = None,
    ) -> None:
        self.dead = ""  # why no more is sent or read
        self.observer: Callable[[Response], None] | None = None
        self.last = Status("OK")
        self._security = security
        self._context = context
        self._read_timeout = timeout
        self._limits = limits
        self._framer = Framer(limits)
        self._deflate: Deflate | None = None
        self.lane = Lane()
        self.leaving = False  # we said LOGOUT: a BYE is an answer
        if born is not None:
            born(self)  # so that it can be aborted while it connects
        super().__init__(host, port, timeout)

    # -- imaplib's documented hooks -------------------------------------------------------------
    def open(self, host: str = "", port: int = 143, timeout: float | None = None) -> None:
        self.host, self.port = host, port
        self.begin()
        try:
            self.sock = socket.create_connection((host, port), min(CONNECT, self._read_timeout))
            if self.dead:
                raise OSError(self.dead)
        except OSError as error:
            raise self._unreached(error) from None
        try:
            tune(self.sock)
            self._local = is_loopback(self.sock)
            if self._security == "none" and not self._local:
                raise PermanentError(
                    f"{host}: `security: none` is only for servers on this machine. Use `tls` or `starttls`."
                )
            if self._security == "tls":
                self.wrap(self._context or default_context())
        except OSError as error:  # the peer is gone already
            raise self._unreached(error) from None
        except BaseException:
            self.sock.close()
            raise

    def _connect(self) -> None:
        """The greeting, and what the server can do. imaplib's own also compiles a pattern for each
        connection, which only its reader needs, and keeps a log of lines."""
        self.tagpre = imaplib.Int2AP(random.randint(4096, 65535))  # noqa: S311 - tells tags apart in logs
        self.welcome = self._get_response() or b""
        if "PREAUTH" in self.untagged_responses:
            self.state = "AUTH"
        elif "OK" in self.untagged_responses:
            self.state = "NONAUTH"
        else:
            raise self.error(self.welcome)
        self._get_capabilities()
        if {"IMAP4REV1", "IMAP4"}.isdisjoint(self.capabilities):
            raise self.error("server not IMAP4 compliant")

    def read(self, size: int) -> bytes:
        raise NotImplementedError("imaplib does not read here: see _get_response")

    def readline(self) -> bytes:
        raise NotImplementedError("imaplib does not read here: see _get_response")

    def send(self, data: bytes) -> None:  # type: ignore[override]
        if self.dead:
            raise ConnectionLost(self.dead)
        try:
            self.sock.settimeout(max(0.01, min(self._read_timeout, self._deadline - time.monotonic())))
            with self.lane.left():
                self.sock.sendall(data if self._deflate is None else self._deflate.deflate(data))
        except OSError as error:
            raise self.lost(f"can't send: {error.strerror or error}") from None

    def shutdown(self) -> None:
        """Close the socket. Only for the owner."""
        self.dead = self.dead or "closed"
        self.abort_io()
        if hasattr(self, "sock"):
            self.sock.close()

    def abort_io(self) -> None:
        """From any thread: whoever waits for this socket wakes up and finds it dead.

        The descriptor stays open until its owner closes it, or another connection could get the
        same number under the owner's hands.
        """
        self.dead = self.dead or "aborted"
        sock = getattr(self, "sock", None)
        if sock is not None:
            try:
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # SSLSocket's own forgets the TLS object
            except OSError:
                pass

    def lost(self, why: str, *, kind: type[ConnectionLost] = ConnectionLost) -> ConnectionLost:
        """Give the connection up; returns the exception to raise."""
        self.dead = self.dead or scrub(f"{self.host}: {why}")
        sock = getattr(self, "sock", None)
        if sock is not None:
            sock.close()
        return kind(self.dead)

    def _unreached(self, error: OSError) -> ConnectionLost:
        """The same before there was a connection: where to, why not, and what to look at."""
        if self.dead:
            return self.lost(self.dead)  # aborted
        self.dead = scrub(f"{self.host}:{self.port}: can't connect: {error.strerror or error}")
        self.lost(self.dead)
        if isinstance(error, socket.gaierror):
            step = "Check `host`, and this machine's network and DNS."
        elif isinstance(error, ConnectionRefusedError):
            step = "Check `host`, `port` and `security`: 993 is tls, 143 is starttls."
        else:
            step = "Check `host` and `port`, and firewalls on the way."
        return ConnectionLost(self.dead, step=step)

    # -- TLS --------------------------------------------------------------------------------------
    def wrap(self, context: ssl.SSLContext) -> None:
        """Speak TLS from here on. Raises TlsError, or ConnectionLost if the network failed."""
        try:
            self.sock = secured(self.sock, context, host=self.host, port=self.port)
        except TlsError:
            self.lost("no trustworthy TLS")
            raise
        except OSError as error:
            raise self.lost(str(error)) from None

    # -- COMPRESS (RFC 4978) ------------------------------------------------------------------------
    @property
    def compressed(self) -> bool:
        return self._deflate is not None

    @property
    def local(self) -> bool:
        """Whether the server is on this machine, where compressing costs more than it spares."""
        return self._local

    def compress(self) -> None:
        """The server has said OK to COMPRESS: whatever came after that line is compressed already."""
        self._deflate = Deflate()
        self._deflate.feed(self._framer.rest())

    # -- reading ----------------------------------------------------------------------------------
    def begin(self, tag: bytes = b"") -> None:
        """A command starts: it gets a new budget of octets, time and responses."""
        self._seconds = self._limits.seconds
        self._deadline = time.monotonic() + self._seconds
        self._octets = self._responses = 0
        self._framer.expect(tag or b"\0")
        self.untagged_responses.clear()

    def within(self, seconds: float) -> None:
        """The command under way must end within so many seconds."""
        self._seconds = min(self._seconds, seconds)
        self._deadline = min(self._deadline, time.monotonic() + seconds)

    def renew(self) -> None:
        """The command under way brings what it should: the same budget once more."""
        self._deadline = time.monotonic() + self._seconds
        self._octets = self._responses = 0

    def receive(self) -> Response:
        """The next response, however long it takes within the limits."""
        while True:
            response = self._next()
            if response is not None:
                return response
            self._fill()

    def several(self, usual: re.Pattern[bytes], most: int) -> list[Several]:
        """Of what has come: the next responses that are as usual (`Framer.several`), without waiting."""
        found = self._framer.several(usual, most)
        self._responses += len(found)
        if self._responses > self._limits.untagged:
            raise self.lost(f"the server sends more than {self._limits.untagged} responses", kind=TooMuch)
        return found

    def drain(self) -> list[Response]:
        """What is complete already, without waiting; a half response stays for later."""
        ended = None
        if self.dead:
            raise ConnectionLost(self.dead)
        self.begin()
        self.sock.settimeout(0)
        while self._inflate():
            pass
        try:
            while True:
                data = self.sock.recv(65536)
                if not data:
                    ended = "the server closed the connection"
                    break
                self._take_in(data)
                while self._inflate():
                    pass
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError as error:
            ended = f"the connection broke: {error.strerror or error}"
        found = []
        while (response := self._next()) is not None:
            found.append(response)
        if ended is not None:
            raise self.lost(ended)
        return found

    @property
    def leftovers(self) -> bool:
        """Whether bytes are waiting that nobody has asked for."""
        return not self._framer.empty

    def _next(self) -> Response | None:
        try:
            response = self._framer.next()
        except OutOfBounds as error:
            raise self.lost(f"the server {error}", kind=TooMuch) from None
        if response is None or not response[0].startswith(b"* "):
            return response
        self._responses += 1
        if self._responses > self._limits.untagged:
            raise self.lost(f"the server sends more than {self._limits.untagged} responses", kind=TooMuch)
        if response[0][2:5].upper() == b"BYE" and not self.leaving:
            status = Status.parse(response[0][2:])
            raise self.lost(f"the server says goodbye: {status.text if status else ''}")
        if self.observer is not None:
            self.observer(response)
        return response

    def _fill(self) -> None:
        if self.dead:
            raise ConnectionLost(self.dead)
        if self._inflate():
            return
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise self.lost(f"no complete answer within {self._seconds:.0f} s")
        try:
            self.sock.settimeout(min(self._read_timeout, remaining))
            with self.lane.left():
                data = self.sock.recv(262144)
        except TimeoutError:
            if remaining < self._read_timeout:
                raise self.lost(f"no complete answer within {self._seconds:.0f} s") from None
            raise self.lost(f"no answer for {self._read_timeout:.0f} s") from None
        except OSError as error:
            raise self.lost(f"the connection broke: {error.strerror or error}") from None
        if not data:
            raise self.lost("the server closed the connection")
        self._take_in(data)

    def _take_in(self, data: bytes) -> None:
        if self._deflate is None:
            self._count(len(data))
            self._framer.feed(data)
            return
        self._deflate.feed(data)
        if not self._inflate():
            self._count(len(data))  # blocks without content must not go on for ever either

    def _inflate(self) -> bool:
        """Take in what one piece of the compressed stream holds. False: there is none."""
        if self._deflate is None:
            return False
        try:
            data = self._deflate.piece()
        except Garbled as error:
            raise self.lost(f"what the server sends can't be inflated: {error}") from None
        self._count(len(data))
        self._framer.feed(data)
        return bool(data)

    def _count(self, octets: int) -> None:
        self._octets += octets
        if self._octets > self._limits.octets:
            raise self.lost(f"the server sends more than {self._limits.octets} octets", kind=TooMuch)

    # -- what imaplib's and IMAPClient's commands stand on ----------------------------------------
    def _command(self, name: str, *args: Any) -> bytes:
        for arg in args:
            refuse_control(arg)
        self.begin(self.tagpre + str(self.tagnum).encode())
        return super()._command(name, *args)  # type: ignore[misc,no-any-return]

    def _get_response(self) -> bytes | None:
        """imaplib's reading point. An odd line is passed over, where imaplib would give up."""
        response = self.receive()
        first = response[0]
        if first.startswith(b"+"):
            self.continuation_response = first[1:].lstrip()
            return None
        tag, _, rest = first.partition(b" ")
        if tag in self.tagged_commands:
            status = Status.parse(rest)
            if status is None or status.status == "BYE":
                raise self.lost(f"the server ends with {printable(first)}")
            self.last = status
            self.tagged_commands[tag] = (status.status, [rest[len(status.status) + 1 :]])
            if status.code:
                self._append_untagged(status.code, status.data)
            return first
        match = _UNTAGGED.match(first)
        if match is not None:
            kind = match[2].decode().upper()
            data = b" ".join(filter(None, (match[1], match[3])))
            for place in range(1, len(response), 2):
                self._append_untagged(kind, (data, response[place]))
                data = response[place + 1]
            self._append_untagged(kind, data)
            status = Status.parse(first[2:])
            if status is not None and status.code:
                self._append_untagged(status.code, status.data)
        return first

    def _get_capabilities(self) -> None:
        """imaplib's first question, unless the greeting has answered it."""
        told = self.untagged_responses.pop("CAPABILITY", None)
        if told and isinstance(told[-1], bytes) and told[-1]:
            self.capabilities = tuple(told[-1].decode("ascii", "replace").upper().split())
        else:
            self.ask_capabilities()

    def ask_capabilities(self) -> None:
        """Ask what the server can do, and keep it."""
        super()._get_capabilities()  # type: ignore[misc]

    def _append_untagged(self, kind: str, data: Any) -> None:
        self.untagged_responses.setdefault(kind, []).append(data)

    def login(self, user: str, password: str) -> Any:
        """LOGIN with both arguments quoted (imaplib sends the user name bare)."""
        typ, data = self._simple_command("LOGIN", quoted(user), quoted(password))
        if typ != "OK":
            raise self.error(data[-1])
        self.state = "AUTH"
        return typ, data

    def _mesg(self, s: str, secs: float | None = None) -> None:
        """Nothing is logged: lines hold passwords and mail."""

    def _log(self, line: str) -> None:
        """Nor kept."""


_UNTAGGED = re.compile(rb"\* (?:(\d+) )?([A-Za-z][A-Za-z0-9-]*)(?: (.*))?$", re.DOTALL)
