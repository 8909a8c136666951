"""Waiting for mail: IDLE (RFC 2177), and NOTIFY (RFC 5465) where one connection waits for several
mailboxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

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

    __slots__ = ("_connection", "_notify_refused", "_refused", "_tag", "watch")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._refused = False
        self._notify_refused = False
        self._tag: bytes | None = None
        self.watch: Watch | None = None

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
        self.watch = None

    # -- several mailboxes --------------------------------------------------------------------------
    def do_without_notify(self) -> None:
        self._notify_refused = True

    def watch_all(self, names: Sequence[str]) -> bool:
        """Have IDLE tell of all these mailboxes, not only of the selected one. False: it can't."""
        if not self.notify_supported:
            self.watch = None
        elif self.watch is None or self.watch.names != tuple(names):
            before = self.watch
            self.watch = Watch(names, self._connection.wire_name)
            self.watch.active = before is not None and before.active
            if not self.watch.fits:
                self._notify_refused, self.watch = True, None
        return self.watch is not None

    def reselected(self) -> None:
        """Another mailbox is selected from here on."""
        if self.watch is not None:
            self.watch.fresh = False

    def swept(self, name: str, uidnext: int) -> None:
        """All messages of this mailbox below `uidnext` were seen."""
        if self.watch is not None:
            self.watch.swept(name, uidnext)

    def overflowed(self) -> None:
        """NOTIFICATIONOVERFLOW: the server tells nothing any more."""
        if self.watch is not None:
            self._notify_refused = True
            self.watch.all_news()

    def _notify(self, watch: Watch) -> None:
        """Ask for events, and how it stands now: what came while another mailbox was selected counts, too.

        Asked anew after each SELECT, because Dovecot 2.3 tells nothing of a mailbox that was selected when
        it was asked; by way of the usual, because at times it tells nothing of any when it is asked twice.
        NOTIFY NONE would not do: what comes to the selected mailbox meanwhile would never be told.
        """
        connection = self._connection
        if watch.active:
            connection.send(USUAL)
        reply = connection.send(*watch.command())
        watch.active = watch.fresh = reply.ok
        left_out = watch.unheard(connection.current.name if connection.current is not None else "")
        if not reply.ok or any(connection.listing.get(name) is not None for name in left_out):
            self._notify_refused = True
            watch.all_news()

    # -- waiting ------------------------------------------------------------------------------------
    def start(self) -> frozenset[str]:
        """IDLE. Names: something came already there, do not wait; `done` ends it."""
        if self.watch is not None and not self.watch.fresh:
            self._notify(self.watch)
        news = self._whose_news()
        if news or not self.supported or self._tag is not None:
            return news
        connection = self._connection
        if connection.current is not None:
            connection.current.forget()
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
