"""One login on one server: connecting, mailboxes, IDLE."""

from __future__ import annotations

import functools
import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import mailrules
from mailrules.adapters.imap import fetch
from mailrules.adapters.imap.framing import Limits, Response, Status
from mailrules.adapters.imap.lane import Lane
from mailrules.adapters.imap.listing import Listing, MailboxInfo
from mailrules.adapters.imap.mailbox import Mailbox
from mailrules.adapters.imap.names import Namespace, Namespaces
from mailrules.adapters.imap.refusals import LoginRefused, NoSuchMailbox, Refused, failure, login_failure
from mailrules.adapters.imap.tokens import Unreadable, flag_list, number, numeral, pairs, tokens, validity
from mailrules.adapters.imap.transport import Client, Part, Reply, Take, Usual, Verbatim, astring
from mailrules.adapters.imap.watch import USUAL, Watch
from mailrules.adapters.imap.wire import ConnectionLost, Guarded, Security, TlsError, quoted
from mailrules.adapters.oauth import NeedsLogin
from mailrules.adapters.secret import remember, scrub
from mailrules.core.errors import PermanentError, TransientError
from mailrules.core.narrowing import Narrowing

__all__ = [
    "Connection", "ConnectionLost", "Limits", "Login", "LoginRefused", "Mailbox", "MailboxInfo",
    "MailboxStatus", "NoSuchMailbox", "Refused", "TlsError",
]  # fmt: skip

IDLE_ANSWER = 30.0
"""Seconds a server has to answer IDLE and DONE; a frozen one is found out by it (RELIABILITY section 4)."""
GOODBYE = 2.0
PIPELINING = frozenset({"dovecot"})
"""Servers, by the name in their ID, that are known to read a command that comes in one piece with DONE.
RFC 2177 does not say that they must."""


@dataclass(frozen=True)
class Login:
    """How to log in. `password` is called when the connection is opened, and may raise; with `oauth` it is
    an access token.

    `special_use`: "\\\\Archive" -> mailbox, for what the server does not say. `tls`: instead of the
    default context, which trusts the system's authorities. `compress`: whether mail in bulk comes
    compressed where the server offers it; None: unless the server is on this machine.
    """

    account: str
    host: str
    port: int
    security: Security
    username: str
    password: Callable[[], str]
    special_use: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 60
    tls: ssl.SSLContext | None = None
    compress: bool | None = None
    oauth: bool = False


@dataclass(frozen=True, slots=True)
class MailboxStatus:
    messages: int
    uidnext: int | None
    uidvalidity: int


class Connection:
    """Owned by one thread at a time; `abort` alone may come from another.

    Raises TransientError when the connection is lost (it is then closed), PermanentError when the
    server refuses. `create_mailboxes` may be a function that says whether this one may be created.
    `lane`: shared with the connections that bulk work takes turns with.
    """

    def __init__(
        self,
        login: Login,
        *,
        limits: Limits | None = None,
        create_mailboxes: bool | Callable[[str], bool] = True,
        lane: Lane | None = None,
    ) -> None:
        self.login = login
        self.lane = lane or Lane()
        self.capabilities: frozenset[str] = frozenset()
        self.server: dict[str, str] = {}  # what the server's ID says
        self.alerts: list[str] = []
        self.namespaces = Namespaces()
        # What was learned of this server's ways, for this package.
        self.refused_searches: set[str] = set()
        self.esearch_broken = False
        self.move_broken = False
        self.expunge_broken = False
        self.identity_scheme: str | None = None
        self.fetch_most = fetch.MOST
        self.narrowings: dict[tuple[str, int], Narrowing] = {}  # by mailbox and set of rules
        self._compress_refused = False
        self._limits = limits or Limits()
        self._create_mailboxes = create_mailboxes
        self._client: Client | None = None
        self._wire: Guarded | None = None  # before the client is there
        self._aborted = False
        self.listing = Listing(self)
        self._told = b""  # what the server can do, as it said when it let us in
        self._idle_refused = False
        self._notify_refused = False
        self._watch: Watch | None = None
        self._idle_tag: bytes | None = None
        self._selected: Mailbox | None = None
        self._selecting = False
        self._exists = 0
        self._news = False

    # -- opening and closing ----------------------------------------------------------------------
    def open(self) -> None:
        """Connect, TLS, greeting, log in, learn what the server can do.

        Raises TransientError, LoginRefused, TlsError or another PermanentError; then nothing is open.
        """
        login = self.login
        try:
            password = login.password()
        except NeedsLogin as error:
            raise LoginRefused(str(error)) from None
        remember(password)
        try:
            self._client = Client(
                login.host,
                login.port,
                security=login.security,
                context=login.tls,
                timeout=login.timeout,
                limits=self._limits,
                born=self._born,
            )
            self._client.wire.observer = self._observe
            self._log_in(password)
            self._learn()
        except (TransientError, PermanentError) as error:
            self._shut()
            error.args = tuple(scrub(str(arg)) for arg in error.args)
            raise

    def _born(self, wire: Guarded) -> None:
        self._wire = wire
        wire.lane = self.lane
        if self._aborted:
            raise ConnectionLost("aborted")

    def _log_in(self, password: str) -> None:
        log_in = self.client.log_in_with_token if self.login.oauth else self.client.log_in
        status = log_in(self.login.username, password)
        if status.status != "OK":
            raise login_failure(status)
        self._told = status.data if status.code == "CAPABILITY" else b""

    def _learn(self) -> None:
        """Ask again what it can do: after login the answer differs, and Gmail's and Exchange's must.

        Not where the server has said it with its OK (RFC 9051 section 6.2.3).
        """
        self._selected = None
        self._idle_tag = None
        lines = [self._told] if self._told else []
        if not lines:
            reply = self.command("asking for capabilities", b"CAPABILITY")
            lines = [r[0][13:] for r in reply.untagged if r[0][:13].upper() == b"* CAPABILITY "]
        for line in lines:
            self.capabilities = _known(line) if len(line) < 2000 else _capabilities(line)
            self.fetch_most = fetch.most_at_once(self.capabilities)
        self.client.wire.capabilities = tuple(self.capabilities)
        if "ID" in self.capabilities:
            # Before SELECT: 163.com lets nobody in who does not say who they are.
            reply = self.client.command(
                b'ID ("name" "mailrules" "version" ', quoted(mailrules.__version__).encode(), b")"
            )
            self.server = _server_id(reply)
        self.namespaces = self._namespaces()

    def _namespaces(self) -> Namespaces:
        if "NAMESPACE" in self.capabilities:
            for response in self.client.command(b"NAMESPACE").untagged:
                if response[0][:12].upper() == b"* NAMESPACE ":
                    try:
                        found = Namespaces.read(tokens(response, 12))
                    except Unreadable:
                        found = None
                    if found is not None:
                        return found
        for response in self.client.command(b'LIST "" ""').untagged:
            if response[0][:7].upper() == b"* LIST ":
                try:
                    delimiter = tokens(response, 7)[1]
                except (Unreadable, IndexError):
                    continue
                return Namespaces(Namespace("", delimiter.decode("latin-1") if delimiter else None))
        return Namespaces()

    def reopen(self) -> None:
        """After the server sent too much: a new connection, the same mailbox selected again."""
        selected = self._selected
        self._shut()
        self.open()
        if selected is not None:
            self.reselect(selected)

    def close(self) -> None:
        """LOGOUT, at most two seconds. Never raises."""
        client = self._client
        if client is None:
            return
        wire = client.wire
        if not wire.dead:
            wire.leaving = True
            wire.observer = None
            try:
                if self._idle_tag is not None:
                    wire.begin()
                    wire.within(GOODBYE)
                    wire.send(b"DONE\r\n")
                client.command(b"LOGOUT", seconds=GOODBYE)
            except (TransientError, PermanentError):
                pass
        self._shut()

    def abort(self) -> None:
        """From any thread: whatever the owner waits for ends at once, as a lost connection."""
        self._aborted = True
        if self._wire is not None:
            self._wire.abort_io()

    def _shut(self) -> None:
        self._idle_tag = None
        self._watch = None
        self._selected = None
        if self._wire is not None:
            self._wire.shutdown()

    @property
    def client(self) -> Client:
        """The client underneath, for this package only."""
        if self._client is None:
            raise ConnectionLost(f"{self.login.host}: not connected")
        return self._client

    @property
    def alive(self) -> bool:
        return self._client is not None and not self._client.wire.dead

    def fileno(self) -> int:
        return self.client.wire.sock.fileno()

    def send(self, *parts: Part, take: Take | None = None, usual: Usual | None = None) -> Reply:
        """Send a command; NO and BAD come back as they are. For this package only. Ends IDLE.

        `take` is handed the responses as they come, `usual` several at a time (`Client.command`).
        """
        self.done()
        return self.client.command(*parts, take=take, usual=usual)

    def command(self, doing: str, *parts: Part) -> Reply:
        """Send a command; NO and BAD raise TransientError or Refused. `doing` starts the message."""
        reply = self.send(*parts)
        if not reply.ok:
            raise self.failure(reply.status, doing)
        return reply

    def failure(self, status: Status, doing: str) -> TransientError | Refused:
        """The exception for a NO or BAD."""
        return failure(status, doing)

    def compress(self) -> None:
        """Much is going to come: have it compressed from here on, where that is worth it (RFC 4978).

        Not at login: a connection that idles would keep 45 KB for it, and has nothing to compress.
        The password has gone over the wire before.
        """
        wire = self.client.wire
        if wire.compressed or self._compress_refused or "COMPRESS=DEFLATE" not in self.capabilities:
            return
        wanted = self.login.compress
        if wanted is False or (wanted is None and wire.local):
            return
        if self.send(b"COMPRESS DEFLATE").ok:
            wire.compress()
        else:
            self._compress_refused = True

    # -- what comes unasked -------------------------------------------------------------------------
    def _observe(self, response: Response) -> None:
        """Every untagged response passes here, whatever command it came with."""
        first = response[0]
        match = _COUNT.match(first)
        if match is not None:
            if match[2].upper() == b"EXISTS":
                # mail.ru has sent "9.3736e+06": what can't be read may be news
                count = numeral(match[1])
                count = self._exists + 1 if count is None else count
                if count != self._exists and not self._selecting:
                    self._news = True
                self._exists = count
            else:
                self._exists = max(0, self._exists - 1)
            return
        if first[2:3].isdigit():
            return
        if self._watch is not None and first[:9].upper() == b"* STATUS ":
            self._watch.told(response)
            return
        status = Status.parse(first[2:])
        if status is None:
            return
        if status.code == "NOTIFICATIONOVERFLOW" and self._watch is not None:
            self._notify_refused = True  # it tells nothing any more
            self._watch.all_news()
        elif status.code == "ALERT" and len(self.alerts) < 20:
            text = scrub(status.text)
            if text not in self.alerts:
                self.alerts.append(text)
        elif status.code == "UIDVALIDITY" and self._selected is not None and not self._selecting:
            if status.data != str(self._selected.uidvalidity).encode():
                name = self._selected.name
                raise self.client.wire.lost(f"mailbox '{name}' was numbered anew while we used it")
        elif status.code == "PERMANENTFLAGS" and self._selected is not None and not self._selecting:
            self._selected.permanent_flags = flag_list(status.data)

    @property
    def news(self) -> bool:
        """Whether the number of messages has changed since the mailbox was last asked for its UIDs."""
        return self._news

    def no_news(self) -> None:
        """The mailbox is about to be asked for its UIDs."""
        self._news = False

    def swept(self, mailbox: Mailbox, highest: int) -> None:
        """The mailbox has told all its UIDs."""
        if self._watch is not None:
            self._watch.swept(mailbox.name, max(mailbox.uidnext or 0, highest + 1))

    @property
    def attentive(self) -> bool:
        """Whether this server is known to announce, in IDLE at the latest, all that came meanwhile."""
        return self.server.get("name", "").lower() in PIPELINING

    # -- mailboxes ----------------------------------------------------------------------------------
    def mailboxes(self, patterns: Sequence[str] = ("*",)) -> list[MailboxInfo]:
        """The mailboxes whose name matches one of the globs, sorted. What LIST can't tell is left out."""
        return self.listing.refresh(patterns)

    def special_use(self, *, fresh: bool = True) -> Mapping[str, str]:
        """RFC 6154: "\\\\Archive" -> mailbox. What the server does not say, the account's file may.

        Not `fresh`: as `mailboxes` has just listed it.
        """
        return self.listing.special_use(fresh=fresh)

    def wire_name(self, name: str) -> bytes:
        """The server's own bytes for a mailbox if it was listed, else its encoding."""
        return self.listing.wire_name(name)

    def status(self, name: str) -> MailboxStatus:
        """How many messages, and the numbers that UIDs depend on. Raises NoSuchMailbox."""
        doing = f"asking about mailbox '{name}'"
        wire = self.wire_name(name)
        reply = self.send(b"STATUS ", astring(wire), _ASKED)
        if not reply.ok:
            raise self.mailbox_failure(reply.status, name, doing)
        told = self._status_of(reply, wire)
        if told is not None:
            return told
        before = self._selected
        mailbox = self.select(name, read_only=True)  # 163.com answers STATUS with an empty list
        found = MailboxStatus(mailbox.exists, mailbox.uidnext, mailbox.uidvalidity)
        if before is not None:
            self.reselect(before)
        return found

    def statuses(self, names: Sequence[str]) -> dict[str, MailboxStatus]:
        """`status` of several in few round trips; those that the server does not tell of, or can't have, are
        absent."""
        plain: list[tuple[str, bytes, bytes]] = []
        for name in names:
            try:
                wire = self.wire_name(name)
                part = astring(wire)
            except PermanentError:
                continue  # whoever asks for this one alone hears why
            if isinstance(part, bytes):
                plain.append((name, wire, part))
        found: dict[str, MailboxStatus] = {}
        self.done()
        for start in range(0, len(plain), _AHEAD):
            piece = plain[start : start + _AHEAD]
            replies = self.client.together([b"STATUS " + part + _ASKED for _, _, part in piece])
            for (name, wire, _), reply in zip(piece, replies, strict=True):
                told = self._status_of(reply, wire) if reply.ok else None
                if told is not None:
                    found[name] = told
        return found

    def _status_of(self, reply: Reply, wire: bytes) -> MailboxStatus | None:
        for response in reply.untagged:
            if response[0][:9].upper() == b"* STATUS ":
                try:
                    whose, words = tokens(response, 9)[:2]
                    if self._watch is not None and whose != wire:
                        continue  # told unasked of another one
                    answer = pairs(words)
                    uidnext = answer.get(b"UIDNEXT")
                    uidvalidity = validity(answer[b"UIDVALIDITY"])
                    if uidvalidity is None:
                        continue
                    return MailboxStatus(
                        number(answer[b"MESSAGES"]), number(uidnext) if uidnext else None, uidvalidity
                    )
                except (Unreadable, LookupError, TypeError):
                    continue
        return None

    def may_create(self, name: str) -> bool:
        """Whether a missing mailbox may be created."""
        allowed = self._create_mailboxes
        return allowed(name) if callable(allowed) else allowed

    def create(self, name: str) -> None:
        """Create a mailbox and subscribe to it. One that exists already is fine."""
        wire = self.namespaces.to_wire(name)
        reply = self.send(b"CREATE ", astring(wire))
        if not reply.ok and reply.status.code != "ALREADYEXISTS":
            known = any(info.name == name for info in self.mailboxes())
            if not known:
                raise self.failure(reply.status, f"creating mailbox '{name}'")
        self.send(b"SUBSCRIBE ", astring(wire))  # a refusal is no harm

    def append(self, name: str, raw: bytes, flags: Sequence[str] = ()) -> tuple[int, int] | None:
        """Put a message into a mailbox. Returns (UIDVALIDITY, UID) if the server tells."""
        if not raw.endswith(b"\r\n"):
            raw += b"\r\n"  # Yahoo refuses a message without
        words = b"(" + b" ".join(flag.encode() for flag in flags) + b") " if flags else b""
        reply = self.send(b"APPEND ", astring(self.wire_name(name)), b" " + words, Verbatim(raw))
        if not reply.ok:
            raise self.mailbox_failure(reply.status, name, f"appending to mailbox '{name}'")
        if reply.status.code == "APPENDUID":
            first, _, second = reply.status.data.partition(b" ")
            uidvalidity, uid = validity(first), numeral(second)
            if uidvalidity is not None and uid is not None:
                return uidvalidity, uid
        return None

    # -- selecting ------------------------------------------------------------------------------------
    def selected(self, name: str) -> Mailbox | None:
        """The mailbox selected now, if it is this one and may be changed."""
        mailbox = self._selected
        if mailbox is not None and mailbox.name == name and self.alive and not mailbox.examined:
            return mailbox
        return None

    def select(self, name: str, *, read_only: bool = False) -> Mailbox:
        """SELECT or EXAMINE. Raises NoSuchMailbox."""
        name = "INBOX" if name.upper() == "INBOX" else name
        info = self.listing.get(name)
        if info is not None and not info.selectable:
            raise NoSuchMailbox(f"mailbox '{name}' can't hold messages, only other mailboxes.")
        reply = self._select(self.wire_name(name), read_only=read_only)
        if not reply.ok and name != "INBOX":
            self.listing.refresh()  # it may be spelled on the wire as nobody else would spell it
            info = self.listing.get(name)
            if info is not None and info.selectable and info.wire != self.namespaces.to_wire(name):
                reply = self._select(info.wire, read_only=read_only)
        if not reply.ok:
            raise self.mailbox_failure(reply.status, name, f"selecting mailbox '{name}'")
        mailbox = Mailbox(self, name, examined=read_only)
        mailbox.take_in(reply, exists=self._exists)
        self._selected = mailbox
        return mailbox

    def reselect(self, mailbox: Mailbox) -> None:
        """Select a mailbox again that was selected before. TransientError if its UIDs are not the same."""
        reply = self._select(self.wire_name(mailbox.name), read_only=mailbox.examined)
        if not reply.ok:
            raise self.mailbox_failure(reply.status, mailbox.name, f"selecting mailbox '{mailbox.name}'")
        known = mailbox.uidvalidity
        mailbox.take_in(reply, exists=self._exists)
        self._selected = mailbox
        self._news = True  # nobody would have told us while another one was selected
        if mailbox.uidvalidity != known:
            raise self.client.wire.lost(f"mailbox '{mailbox.name}' was numbered anew while we used it")

    def is_selected(self, mailbox: Mailbox) -> bool:
        return self._selected is mailbox

    def _select(self, wire: bytes, *, read_only: bool) -> Reply:
        self.done()
        if self._watch is not None:
            self._watch.fresh = False
        self._selected = None
        self._selecting = True
        self._exists = 0
        try:
            return self.send(b"EXAMINE " if read_only else b"SELECT ", astring(wire))
        finally:
            self._selecting = False
            self._news = False

    def mailbox_failure(self, status: Status, name: str, doing: str) -> TransientError | Refused:
        error = self.failure(status, doing)
        if not isinstance(error, Refused):
            return error
        missing = error.code in ("NONEXISTENT", "TRYCREATE")
        if not missing and error.code in ("", "CANNOT"):
            try:
                missing = name not in {info.name for info in self.mailboxes()}
            except (TransientError, PermanentError):
                missing = False
        if missing:
            return NoSuchMailbox(
                f"mailbox '{name}' does not exist ({status}). Create it, or mend the name.", code=error.code
            )
        return error

    # -- IDLE ---------------------------------------------------------------------------------------
    @property
    def supports_idle(self) -> bool:
        return "IDLE" in self.capabilities and not self._idle_refused

    @property
    def supports_notify(self) -> bool:
        """Whether one connection can be told of several mailboxes."""
        return "NOTIFY" in self.capabilities and not self._notify_refused and self.supports_idle

    def do_without_notify(self) -> None:
        """Another connection has found out that this server's NOTIFY is no use."""
        self._notify_refused = True

    def watch(self, names: Sequence[str]) -> bool:
        """Have IDLE tell of all these mailboxes, not only of the selected one. False: it can't."""
        if not self.supports_notify:
            self._watch = None
        elif self._watch is None or self._watch.names != tuple(names):
            before = self._watch
            self._watch = Watch(names, self.wire_name)
            self._watch.active = before is not None and before.active
            if not self._watch.fits:
                self._notify_refused, self._watch = True, None
        return self._watch is not None

    def _notify(self, watch: Watch) -> None:
        """Ask for events, and how it stands now: what came while another mailbox was selected counts, too.

        Asked anew after each SELECT, because Dovecot 2.3 tells nothing of a mailbox that was selected when
        it was asked; by way of the usual, because at times it tells nothing of any when it is asked twice.
        NOTIFY NONE would not do: what comes to the selected mailbox meanwhile would never be told.
        """
        if watch.active:
            self.send(USUAL)
        reply = self.send(*watch.command())
        watch.active = watch.fresh = reply.ok
        left_out = watch.unheard(self._selected.name if self._selected is not None else "")
        if not reply.ok or any(self.listing.get(name) is not None for name in left_out):
            self._notify_refused = True
            watch.all_news()

    def idle(self) -> frozenset[str]:
        """Start to wait for mail. Names: something came already there, do not park; `done` ends IDLE.

        A server that refuses IDLE after all is not asked again: then nothing wakes us but the timer.
        """
        if self._watch is not None and not self._watch.fresh:
            self._notify(self._watch)
        news = self._whose_news()
        if news or not self.supports_idle or self._idle_tag is not None:
            return news
        if self._selected is not None:
            self._selected.forget()
        self.client.wire.begin()
        tag, refused = self.client.start(b"IDLE", seconds=IDLE_ANSWER)
        if refused is not None:
            self._idle_refused = True
            return self._whose_news()
        self._idle_tag = tag
        return self.idle_events()  # what came in one piece with the `+` wakes no selector

    def idle_events(self) -> frozenset[str]:
        """The socket is readable: take what is there, without waiting. The mailboxes that may have new mail.

        Raises TransientError if the connection has ended.
        """
        for response in self.client.wire.drain():
            if self._idle_tag is not None and response[0].startswith(self._idle_tag + b" "):
                raise self.client.wire.lost("the server ended IDLE by itself")
        return self._whose_news()

    def _whose_news(self) -> frozenset[str]:
        """Where several mailboxes are watched, each is told once: one that can't be read must not
        keep us from waiting for the others."""
        news = frozenset({self._selected.name}) if self._news and self._selected is not None else frozenset()
        if self._watch is not None:
            self._news = False
            news |= self._watch.take()
        return news

    def done(self) -> bool:
        """End IDLE. True if something came meanwhile. A server that does not answer in 30 s is gone.

        Where the server is known to take it, DONE goes out with the next command.
        """
        tag, self._idle_tag = self._idle_tag, None
        if tag is None:
            return self._news
        if self.server.get("name", "").lower() in PIPELINING:
            self.client.finish_later(tag)
        else:
            self.client.finish(tag, b"DONE", seconds=IDLE_ANSWER)
        return self._news

    def noop(self) -> bool:
        """A sign of life from the server. True if something came with it."""
        self.command("NOOP", b"NOOP")
        return self._news


_COUNT = re.compile(rb"\* ([0-9.eE+]+) (EXISTS|EXPUNGE)\b", re.IGNORECASE)


_ASKED = b" (MESSAGES UIDNEXT UIDVALIDITY)"
_AHEAD = 50
"""Questions that are sent before an answer is read: more, and both sides may wait for the other to read."""


def _capabilities(line: bytes) -> frozenset[str]:
    return frozenset(line.decode("ascii", "replace").replace('"', "").upper().split())


_known = functools.lru_cache(maxsize=32)(_capabilities)
"""The same, shared by all connections to which the same was said: of 2,000 it would be megabytes."""


def _server_id(reply: Reply) -> dict[str, str]:
    for response in reply.untagged:
        if response[0][:5].upper() == b"* ID ":
            try:
                answer = pairs(tokens(response, 5)[0] or ())
            except (Unreadable, IndexError, TypeError):
                return {}
            return {
                name.decode("utf-8", "replace").lower(): value.decode("utf-8", "replace")
                for name, value in answer.items()
                if isinstance(value, bytes)
            }
    return {}
