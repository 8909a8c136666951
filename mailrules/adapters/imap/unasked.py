"""What a server says unasked, whatever command it comes with: how many messages there are, alerts, and
that something is not any more as it was (RFC 9051 section 7).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mailrules.adapters.imap.framing import Response, Status
from mailrules.adapters.imap.tokens import flag_list, numeral
from mailrules.adapters.secret import scrub

if TYPE_CHECKING:
    from mailrules.adapters.imap.connection import Connection

MOST_ALERTS = 20
_COUNT = re.compile(rb"\* ([0-9.eE+]+) (EXISTS|EXPUNGE)\b", re.IGNORECASE)


class Unasked:
    """What one connection was told. `exists`: messages in the selected mailbox. `news`: whether that has
    changed since the mailbox was last asked for its UIDs."""

    __slots__ = ("_connection", "_selecting", "alerts", "exists", "news")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._selecting = False
        self.alerts: list[str] = []
        self.exists = 0
        self.news = False

    def observe(self, response: Response) -> None:
        """Every untagged response passes here."""
        first = response[0]
        match = _COUNT.match(first)
        if match is not None:
            self._counted(match[1], match[2].upper())
            return
        idling = self._connection.idling
        if first[2:3].isdigit():
            current = self._connection.current
            if idling.foretold is not None and idling.foretold.asked and current is not None:
                idling.foretold.told(response, above=current.listed_to)
            return
        if idling.watch is not None and first[:9].upper() == b"* STATUS ":
            idling.watch.told(response)
            return
        status = Status.parse(first[2:])
        if status is None:
            return
        if status.code == "NOTIFICATIONOVERFLOW":
            idling.overflowed()
        elif status.code == "ALERT":
            self._alerted(scrub(status.text))
        elif not self._selecting:
            self._of_the_selected(status)

    @contextmanager
    def selecting(self) -> Iterator[None]:
        """Within it, what is told of is the mailbox about to be selected: an answer, and no news."""
        self._selecting = True
        self.exists = 0
        try:
            yield
        finally:
            self._selecting = False
            self.news = False

    def _counted(self, count: bytes, what: bytes) -> None:
        if what != b"EXISTS":
            self.exists = max(0, self.exists - 1)
            return
        # mail.ru has sent "9.3736e+06": what can't be read may be news
        number = numeral(count)
        number = self.exists + 1 if number is None else number
        if number != self.exists and not self._selecting:
            self.news = True
        self.exists = number

    def _alerted(self, text: str) -> None:
        if len(self.alerts) < MOST_ALERTS and text not in self.alerts:
            self.alerts.append(text)

    def _of_the_selected(self, status: Status) -> None:
        mailbox = self._connection.current
        if mailbox is None:
            return
        if status.code == "UIDVALIDITY" and status.data != str(mailbox.uidvalidity).encode():
            wire = self._connection.client.wire
            raise wire.lost(f"mailbox '{mailbox.name}' was numbered anew while we used it")
        if status.code == "PERMANENTFLAGS":
            mailbox.permanent_flags = flag_list(status.data)
