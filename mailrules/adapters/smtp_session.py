"""One SMTP connection: smtplib's commands over a reader of our own.

smtplib waits for each piece of a reply anew, without end, takes any number of lines, and keeps what came
in clear before STARTTLS out of sight. Here a reply has one deadline, a size, and can be given up when the
worker stops. Nothing here knows what a message is.
"""

from __future__ import annotations

import fcntl
import functools
import ipaddress
import smtplib
import socket
import ssl
import sys
import termios
import threading
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from mailrules import clock
from mailrules.adapters.secret import scrub
from mailrules.core.errors import TransientError

LONGEST_REPLY = 64 * 1024
_SLICE = 0.5
"""Seconds between two looks at whether the worker stops."""


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where mail is handed in. `password` and `token` (XOAUTH2) are read when they are needed.

    `timeout`: seconds for each reply and each piece sent. `final_timeout`: for the reply to the whole message
    (RFC 5321 section 4.5.3.2.6: less than ten minutes makes copies).
    """

    host: str
    port: int
    security: Literal["tls", "starttls", "none"] = "tls"
    username: str | None = None
    password: Callable[[], str] | None = field(default=None, repr=False)
    token: Callable[[], str] | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None
    timeout: float = 60.0
    final_timeout: float = 600.0


class Refused(Exception):
    """The server said no to a command. 4yz: it may say yes later."""

    def __init__(self, verb: str, code: int, text: str) -> None:
        super().__init__(f"{verb}: {code} {text}")
        self.code = code
        self.reply = f"{code} {text}"

    @property
    def lasting(self) -> bool:
        return 500 <= self.code <= 599


class Broken(TransientError):
    """The connection failed, or the server does not speak SMTP."""


class Stopped(TransientError):
    """The worker is shutting down and waits no longer."""


class NoTrust(TransientError):
    """No TLS that can be trusted: nothing was said that an eavesdropper could use."""


@functools.cache
def _default_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
    return context


class Session(smtplib.SMTP):
    """A connection that is open, in TLS, and logged in once `open` is through."""

    def __init__(
        self, server: SmtpServer, *, stop: threading.Event | None = None, grace: float = 60.0
    ) -> None:
        super().__init__(local_hostname="[127.0.0.1]", timeout=server.timeout)
        self.sock: socket.socket | None = None
        self.server = server
        self.stop = stop or threading.Event()
        self.patience = server.timeout
        self.grace = 0.0  # nothing is at stake before the commit point
        self.grace_after_commit = grace
        self._received = bytearray()

    # -- opening ----------------------------------------------------------------------------------
    def open(self) -> None:
        """Connect, greet, secure, log in. Raises Refused, TransientError, or what the secret raises."""
        server = self.server
        try:
            self.sock = socket.create_connection((server.host, server.port), timeout=server.timeout)
        except OSError as error:
            raise Broken(f"can't connect to {server.host}:{server.port}: {error.strerror or error}") from None
        self._keep_alive()
        if server.security == "none" and not _is_loopback(self.sock):
            raise NoTrust(f"{server.host} is not this machine: without TLS nothing is sent to it.")
        if server.security == "tls":
            self._wrap()
        code, text = self.getreply()
        self._expect("greeting", code, text)
        self._greet()
        if server.security == "starttls":
            self._starttls()
        self._login()

    def _greet(self) -> None:
        address = self.sock.getsockname()[0]  # type: ignore[union-attr]
        self.local_hostname = f"[IPv6:{address}]" if ":" in address else f"[{address}]"
        code, text = self.ehlo()
        if code == 502 or code == 500:
            code, text = self.helo()
        self._expect("EHLO", code, text)

    def _starttls(self) -> None:
        if not self.has_extn("starttls"):
            raise NoTrust(f"{self.server.host} does not offer STARTTLS: nothing was sent. Try security: tls.")
        code, text = self.docmd("STARTTLS")
        if code != 220:
            raise NoTrust(f"{self.server.host} refused STARTTLS: {code} {_words(text)}")
        if self._received:
            raise NoTrust(f"{self.server.host} (or somebody before it) sent data before TLS began.")
        self._wrap()
        self.esmtp_features = {}
        self._greet()

    def _wrap(self) -> None:
        context = self.server.tls or _default_context()
        try:
            self.sock = context.wrap_socket(self.sock, server_hostname=self.server.host)  # type: ignore[arg-type]
        except ssl.SSLCertVerificationError as error:
            raise NoTrust(
                f"the certificate of {self.server.host} can't be trusted: {error.verify_message}"
            ) from None
        except (OSError, ValueError) as error:
            raise NoTrust(f"TLS with {self.server.host}:{self.server.port} failed: {error}") from None

    def _keep_alive(self) -> None:
        sock = self.sock
        assert sock is not None
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    # -- logging in -------------------------------------------------------------------------------
    def _login(self) -> None:
        server = self.server
        if server.username is None:
            return
        offered = self.esmtp_features.get("auth", "").upper().replace("=", " ").split()
        if server.token is not None:
            initial = f"user={server.username}\x01auth=Bearer {server.token()}\x01\x01"
            code, text = self.docmd("AUTH", f"XOAUTH2 {_base64(initial)}")
            if code == 334:  # the reason, in base64; an empty line asks for the reply itself
                code, text = self.docmd("")
        elif server.password is None:
            return
        elif "PLAIN" in offered:
            code, text = self.docmd(
                "AUTH", f"PLAIN {_base64(f'{chr(0)}{server.username}{chr(0)}{server.password()}')}"
            )
        elif "LOGIN" in offered:
            code, text = self.docmd("AUTH", "LOGIN")
            for answer in (server.username, server.password()):
                if code == 334:
                    code, text = self.docmd(_base64(answer))
        else:
            raise Refused("AUTH", 504, f"{server.host} offers no AUTH PLAIN or LOGIN")
        self._expect("AUTH", code, text)

    # -- speaking ---------------------------------------------------------------------------------
    def command(self, verb: str, arguments: str = "", *, expect: int = 2) -> str:
        """Send a command and give its reply, `250 text`. Raises Refused, Broken or Stopped."""
        code, text = self.docmd(verb, arguments)
        return self._expect(verb, code, text, expect=expect)

    def reply(self, verb: str, *, expect: int = 2) -> str:
        """The next reply, checked as `command` does."""
        code, text = self.getreply()
        return self._expect(verb, code, text, expect=expect)

    def spoken(self, code: int, text: bytes) -> str:
        """A reply for the log."""
        return f"{code} {_words(text)}"

    def _expect(self, verb: str, code: int, text: bytes, *, expect: int = 2) -> str:
        if code // 100 == expect:
            return f"{code} {_words(text)}"
        if 400 <= code <= 599:
            raise Refused(verb, code, _words(text))
        raise Broken(f"{self.server.host} answered {verb} with {code} {_words(text)}")

    def send(self, s: bytes | str) -> None:  # type: ignore[override]
        """Send bytes, piece by piece, so that a slow server and a stop are both noticed."""
        data = memoryview(s.encode(self.command_encoding) if isinstance(s, str) else s)
        if self.sock is None:
            raise Broken("the connection is closed")
        for start in range(0, len(data), 64 * 1024):
            self._look()
            try:
                self.sock.settimeout(self.server.timeout)
                self.sock.sendall(data[start : start + 64 * 1024])
            except OSError as error:
                raise Broken(f"the connection to {self.server.host} broke: {error}") from None

    def getreply(self) -> tuple[int, bytes]:
        """The next reply as (code, text). Raises Broken or Stopped."""
        deadline = clock.timer() + self.patience
        lines: list[bytes] = []
        size = 0
        while True:
            line = self._line(deadline)
            size += len(line)
            if size > LONGEST_REPLY:
                raise Broken(f"{self.server.host} sent a reply without end")
            if len(line) < 3 or not line[:3].isdigit() or line[3:4] not in (b"", b" ", b"-"):
                raise Broken(f"{self.server.host} does not speak SMTP: {_words(line[:80])}")
            lines.append(line[4:])
            if line[3:4] != b"-":
                return int(line[:3]), b"\n".join(lines)

    def early(self) -> bool:
        """Whether the server said something, or hung up, before it was asked."""
        if self._received:
            return True
        try:
            self._receive(0.0)
        except (TimeoutError, BlockingIOError, ssl.SSLWantReadError):
            return False
        except Broken:
            return True
        return bool(self._received)

    def await_acknowledgement(self) -> None:
        """Wait until the peer's system has what was sent, where ours can tell. Raises Broken or Stopped.

        What `send` has given out may still be here, and the network gone.
        """
        deadline = clock.timer() + self.patience
        pause = 0.0005
        while self.sock is not None and _in_flight(self.sock):
            self._look()
            if self.early():
                return
            if clock.timer() > deadline:
                raise Broken(f"{self.server.host} did not take the message in time")
            self.stop.wait(pause)
            pause = min(2 * pause, 0.05)

    def committed(self) -> None:
        """From here on the outcome counts: wait long for the reply, and go on waiting while stopping."""
        self.patience = self.server.final_timeout
        self.grace = self.grace_after_commit

    def part(self) -> None:
        """QUIT if the server is quick about it, and close. Never raises."""
        self.patience = 2.0
        try:
            self.docmd("QUIT")
        except (TransientError, OSError, ValueError, smtplib.SMTPException):
            pass
        self.close()

    def _line(self, deadline: float) -> bytes:
        while True:
            end = self._received.find(b"\n")
            if end >= 0:
                line = bytes(self._received[:end]).rstrip(b"\r")
                del self._received[: end + 1]
                return line
            if len(self._received) > LONGEST_REPLY:
                raise Broken(f"{self.server.host} sent a line without end")
            deadline = self._look(deadline)
            left = deadline - clock.timer()
            if left <= 0:
                raise Broken(f"{self.server.host} did not answer in time")
            try:
                self._receive(min(left, _SLICE))
            except TimeoutError:
                continue

    def _receive(self, seconds: float) -> None:
        if self.sock is None:
            raise Broken("the connection is closed")
        try:
            self.sock.settimeout(seconds)
            data = self.sock.recv(8192)
        except (TimeoutError, BlockingIOError, ssl.SSLWantReadError):
            raise
        except (OSError, ValueError) as error:
            raise Broken(f"the connection to {self.server.host} broke: {error}") from None
        if not data:
            raise Broken(f"{self.server.host} closed the connection")
        self._received += data

    def _look(self, deadline: float = 0.0) -> float:
        """The deadline, brought forward if the worker stops. Raises Stopped where nothing is at stake."""
        if not self.stop.is_set():
            return deadline
        if not self.grace:
            raise Stopped("the worker is shutting down")
        return min(deadline, clock.timer() + self.grace) if deadline else deadline


def _is_loopback(sock: socket.socket) -> bool:
    return ipaddress.ip_address(sock.getpeername()[0].partition("%")[0]).is_loopback


def _in_flight(sock: socket.socket) -> int:
    """Octets sent that the peer's system has not acknowledged; 0 where that can't be asked."""
    if sys.platform != "linux":
        return 0
    try:
        answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
    except OSError:
        return 0  # the next read says why
    return int.from_bytes(answer, sys.byteorder)


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode("ascii")


def _words(text: bytes) -> str:
    """A reply for people: one line, no control characters, no secret that the server echoes."""
    words = " ".join(text.decode("utf-8", "replace").split())
    return scrub("".join(c for c in words if c.isprintable()))[:300]
