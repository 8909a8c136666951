"""One login on one server: its state, and its verbs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mailrules.adapters.imap import fetch
from mailrules.adapters.imap.beginning import Beginning
from mailrules.adapters.imap.compressing import compress
from mailrules.adapters.imap.framing import USUAL, Limits, Status
from mailrules.adapters.imap.idling import Idling
from mailrules.adapters.imap.introduction import introduction
from mailrules.adapters.imap.lane import Lane
from mailrules.adapters.imap.listing import Listing, MailboxInfo
from mailrules.adapters.imap.login import Login, connected, log_in, password_of
from mailrules.adapters.imap.mailbox import Mailbox
from mailrules.adapters.imap.mailbox_status import MailboxStatus, status_of, statuses_of
from mailrules.adapters.imap.names import Namespaces
from mailrules.adapters.imap.refusals import LoginRefused, NoSuchMailbox, Refused, failure
from mailrules.adapters.imap.tls import TlsError
from mailrules.adapters.imap.tokens import numeral, validity
from mailrules.adapters.imap.transport import Client, Part, Reply, Take, Usual, Verbatim, astring
from mailrules.adapters.imap.unasked import Unasked
from mailrules.adapters.imap.wire import ConnectionLost, Guarded
from mailrules.adapters.secret import scrub
from mailrules.core.errors import PermanentError, TransientError
from mailrules.core.narrowing import Narrowing

__all__ = [
    "Connection", "ConnectionLost", "Limits", "Login", "LoginRefused", "Mailbox", "MailboxInfo",
    "MailboxStatus", "NoSuchMailbox", "Refused", "TlsError",
]  # fmt: skip

GOODBYE = 2.0
"""Seconds for LOGOUT."""


class Connection:
    """Owned by one thread at a time; `abort` alone may come from another.

    Raises TransientError when the connection is lost (it is then closed), PermanentError when the
    server refuses. `create_mailboxes` may be a function that says whether this one may be created.
    `lane`: shared with the connections that bulk work takes turns with.
    """

    _beginning: Beginning | None = None
    _ahead: Mailbox | None = None
    """Selected before anybody has asked for it."""

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
        self.namespaces = Namespaces()
        # For this package: the mailbox that is selected, and who looks after one part of the protocol.
        self.current: Mailbox | None = None
        self.listing = Listing(self)
        self.unasked = Unasked(self)
        self.idling = Idling(self)
        # What was learned of this server's ways, for this package.
        self.refused_searches: frozenset[str] = frozenset()
        self.esearch_broken = False
        self.move_broken = False
        self.expunge_broken = False
        self.identity_scheme: str | None = None
        self.fetch_most = fetch.MOST
        self.narrowings: dict[tuple[str, int], Narrowing] = {}  # by mailbox and set of rules
        self.compress_refused = False
        self._limits = limits or USUAL
        self.create_mailboxes = create_mailboxes
        self._client: Client | None = None
        self._wire: Guarded | None = None  # before the client is there
        self._aborted = False

    # -- opening and closing ----------------------------------------------------------------------
    def open(self) -> None:
        """Connect, TLS, greeting, log in, learn what the server can do; or wait for that, where it was begun.

        Raises TransientError, LoginRefused, TlsError or another PermanentError; then nothing is open.
        """
        if self._beginning is None:
            self._open()
            return
        self._beginning.wait()
        ended, self._beginning = self._beginning, None
        ended.check()

    def begin(self, mailbox: str | None, *, read_only: bool, uids: bool) -> None:
        """Open, and do what comes next, in a thread of its own; the next `open` waits for it.

        What comes next: LIST, SELECT or EXAMINE of this mailbox, with `uids` all its UIDs. The first who
        asks for them is given what was told then.
        """
        self._beginning = Beginning(lambda: self._begin(mailbox, read_only, uids))

    def _begin(self, name: str | None, read_only: bool, uids: bool) -> None:
        self._open()
        try:
            self.listing.look_ahead()
            if name is not None:
                mailbox = self.select(name, read_only=read_only)
                if uids:
                    mailbox.look_ahead()
                self._ahead = mailbox
        except PermanentError:
            pass  # said when it is asked for

    def _open(self) -> None:
        password = password_of(self.login)
        try:
            self._client = connected(self.login, limits=self._limits, born=self._born)
            self._client.wire.observer = self.unasked.observe
            self._learn(log_in(self._client, self.login, password))
        except (TransientError, PermanentError) as error:
            self._shut()
            error.args = tuple(scrub(str(arg)) for arg in error.args)
            raise

    def _born(self, wire: Guarded) -> None:
        self._wire = wire
        wire.lane = self.lane
        if self._aborted:
            raise ConnectionLost("aborted")

    def _learn(self, told: bytes) -> None:
        self.current = None
        self.idling.forget()
        known = introduction(self.client, told)
        self.capabilities, self.server, self.namespaces = known.capabilities, known.server, known.namespaces
        self.fetch_most = fetch.most_at_once(known.capabilities)

    def reopen(self) -> None:
        """After the server sent too much: a new connection, the same mailbox selected again."""
        selected = self.current
        self._shut()
        self.open()
        if selected is not None:
            self.reselect(selected)

    def close(self) -> None:
        """Say LOGOUT, and wait for nobody. Never raises."""
        if self._beginning is not None:  # nobody has waited for it
            self._beginning.leave(self.abort, GOODBYE)
            self._beginning = None
        client = self._client
        if client is None:
            return
        wire = client.wire
        if not wire.dead:
            wire.leaving = True
            wire.observer = None
            try:
                if self.idling.under_way:
                    wire.begin()
                    wire.within(GOODBYE)
                    wire.send(b"DONE\r\n")
                client.tell(b"LOGOUT", seconds=GOODBYE)
            except (TransientError, PermanentError):
                pass
        self._shut()

    def abort(self) -> None:
        """From any thread: whatever the owner waits for ends at once, as a lost connection."""
        self._aborted = True
        if self._wire is not None:
            self._wire.abort_io()

    def _shut(self) -> None:
        self.idling.forget()
        self.current = None
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
        """Much is going to come: have it compressed from here on, where that is worth it."""
        compress(self)

    # -- what comes unasked -------------------------------------------------------------------------
    @property
    def alerts(self) -> list[str]:
        """What the server wants a person to read."""
        return self.unasked.alerts

    @property
    def news(self) -> bool:
        """Whether the number of messages has changed since the mailbox was last asked for its UIDs."""
        return self.unasked.news

    def no_news(self) -> None:
        """The mailbox is about to be asked for its UIDs."""
        self.unasked.news = False

    def swept(self, mailbox: Mailbox, highest: int) -> None:
        """The mailbox has told all its UIDs."""
        self.idling.swept(mailbox.name, max(mailbox.uidnext or 0, highest + 1))

    @property
    def attentive(self) -> bool:
        """Whether this server is known to announce, in IDLE at the latest, all that came meanwhile."""
        return self.idling.attentive

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
        return status_of(self, name)

    def statuses(self, names: Sequence[str]) -> dict[str, MailboxStatus]:
        """`status` of several in few round trips; those that the server does not tell of, or can't have, are
        absent."""
        return statuses_of(self, names)

    def may_create(self, name: str) -> bool:
        """Whether a missing mailbox may be created."""
        allowed = self.create_mailboxes
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
        mailbox = self.current
        if mailbox is not None and mailbox.name == name and self.alive and not mailbox.examined:
            return mailbox
        return None

    def select(self, name: str, *, read_only: bool = False) -> Mailbox:
        """SELECT or EXAMINE. Raises NoSuchMailbox."""
        name = "INBOX" if name.upper() == "INBOX" else name
        ahead, self._ahead = self._ahead, None
        there = ahead if ahead is self.current else None
        if there is not None and (there.name, there.examined) == (name, read_only):
            return there
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
        mailbox.take_in(reply, exists=self.unasked.exists)
        self.current = mailbox
        return mailbox

    def reselect(self, mailbox: Mailbox) -> None:
        """Select a mailbox again that was selected before. TransientError if its UIDs are not the same."""
        reply = self._select(self.wire_name(mailbox.name), read_only=mailbox.examined)
        if not reply.ok:
            raise self.mailbox_failure(reply.status, mailbox.name, f"selecting mailbox '{mailbox.name}'")
        known = mailbox.uidvalidity
        mailbox.take_in(reply, exists=self.unasked.exists)
        self.current = mailbox
        self.unasked.news = True  # nobody would have told us while another one was selected
        if mailbox.uidvalidity != known:
            raise self.client.wire.lost(f"mailbox '{mailbox.name}' was numbered anew while we used it")

    def is_selected(self, mailbox: Mailbox) -> bool:
        return self.current is mailbox

    def _select(self, wire: bytes, *, read_only: bool) -> Reply:
        self.done()
        self.idling.reselecting()
        self.current = None
        with self.unasked.selecting():
            return self.send(b"EXAMINE " if read_only else b"SELECT ", astring(wire))

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
        return self.idling.supported

    @property
    def supports_notify(self) -> bool:
        """Whether one connection can be told of several mailboxes."""
        return self.idling.notify_supported

    def do_without_notify(self) -> None:
        """Another connection has found out that this server's NOTIFY is no use."""
        self.idling.do_without_notify()

    def do_without_items(self) -> None:
        """This server is not to be asked to send anything of new mail: others of its connections died."""
        self.idling.do_without_items()

    @property
    def items_of_use(self) -> bool | None:
        """Whether anything came that the server was asked to send of new mail; None: it was not asked."""
        return self.idling.items_of_use

    def watch(self, names: Sequence[str]) -> bool:
        """Have IDLE tell of all these mailboxes, not only of the selected one. False: it can't."""
        return self.idling.watch_all(names)

    def idle(self) -> frozenset[str]:
        """Start to wait for mail. Names: something came already there, do not park; `done` ends IDLE.

        A server that refuses IDLE after all is not asked again: then nothing wakes us but the timer.
        """
        return self.idling.start()

    def idle_events(self) -> frozenset[str]:
        """The socket is readable: take what is there, without waiting. The mailboxes that may have new mail.

        Raises TransientError if the connection has ended.
        """
        return self.idling.events()

    def done(self) -> bool:
        """End IDLE. True if something came meanwhile. A server that does not answer in 30 s is gone."""
        self.idling.done()
        return self.news

    def noop(self) -> bool:
        """A sign of life from the server. True if something came with it."""
        self.command("NOOP", b"NOOP")
        return self.news
