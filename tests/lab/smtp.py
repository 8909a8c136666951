"""Two SMTP servers on loopback: one that keeps what it is given, one that does as it is told.

::

    with SmtpSink(ca, users={"ann": "pw"}) as sink:
        sink.wait(1)[0].content / .mail_from / .rcpt_tos / .auth_user / .tls
        sink.plan("rcpt", "550 5.1.1 No such user")   # the next RCPT gets this; also: auth mail data end
        sink.plan("end", DROP); sink.plan("end", ("sleep", 5)); sink.plan("end", "accept-then-drop")

    with ScriptedSmtp(features=("CHUNKING",)) as server:   # plain sockets, any reply to any verb
        server.replies["MAIL"] = "451 later"; server.replies["."] = DROP
        server.replies["LAST"] = ACCEPT_THEN_DROP; server.taken[0].content / .rcpt_tos
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import MISSING, SMTP, AuthResult, LoginPassword, auth_mechanism

DROP = "drop the connection"
"""A plan or reply: hang up instead of answering."""
ACCEPT_THEN_DROP = "accept-then-drop"
"""A plan or reply to a message: keep it, and hang up instead of saying so."""


@dataclasses.dataclass
class Received:
    """One message that the sink took."""

    mail_from: str
    rcpt_tos: list[str]
    content: bytes
    auth_user: str | None
    tls: bool
    mail_options: list[str]
    at: float


class _Handler:
    def __init__(self, sink: SmtpSink) -> None:
        self.sink = sink

    async def _step(self, server: Any, name: str, ok: str) -> str:
        plan = self.sink.take(name)
        if plan is None:
            return ok
        if plan is DROP:
            server.transport.abort()
            return "421 4.3.2 dropped"
        if isinstance(plan, tuple) and plan[0] == "sleep":
            await asyncio.sleep(plan[1])
            return ok
        return str(plan)

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if self.sink.require_auth and not session.authenticated:
            return "530 5.7.0 Authentication required"
        reply = await self._step(server, "mail", "250 OK")
        if reply.startswith("250"):
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return reply

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        reply = await self._step(server, "rcpt", "250 OK")
        if reply.startswith("250"):
            envelope.rcpt_tos.append(address)
        return reply

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        plan = self.sink.take("end", peek=True)
        if plan in (None, ACCEPT_THEN_DROP) or (isinstance(plan, tuple) and plan[0] == "sleep"):
            login = getattr(session, "auth_data", None)
            self.sink.add(
                Received(
                    envelope.mail_from or "",
                    list(envelope.rcpt_tos),
                    envelope.original_content or b"",
                    login.login.decode() if isinstance(login, LoginPassword) else None,
                    session.ssl is not None or self.sink.implicit_tls,
                    list(envelope.mail_options),
                    time.time(),
                )
            )
        if plan == ACCEPT_THEN_DROP:  # stored, and the client never learns it
            self.sink.take("end")
            server.transport.abort()
            return "250 OK"
        return await self._step(server, "end", "250 2.0.0 queued")


class _SMTP(SMTP):
    """aiosmtpd, and what real relays send beside it: AUTH= on MAIL FROM, XOAUTH2."""

    sink: SmtpSink

    def _getparams(self, params: Any) -> Any:
        result = super()._getparams(params)
        if result is not None:
            result.pop("AUTH", None)
        return result

    @auth_mechanism("XOAUTH2")
    async def auth_XOAUTH2(self, server: Any, args: list[str]) -> AuthResult:
        blob = await self.challenge_auth("") if len(args) == 1 else base64.b64decode(args[1])
        if blob is MISSING:
            return AuthResult(success=False)
        user, _, token = blob.decode().partition("\x01auth=Bearer ")
        user, token = user.removeprefix("user="), token.rstrip("\x01")
        if self.sink.tokens.get(user) == token:
            return AuthResult(success=True, auth_data=LoginPassword(user.encode(), b""))
        await self.challenge_auth('{"status":"400","schemes":"Bearer"}')
        return AuthResult(success=False, handled=False)


class SmtpSink(Controller):
    """An SMTP server that keeps messages in `messages`. With a `ca` it offers STARTTLS, or TLS at once."""

    def __init__(
        self,
        ca: Any = None,
        users: dict[str, str] | None = None,
        *,
        require_auth: bool = False,
        implicit_tls: bool = False,
        require_starttls: bool = False,
        size_limit: int = 33554432,
        cert: Any = None,
        hostname: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.users = users or {}
        self.require_auth = require_auth
        self.implicit_tls = implicit_tls
        self.messages: list[Received] = []
        self.tokens: dict[str, str] = {}
        self._plans: dict[str, list[Any]] = {}
        self._changed = threading.Condition()
        context = None
        if ca is not None or cert is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(*(cert or ca.issue("smtp")))
        self._options: dict[str, Any] = {
            "tls_context": None if implicit_tls else context,
            "require_starttls": require_starttls,
            "data_size_limit": size_limit,
            "authenticator": self._authenticate,
            "auth_require_tls": context is not None and not implicit_tls,
            "enable_SMTPUTF8": True,
            "ident": "lab sink",
        }
        super().__init__(
            _Handler(self),
            hostname=hostname,
            port=port or free_port(hostname),
            ssl_context=context if implicit_tls else None,
            ready_timeout=10,
        )

    def factory(self) -> SMTP:
        server = _SMTP(self.handler, **self._options)
        server.sink = self
        return server

    def _authenticate(
        self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any
    ) -> AuthResult:
        plan = self.take("auth")
        if isinstance(plan, str):
            return AuthResult(success=False, handled=False, message=plan)
        right = (
            isinstance(data, LoginPassword) and self.users.get(data.login.decode()) == data.password.decode()
        )
        return AuthResult(success=right, auth_data=data, handled=False)

    @property
    def taken(self) -> list[Received]:
        """What it has said yes to, as ScriptedSmtp calls it."""
        return self.messages

    def plan(self, step: str, what: Any, times: int = 1) -> None:
        """What the next `times` of a step get: a reply, DROP, ("sleep", seconds), "accept-then-drop"."""
        self._plans.setdefault(step, []).extend([what] * times)

    def take(self, step: str, *, peek: bool = False) -> Any:
        queue = self._plans.get(step)
        return None if not queue else (queue[0] if peek else queue.pop(0))

    def add(self, message: Received) -> None:
        with self._changed:
            self.messages.append(message)
            self._changed.notify_all()

    def wait(self, count: int, timeout: float = 5.0) -> list[Received]:
        """The messages, once there are so many."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.messages) >= count, timeout):
                raise TimeoutError(f"{len(self.messages)} of {count} messages")
            return list(self.messages)

    def __enter__(self) -> SmtpSink:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def free_port(host: str = "127.0.0.1") -> int:
    """A port nobody listens on: aiosmtpd probes itself and can't with port 0."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


class ScriptedSmtp:
    """A small SMTP server: `replies` maps a verb (CONNECT EHLO MAIL DATA . BDAT LAST …) to its reply.

    A reply is text, DROP, a list of those (one for each time, the last for ever), or a callable that
    returns one; after 421 it hangs up. `messages` are those that came to their end, `taken` those of them
    that it keeps. `lenient`: it takes `\\n.\\n` and its like for the end, as some servers do.
    """

    def __init__(self, features: Iterable[str] = (), *, lenient: bool = False, tls: Any = None) -> None:
        self.features = tuple(features)
        self.lenient = lenient
        self.tls = tls
        self.replies: dict[str, Any] = {}
        self.commands: list[str] = []
        self.messages: list[bytes] = []
        self.taken: list[Received] = []
        self.accepted = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._sockets: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> ScriptedSmtp:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for sock in self._sockets:
            sock.close()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(sock)
            threading.Thread(target=self._session, args=(sock,), daemon=True).start()

    def _session(self, sock: socket.socket) -> None:
        try:
            if self.tls is not None:
                sock = self.tls.wrap_socket(sock, server_side=True)
            self._talk(sock, sock.makefile("rb"))
        except (OSError, ValueError, _HangUp):
            pass
        finally:
            sock.close()

    def _talk(self, sock: socket.socket, file: Any) -> None:
        self._say(sock, "CONNECT", "220 scripted")
        chunks, envelope = b"", _Envelope()
        while line := file.readline():
            if not line.endswith(b"\n"):
                return  # cut off in the middle
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            self.commands.append(text)
            verb = text.split(" ")[0].split(":")[0].upper()
            if verb == "EHLO":
                self._say(
                    sock, verb, "\r\n".join(["250-scripted", *(f"250-{f}" for f in self.features), "250 OK"])
                )
            elif verb == "DATA":
                if self._say(sock, verb, "354 go on").startswith("3"):
                    self._message(sock, envelope, self._body(file))
            elif verb == "BDAT":
                size = int(text.split(" ")[1])
                chunk = file.read(size)
                if len(chunk) < size:
                    return
                chunks += chunk
                if text.upper().endswith("LAST"):
                    self._message(sock, envelope, chunks, step="LAST")
                    chunks = b""
                else:
                    self._say(sock, verb, "250 OK")
            elif verb == "STARTTLS":
                self._say(sock, verb, "502 no")
            elif verb == "QUIT":
                self._say(sock, verb, "221 bye")
                return
            elif self._say(sock, verb, "250 OK").startswith("2"):
                envelope.hear(verb, text)

    def _message(self, sock: socket.socket, envelope: _Envelope, body: bytes, step: str = ".") -> None:
        self.messages.append(body)
        reply = self._reply(step, "250 2.0.0 queued")
        if reply == ACCEPT_THEN_DROP or (reply is not DROP and str(reply).startswith("2")):
            self.taken.append(
                Received(envelope.mail_from, list(envelope.rcpt_tos), body, None, False, [], time.time())
            )
        self._send(sock, DROP if reply == ACCEPT_THEN_DROP else reply)
        self.accepted += 1

    def _body(self, file: Any) -> bytes:
        end = re.compile(rb"(?:\r\n|\n|\r)\.(?:\r\n|\n|\r)" if self.lenient else rb"\r\n\.\r\n")
        data = b"\r\n"
        while not (found := end.search(data, max(0, len(data) - 6))):
            byte = file.read(1)
            if not byte:
                raise _HangUp
            data += byte
        body = data[2 : found.start()] + b"\r\n"
        return re.sub(rb"(?m)^\.\.", b".", body)

    def _say(self, sock: socket.socket, verb: str, usual: str) -> str:
        return self._send(sock, self._reply(verb, usual))

    def _reply(self, verb: str, usual: str) -> Any:
        reply = self.replies.get(verb, usual)
        if isinstance(reply, list):
            reply = reply.pop(0) if len(reply) > 1 else reply[0]
        if callable(reply):
            reply = reply()
        return usual if reply is None else reply

    def _send(self, sock: socket.socket, reply: Any) -> str:
        if reply is DROP:
            raise _HangUp
        sock.sendall(reply.encode() + b"\r\n")
        if re.search(r"^421", reply, re.MULTILINE):
            raise _HangUp
        return str(reply)


@dataclasses.dataclass
class _Envelope:
    """Sender and recipients that ScriptedSmtp has agreed to in one session."""

    mail_from: str = ""
    rcpt_tos: list[str] = dataclasses.field(default_factory=list)

    def hear(self, verb: str, text: str) -> None:
        address = text.partition("<")[2].partition(">")[0]
        if verb == "MAIL":
            self.mail_from, self.rcpt_tos = address, []
        elif verb == "RCPT":
            self.rcpt_tos.append(address)


class _HangUp(Exception):
    """The script says to hang up."""
