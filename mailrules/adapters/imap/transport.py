"""IMAPClient over the guarded wire, and `Client.command`, which sends what it is given and shows all answers.

No argument reaches the wire with CR, LF or NUL in it.
"""

from __future__ import annotations

import imaplib
import re
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from imapclient import IMAPClient
from imapclient.exceptions import LoginError

from mailrules.adapters.imap.arguments import quoted, refuse_control
from mailrules.adapters.imap.framing import USUAL, Limits, Response, Several, Status, printable
from mailrules.adapters.imap.tls import Security, TlsError, default_context, strict
from mailrules.adapters.imap.wire import ConnectionLost, Guarded
from mailrules.adapters.secret import scrub
from mailrules.core.errors import PermanentError


@dataclass(frozen=True, slots=True)
class Verbatim:
    """An argument sent as a literal: any octets."""

    octets: bytes


Part = bytes | Verbatim
Take = Callable[[Response], bool]
"""Is handed a response as it arrives; True: so much has come that is of use that all limits begin anew."""


@dataclass(frozen=True, slots=True)
class Usual:
    """Responses that are handed on several at a time: those that `pattern` matches (`Framer.several`)."""

    pattern: re.Pattern[bytes]
    take: Callable[[Sequence[Several]], bool]


TOGETHER = 500
"""Responses that are handed on at once."""


@dataclass(slots=True)
class Reply:
    """The answer to a command: its tagged status and the untagged responses before it."""

    status: Status
    untagged: list[Response] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return self.status.status == "OK"


class Client(IMAPClient):  # type: ignore[misc]
    """IMAPClient over Guarded. IMAPClient connects, logs in, creates, subscribes and appends; whatever
    reads much or must see the raw answer goes through `command`."""

    _imap: Guarded

    def __init__(
        self,
        host: str,
        port: int,
        *,
        security: Security = "tls",
        context: ssl.SSLContext | None = None,
        timeout: float = 60.0,
        limits: Limits | None = None,
        born: Callable[[Guarded], None] | None = None,
    ) -> None:
        self._born = born
        self._owed: bytes | None = None  # the tag of an IDLE whose DONE was not sent yet
        self._beside: Callable[[], None] | None = None
        self._security = security
        self._limits = limits or USUAL
        self._wire_timeout = timeout
        context = strict(context) if context is not None else None
        self._wanted_context = context
        try:
            super().__init__(host, port, ssl=security == "tls", ssl_context=context, timeout=timeout)
        except (imaplib.IMAP4.error, UnicodeError) as error:
            raise ConnectionLost(
                scrub(f"{host}: not an IMAP server's greeting: {printable(str(error).encode())}")
            ) from None
        self.wire.debug = 0
        del self.wire._mesg  # IMAPClient's way to log each line: Guarded logs none
        self.folder_encode = False  # names.py knows the wire's spelling
        if self.wire.state == "AUTH":
            self.wire.lost("PREAUTH refused")
            raise PermanentError(
                f"{host}: the server lets us in without a password (PREAUTH). That can't be trusted; "
                "nothing was done."
            )
        if security == "starttls":
            self._start_tls()

    def _create_IMAP4(self) -> Guarded:
        return Guarded(
            self.host,
            self.port,
            security=self._security,
            context=self._wanted_context,
            timeout=self._wire_timeout,
            limits=self._limits,
            born=self._born,
        )

    def _set_read_timeout(self) -> None:
        """Guarded sets its own, before each read."""

    @property
    def wire(self) -> Guarded:
        return self._imap

    def _start_tls(self) -> None:
        """STARTTLS, closed on any doubt: what came in clear text before it counts for nothing."""
        try:
            if "STARTTLS" not in self.wire.capabilities:
                raise TlsError(
                    f"{self.host}:{self.port}: the server does not offer STARTTLS. Use `security: tls`."
                )
            reply = self.command(b"STARTTLS")
            if not reply.ok:
                raise TlsError(f"{self.host}:{self.port}: the server refuses STARTTLS: {reply.status}")
            if self.wire.leftovers:
                raise TlsError(f"{self.host}:{self.port}: clear text after STARTTLS: somebody interferes.")
            self.wire.wrap(self._wanted_context or default_context())
            self.wire.untagged_responses.clear()
            self.wire.ask_capabilities()  # what was said before counts for nothing, LOGINDISABLED included
        except BaseException:
            self.wire.shutdown()
            raise
        self._starttls_done = True

    def log_in(self, username: str, password: str) -> Status:
        """LOGIN, or AUTHENTICATE PLAIN where LOGIN can't: the server's answer, be it OK or not."""
        refuse_control(username)
        refuse_control(password)
        plain = "AUTH=PLAIN" in self.wire.capabilities
        ascii_only = (username + password).isascii()
        if "LOGINDISABLED" in self.wire.capabilities and not plain:
            raise PermanentError(f"{self.host}: the server forbids LOGIN here (LOGINDISABLED).")
        self.wire.last = Status("NO")
        try:
            if plain and (not ascii_only or "LOGINDISABLED" in self.wire.capabilities):
                self.plain_login(username, password)
            elif ascii_only:
                self.login(username, password)
            else:
                raise PermanentError(
                    f"{self.host}: the server can't take a user name or password beyond ASCII "
                    "(no AUTH=PLAIN)."
                )
        except LoginError:
            pass
        return self.wire.last

    def log_in_with_token(self, username: str, token: str) -> Status:
        """AUTHENTICATE XOAUTH2, or OAUTHBEARER (RFC 7628) where only that is offered: its answer."""
        refuse_control(username)
        refuse_control(token)
        offered = self.wire.capabilities
        bearer = "AUTH=OAUTHBEARER" in offered and "AUTH=XOAUTH2" not in offered
        if not bearer and "AUTH=XOAUTH2" not in offered:
            raise PermanentError(f"{self.host}: the server takes no OAuth tokens here. Use auth: password.")
        if bearer:
            said = f"n,a={username.replace('=', '=3D').replace(',', '=2C')},\1auth=Bearer {token}\1\1"
        else:
            said = f"user={username}\1auth=Bearer {token}\1\1"
        # A second challenge is the reason for a refusal; it wants an answer without content.
        answers = [said, "\1" if bearer else ""]
        self.wire.last = Status("NO")
        try:
            self.sasl_login(
                "OAUTHBEARER" if bearer else "XOAUTH2", lambda _: answers.pop(0) if answers else None
            )
        except LoginError:
            pass
        return self.wire.last

    def command(
        self,
        *parts: Part,
        seconds: float | None = None,
        take: Take | None = None,
        usual: Usual | None = None,
    ) -> Reply:
        """Send one command and read its answer. NO and BAD come back as a Reply, not as exceptions.

        Parts follow each other as they are: blanks between them are the caller's. Literals go
        without waiting where the server takes that (RFC 7888), else one by one. With `take`, the reply
        keeps no responses; if it raises, the connection is given up in the middle of the answer. Those that
        are as `usual` go there.
        """
        for part in parts:
            if isinstance(part, bytes):
                refuse_control(part)
        wire = self.wire
        tag = wire._new_tag()
        del wire.tagged_commands[tag]
        wire.begin(tag)
        if seconds is not None:
            wire.within(seconds)
        untagged: list[Response] = []
        line = self._ahead() + tag + b" "
        for part in parts:
            if isinstance(part, bytes):
                line += part
                continue
            if self._unsynchronised(len(part.octets)):
                wire.send(line + b"{%d+}\r\n" % len(part.octets) + part.octets)
            else:
                wire.send(line + b"{%d}\r\n" % len(part.octets))
                refused = self._await(tag, untagged, go_ahead=True)
                if refused is not None:
                    return Reply(refused, untagged)
                wire.send(part.octets)
            line = b""
        wire.send(line + b"\r\n")
        self._work_beside()
        status = self._await(tag, untagged) if take is None else self._stream(tag, take, usual)
        assert status is not None
        return Reply(status, untagged)

    @contextmanager
    def meanwhile(self, work: Callable[[], None]) -> Iterator[None]:
        """Within it, the first `command` does this while the server is at it: once it is sent, before its
        answer is read. Not at all if there is no command. If it raises, the connection is given up.
        """
        self._beside = work
        try:
            yield
        finally:
            self._beside = None

    def _work_beside(self) -> None:
        work, self._beside = self._beside, None
        if work is None:
            return
        try:
            work()
        except BaseException:  # whatever it was: the answer would be read as another's
            self.wire.lost("left before the answer")
            raise

    def tell(self, line: bytes, *, seconds: float) -> None:
        """Send a command whose answer is of no interest: the connection is closed after it."""
        refuse_control(line)
        self.wire.begin()
        self.wire.within(seconds)
        self.wire.send(self._ahead() + self.wire._new_tag() + b" " + line + b"\r\n")

    def together(self, lines: Sequence[bytes]) -> list[Reply]:
        """Send commands that do not depend on each other in one piece, and read the answer to each.

        All of them have the budget of one command.
        """
        if not lines:
            return []
        tags = []
        sent = self._ahead()
        for line in lines:
            refuse_control(line)
            tags.append(self.wire._new_tag())
            del self.wire.tagged_commands[tags[-1]]
            sent += tags[-1] + b" " + line + b"\r\n"
        self.wire.begin(tags[0])
        self.wire.send(sent)
        replies = []
        for tag in tags:
            untagged: list[Response] = []
            status = self._await(tag, untagged)
            assert status is not None
            replies.append(Reply(status, untagged))
        return replies

    def _stream(self, tag: bytes, take: Take, usual: Usual | None) -> Status:
        """Hand responses on up to the tagged answer."""
        wire = self.wire
        prefix = tag + b" "
        while True:
            several = wire.several(usual.pattern, TOGETHER) if usual is not None else []
            if usual is not None and several:
                hand_on = partial(usual.take, several)
            else:
                response = wire.receive()
                if response[0].startswith(prefix):
                    return self._ended(response[0], prefix)
                if not response[0].startswith(b"* "):
                    continue
                hand_on = partial(take, response)
            try:
                enough = hand_on()
            except BaseException:  # whatever it was: the rest of the answer would be read as another's
                wire.lost("left in the middle of an answer")
                raise
            if enough:
                wire.renew()

    def start(self, line: bytes, *, seconds: float) -> tuple[bytes, Status | None]:
        """Send a command that the server answers with `+` (IDLE). A Status means it refused."""
        refuse_control(line)
        tag = self.wire._new_tag()
        del self.wire.tagged_commands[tag]
        self.wire.begin(tag)
        self.wire.within(seconds)
        self.wire.send(self._ahead() + tag + b" " + line + b"\r\n")
        return tag, self._await(tag, [], go_ahead=True)

    def finish(self, tag: bytes, line: bytes, *, seconds: float) -> Status:
        """Send the line that ends such a command (DONE) and read its answer."""
        refuse_control(line)
        self.wire.begin(tag)
        self.wire.within(seconds)
        self.wire.send(line + b"\r\n")
        status = self._await(tag, [])
        assert status is not None
        return status

    def finish_later(self, tag: bytes) -> None:
        """The same for IDLE, in one piece with the next command: that spares a round trip."""
        self._owed = tag

    def _ahead(self) -> bytes:
        return b"DONE\r\n" if self._owed is not None else b""

    def _await(self, tag: bytes, untagged: list[Response], *, go_ahead: bool = False) -> Status | None:
        """Read up to the tagged answer, or, with `go_ahead`, to a `+`: then None."""
        prefix = tag + b" "
        while True:
            response = self.wire.receive()
            first = response[0]
            if first.startswith(prefix):
                return self._ended(first, prefix)
            if self._owed is not None and first.startswith(self._owed + b" "):
                self._owed = None
            elif first.startswith(b"+"):
                if go_ahead and self._owed is None:
                    return None
            else:
                untagged.append(response)

    def _ended(self, first: bytes, prefix: bytes) -> Status:
        status = Status.parse(first[len(prefix) :])
        if status is None or status.status == "BYE":
            raise self.wire.lost(f"the server ends with {printable(first)}")
        self._owed = None
        return status

    def _unsynchronised(self, size: int) -> bool:
        capabilities = self.wire.capabilities
        return "LITERAL+" in capabilities or ("LITERAL-" in capabilities and size <= 4096)


def astring(value: str | bytes) -> Part:
    """A string argument: quoted where that can be, else a literal. Raises ForbiddenArgument."""
    refuse_control(value)
    octets = value.encode() if isinstance(value, str) else value
    if octets.isascii() and len(octets) <= 1000:
        return quoted(octets.decode()).encode()
    return Verbatim(octets)
