"""Waiting for mail: IDLE (RFC 2177), and NOTIFY (RFC 5465) where one connection waits for several
mailboxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mailrules.adapters.imap.foretold import Foretold, What
from mailrules.adapters.imap.watch import USUAL, Watch

if TYPE_CHECKING:
    from mailrules.adapters.imap.connection import Connection

IDLE_ANSWER = 30.0
"""Seconds a server has to answer IDLE and DONE; a frozen one is found out by it (RELIABILITY section 4)."""
PIPELINING = frozenset({"dovecot"})
"""Servers, by the name in their ID, that are known to read a command that comes in one piece with DONE.
RFC 2177 does not say that they must."""


class Idling:
    """How one connection waits. What a server refuses, or is no use, is not asked for again."""

    __slots__ = (
        "_connection",
        "_notify_refused",
        "_refused",
        "_silent",
        "_tag",
        "_without_items",
        "foretold",
        "watch",
    )

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._refused = False
        self._notify_refused = False
        self._without_items = False
        self._tag: bytes | None = None
        self._silent = False  # whether the server has said that it tells nothing any more
        self.watch: Watch | None = None
        self.foretold: Foretold | None = None  # where a watch was begun

    @property
    def supported(self) -> bool:
        return "IDLE" in self._connection.capabilities and not self._refused

    @property
    def notify_supported(self) -> bool:
        return "NOTIFY" in self._connection.capabilities and not self._notify_refused and self.supported

    @property
    def attentive(self) -> bool:
        """Whether this server is known to announce, in IDLE at the latest, all that came meanwhile."""
        return self._connection.server.get("name", "").lower() in PIPELINING

    @property
    def under_way(self) -> bool:
        """Whether the server waits for DONE."""
        return self._tag is not None

    def forget(self) -> None:
        """The connection has ended: nothing is under way, and nothing watched."""
        self._tag = None
        self._silent = False
        self.watch = self.foretold = None

    # -- several mailboxes --------------------------------------------------------------------------
    def do_without_notify(self) -> None:
        self._notify_refused = True

    def do_without_items(self) -> None:
        self._without_items = True

    @property
    def items_of_use(self) -> bool | None:
        """Whether anything came that the server was asked to send of new mail; None: it was not asked."""
        foretold = self.foretold
        if foretold is None or not (foretold.asked or foretold.came):
            return None
        return foretold.came

    def watch_all(self, names: Sequence[str]) -> bool:
        """Have IDLE tell of all these mailboxes, not only of the selected one. False: it can't."""
        if not self.notify_supported:
            self.watch = None
        elif self.watch is None or self.watch.names != tuple(names):
            before = self.watch
            self.watch = Watch(names, self._connection.wire_name)
            self.watch.active = before is not None and before.active
            if not self.watch.fits():
                self._notify_refused, self.watch = True, None
            elif self.foretold is None:
                self.foretold = Foretold()
        return self.watch is not None

    def reselecting(self) -> None:
        """A mailbox is going to be selected.

        Dovecot 2.3 dies of it (`assertion failed: (headers->box == mail->box)`) when a message comes to a
        mailbox and it was asked for header fields while another one was selected, or this one before.
        """
        if self.watch is not None:
            self.watch.fresh = False
        if self.foretold is not None and self.foretold.asked:
            self.foretold.end()
            self._connection.send(USUAL)
            if self.watch is not None:
                self.watch.active = False

    def learn(self, name: str, what: What) -> None:
        """New mail of this mailbox was asked for `what`."""
        if self.watch is not None and self.foretold is not None and not self._without_items:
            self.foretold.learn(name, what)

    def swept(self, name: str, uidnext: int) -> None:
        """All messages of this mailbox below `uidnext` were seen."""
        if self.watch is not None:
            self.watch.swept(name, uidnext)

    def overflowed(self) -> None:
        """NOTIFICATIONOVERFLOW: the server tells nothing any more, of the selected mailbox neither."""
        self._silent = True
        if self.watch is not None:
            self._notify_refused = True
            self.watch.all_news()
        if self.foretold is not None:
            self.foretold.refuse()

    def _notify(self, watch: Watch) -> None:
        """Ask for events, and how it stands now: what came while another mailbox was selected counts, too.

        Asked anew after each SELECT, because Dovecot 2.3 tells nothing of a mailbox that was selected when
        it was asked; by way of the usual, because at times it tells nothing of any when it is asked twice.
        NOTIFY NONE would not do: what comes to the selected mailbox meanwhile would never be told.
        """
        connection = self._connection
        if watch.active:
            connection.send(USUAL)
        assert self.foretold is not None
        what = self._wanted(watch, self.foretold)
        self.foretold.begin(what)
        reply = connection.send(*watch.command(what))
        if not reply.ok and what:
            self.foretold.refuse()
            reply = connection.send(*watch.command())
        watch.active = watch.fresh = reply.ok
        left_out = watch.unheard(connection.current.name if connection.current is not None else "")
        if not reply.ok or any(connection.listing.get(name) is not None for name in left_out):
            self._notify_refused = True
            watch.all_news()

    def _wanted(self, watch: Watch, foretold: Foretold) -> What:
        """What the server is to send of new messages in the mailbox that is selected now."""
        mailbox = self._connection.current
        what = foretold.wanted(mailbox.name) if mailbox is not None and not mailbox.examined else ()
        return what if watch.fits(what) else ()

    def _as_wanted(self, watch: Watch) -> bool:
        return self.foretold is None or self.foretold.asked == self._wanted(watch, self.foretold)

    # -- waiting ------------------------------------------------------------------------------------
    def start(self) -> frozenset[str]:
        """IDLE. Names: something came already there, do not wait; `done` ends it."""
        watch, foretold = self.watch, self.foretold
        if watch is not None and not (watch.fresh and self._as_wanted(watch)):
            self._notify(watch)
        elif watch is None and self._silent:
            self._silent = False
            self._connection.send(USUAL)
        news = self._whose_news()
        if news or not self.supported or self._tag is not None:
            return news
        connection = self._connection
        if connection.current is not None:
            connection.current.forget()
        if foretold is not None:
            foretold.forget()  # a sweep had no use for it
        connection.client.wire.begin()
        tag, refused = connection.client.start(b"IDLE", seconds=IDLE_ANSWER)
        if refused is not None:
            self._refused = True
            return self._whose_news()
        self._tag = tag
        return self.events()  # what came in one piece with the `+` wakes no selector

    def events(self) -> frozenset[str]:
        """What is there, without waiting: the mailboxes that may have new mail."""
        wire = self._connection.client.wire
        for response in wire.drain():
            if self._tag is not None and response[0].startswith(self._tag + b" "):
                raise wire.lost("the server ended IDLE by itself")
        return self._whose_news()

    def done(self) -> None:
        """End IDLE, if it is under way. Where the server is known to take it, DONE goes out with the next
        command."""
        tag, self._tag = self._tag, None
        if tag is None:
            return
        if self.attentive:
            self._connection.client.finish_later(tag)
        else:
            self._connection.client.finish(tag, b"DONE", seconds=IDLE_ANSWER)

    def _whose_news(self) -> frozenset[str]:
        """Where several mailboxes are watched, each is told once: one that can't be read must not
        keep us from waiting for the others."""
        unasked, current = self._connection.unasked, self._connection.current
        news = frozenset({current.name}) if unasked.news and current is not None else frozenset()
        if self.watch is not None:
            unasked.news = False
            news |= self.watch.take()
        return news
