"""The selected mailbox: reading it, and the verbs that change it. Servers' quirks live here and in moving.py.

Every command names messages by UID, in ascending sets of at most 8,000 bytes.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from mailrules.adapters.imap import facts as facts_
from mailrules.adapters.imap import fetch, flagging, labelling, moving, removing
from mailrules.adapters.imap import identity as identity_
from mailrules.adapters.imap.body import whole
from mailrules.adapters.imap.facts import Known
from mailrules.adapters.imap.fetch import Skim
from mailrules.adapters.imap.framing import Status
from mailrules.adapters.imap.identity import Identity
from mailrules.adapters.imap.items import internal_date, read_fetch
from mailrules.adapters.imap.moving import OnCopied
from mailrules.adapters.imap.refusals import throttled
from mailrules.adapters.imap.search import Criteria, criteria, expression, gmail, read_esearch, read_search
from mailrules.adapters.imap.tokens import flag_list, numeral, validity
from mailrules.adapters.imap.transport import Part, Reply, Take, Usual
from mailrules.core.actions.base import Outcome
from mailrules.core.errors import PermanentError, TransientError
from mailrules.core.message import Fact, Unavailable
from mailrules.core.search import Everything, Nothing, Search
from mailrules.core.uidset import UidSet

if TYPE_CHECKING:
    from mailrules.adapters.imap.connection import Connection

SET_WIDTH = fetch.SET_WIDTH
BULK = 50
"""Messages from which a FETCH is worth the round trip that COMPRESS costs."""


class Mailbox:
    """A mailbox of a Connection. If another one was selected meanwhile, it selects itself again.

    Raises TransientError when the connection is lost or the mailbox is numbered anew; PermanentError
    where a method says so. One message's failure is an Outcome or an Unavailable.
    """

    _ahead: list[int] | None = None
    """All UIDs, where they were asked for before anybody wanted them."""

    def __init__(self, connection: Connection, name: str, *, examined: bool = False) -> None:
        self.connection = connection
        self.name = name
        self.examined = examined
        self.uidvalidity = 0
        self.uidnext: int | None = None
        self.exists = 0
        self.read_only = examined
        self.permanent_flags: frozenset[str] = frozenset()
        self._listed = array("Q")

    def take_in(self, reply: Reply, *, exists: int) -> None:
        """What the server said of the mailbox while it selected it; for this package only."""
        permanent: frozenset[str] | None = None
        known: frozenset[str] = frozenset()
        uidvalidity = None
        self.uidnext = None
        for response in reply.untagged:
            if response[0][:8].upper() == b"* FLAGS ":
                known = flag_list(response[0][8:])
                continue
            status = Status.parse(response[0][2:])
            if status is None:
                continue
            if status.code == "UIDVALIDITY":
                given = validity(status.data)
                uidvalidity = uidvalidity if given is None else given
            elif status.code == "UIDNEXT":
                self.uidnext = numeral(status.data)
            elif status.code == "PERMANENTFLAGS":
                permanent = flag_list(status.data)
        if uidvalidity is None:
            raise PermanentError(
                f"mailbox '{self.name}': the server gives no UIDVALIDITY, so its messages can't be told "
                "apart over time. Nothing is done there."
            )
        if uidvalidity != self.uidvalidity:
            self._listed = array("Q")
        self.uidvalidity = uidvalidity
        self.exists = exists
        self.read_only = self.examined or reply.status.code == "READ-ONLY"
        # RFC 3501 section 7.1: where PERMANENTFLAGS is missing, all flags can be kept
        self.permanent_flags = permanent if permanent is not None else known | {"\\*"}

    @property
    def alive(self) -> bool:
        """Whether the connection still stands."""
        return self.connection.alive

    @property
    def news(self) -> bool:
        """Whether there may be mail that came after the last look at the UIDs."""
        return not self.connection.is_selected(self) or self.connection.news

    def send(self, *parts: Part, take: Take | None = None, usual: Usual | None = None) -> Reply:
        """A command in this mailbox, for this package only. NO and BAD come back as they are."""
        self._be_selected()
        return self.connection.send(*parts, take=take, usual=usual)

    def _be_selected(self) -> None:
        if not self.connection.is_selected(self):
            self.connection.reselect(self)

    @property
    def told(self) -> bool:
        """Whether IDLE is sure to tell of whatever came after the last look at the UIDs."""
        return self.connection.is_selected(self) and self.connection.attentive and not self.connection.news

    def come_back(self) -> None:
        """If another mailbox was looked into meanwhile: IDLE is to be about this one."""
        self._be_selected()

    def reopen(self) -> None:
        """A new connection with this mailbox selected; for this package only."""
        self.connection.reopen()

    # -- searching ----------------------------------------------------------------------------------
    def uids(self, low: int = 1) -> list[int]:
        """All UIDs from `low` on, ascending. What arrives while we ask is included."""
        self._be_selected()
        ahead, self._ahead = self._ahead, None
        # As many as there are now: nothing has left since, and whatever came would be news.
        if (
            ahead is not None
            and low == 1
            and not self.connection.news
            and len(ahead) == self.connection.unasked.exists
        ):
            return ahead
        for _ in range(3):
            self.connection.no_news()
            found = self._all_uids(low)
            if not self.connection.news:
                break
        del self._listed[bisect_left(self._listed, low) :]
        self._listed.extend(found)
        if not self.examined:  # only looked into: what is new there is still to be judged
            self.connection.swept(self, found[-1] if found else low - 1)
        return found

    def look_ahead(self) -> None:
        """Ask for all UIDs now, for the first who wants them; and how this server names messages."""
        self._ahead = self.uids()
        identity_.scheme_of(self, self._ahead[:1])

    def spanned(self, uids: Sequence[int]) -> UidSet:
        """Ascending UIDs in few ranges, which may name UIDs that do not exist: for questions only."""
        return fetch.spanned(uids, self._listed)

    @property
    def listed_to(self) -> int:
        """The highest UID of the last look, 0 if there is none."""
        return self._listed[-1] if self._listed else 0

    def foretold(self, uids: Sequence[int], what: Sequence[bytes]) -> list[fetch.Told]:
        """Those of these messages of which the server has sent `what` before it was asked."""
        found = self.connection.idling.foretold
        return [] if found is None or not self.connection.is_selected(self) else [*found.take(uids, what)]

    def forget(self) -> None:
        """The mailbox is left alone for some time: keep nothing that grows with it."""
        self._listed = array("Q")

    def _all_uids(self, low: int) -> list[int]:
        high = "*"
        found: list[int] = []
        while True:
            within = f"UID {low}:{high}".encode() if low > 1 or high != "*" else b"ALL"
            reply, uids = self._search((within,))
            if not reply.ok:
                return self._fetched_uids(low, reply)
            found.extend(uids)
            # RFC 9738: only the newest were looked at; ask for those below
            stopped = reply.status.data.split()
            lowest = numeral(stopped[1]) if len(stopped) == 2 else None
            if reply.status.code != "MESSAGELIMIT" or lowest is None:
                break
            if lowest <= low or str(lowest - 1) == high:
                break
            high = str(lowest - 1)
        found.sort()
        # `n:*` names the last message even below n. No set: of millions it has a hundred megabytes.
        return [uid for uid, before in zip(found, [0, *found], strict=False) if uid >= low and uid != before]

    def _fetched_uids(self, low: int, refused: Reply) -> list[int]:
        """Where SEARCH fails: FETCH tells as well, if not in as few bytes."""
        wait = throttled(refused.status, "SEARCH")
        if wait is not None:
            raise wait
        reply = self.send(b"UID FETCH %d:* (UID)" % low)
        if not reply.ok:
            raise TransientError(str(self.connection.failure(refused.status, "asking for UIDs")))
        found = set()
        for response in reply.untagged:
            try:
                items = read_fetch(response)
            except ValueError:
                continue
            if items and b"UID" in items:
                found.add(items[b"UID"])
        return sorted(uid for uid in found if uid >= low)

    def present(self, uids: Iterable[int]) -> set[int]:
        """Which of these are still there."""
        found: set[int] = set()
        for chunk in UidSet(uids).chunks(count=100_000, width=SET_WIDTH):
            reply, answered = self._search((b"UID " + str(chunk).encode(),))
            if not reply.ok:
                answered = [uid for uid in self._fetched_uids(chunk.lowest, reply) if uid in chunk]
            found.update(uid for uid in answered if uid in chunk)
        return found

    def search(self, search: Search, within: UidSet) -> set[int]:
        """Those of `within` that the server selects. A server that can't search leaves nothing out."""
        if isinstance(search, Nothing) or not within:
            return set()
        if isinstance(search, Everything):
            return set(within)
        wanted = criteria(search)
        if wanted.text in self.connection.refused_searches:
            return set(within)
        reply, found = self._select(wanted, within)
        if not reply.ok:
            wait = throttled(reply.status, "SEARCH")
            if wait is not None:
                raise wait
            self.connection.refused_searches |= {wanted.text}
            return set(within)
        return found

    def search_raw(self, text: str, within: UidSet) -> set[int]:
        """Those of `within` that a SEARCH expression of the user's selects.

        Raises PermanentError if the server refuses it, TransientError if it may answer later.
        """
        return self._ask(expression(text), within, f"search: {text}")

    def search_gmail(self, text: str, within: UidSet) -> set[int]:
        """Those of `within` that Gmail's own search selects (X-GM-RAW). Raises PermanentError elsewhere."""
        if "X-GM-EXT-1" not in self.connection.capabilities:
            raise PermanentError("gmail: this is not a Gmail server (no X-GM-EXT-1).")
        return self._ask(gmail(text), within, f"gmail: {text}")

    def _ask(self, wanted: Criteria, within: UidSet, doing: str) -> set[int]:
        if not within:
            return set()
        reply, found = self._select(wanted, within)
        if not reply.ok:
            raise self.connection.failure(reply.status, doing)
        return found

    def _select(self, wanted: Criteria, within: UidSet) -> tuple[Reply, set[int]]:
        uids = str(within)
        if len(uids) > SET_WIDTH // 2:  # one question over the whole span costs less than many
            uids = f"{within.lowest}:{within.highest}"
        reply, found = self._search((b"UID " + uids.encode() + b" ", *wanted.parts), charset=wanted.charset)
        return reply, {uid for uid in found if uid in within}

    def _search(self, parts: Sequence[Part], *, charset: bool = False) -> tuple[Reply, Iterable[int]]:
        """UID SEARCH, in ESEARCH's short form where the server is able."""
        connection = self.connection
        words = b"CHARSET UTF-8 " if charset else b""
        if "ESEARCH" in connection.capabilities and not connection.esearch_broken:
            reply = self.send(b"UID SEARCH RETURN (ALL) " + words, *parts)
            found = read_esearch(reply.untagged)
            if reply.ok and found is not None:
                return reply, found
            plain = self.send(b"UID SEARCH " + words, *parts)
            # iCloud announces ESEARCH and answers something else: do not ask again
            connection.esearch_broken = connection.esearch_broken or plain.ok
            return plain, read_search(plain.untagged)
        reply = self.send(b"UID SEARCH " + words, *parts)
        return reply, read_search(reply.untagged)

    # -- reading ------------------------------------------------------------------------------------
    def fetch(self, uids: Iterable[int], facts: Iterable[Fact], *, body_limit: int) -> dict[int, Known]:
        """These facts of these messages, each known or Unavailable. Messages that are gone are absent."""
        uids = self._in_bulk(uids)
        return facts_.facts_of(self, uids, facts, body_limit=body_limit)

    def stream(
        self,
        uids: Iterable[int],
        facts: Iterable[Fact],
        take: Callable[[Sequence[facts_.Arrived]], None],
        *,
        identities: bool = False,
        skim: Skim | None = None,
    ) -> None:
        """Hand these facts on while they arrive, some messages at a time, and who they are, if it can be.

        Nothing that takes more than one question (text, parts); nothing may be asked of the server before
        it is through; what `take` raises ends the connection. `skim` is shown what header blocks it can be
        before that, and says which messages are through.
        """
        facts_.stream_facts(self, self._in_bulk(uids), facts, take, identities=identities, skim=skim)

    def _in_bulk(self, uids: Iterable[int]) -> list[int]:
        """These UIDs; where they are many, what is asked of them comes compressed."""
        uids = list(uids)
        if len(uids) >= BULK:
            self.connection.compress()
        return uids

    def identities(self, uids: Iterable[int]) -> dict[int, Identity]:
        """Who these messages are. Those that are gone are absent."""
        return identity_.identities(self, uids)

    def find(self, identity: str, *, low: int = 1) -> list[int]:
        """UIDs, ascending, of the messages with this identity, from `low` on."""
        return identity_.find(self, identity, low=low)

    def dates(self, uids: Iterable[int]) -> dict[int, datetime]:
        """INTERNALDATEs. Messages that are gone, or whose date can't be read, are absent."""
        found: dict[int, datetime] = {}

        def take(told: Sequence[fetch.Told]) -> None:
            for uid, items in told:
                if isinstance(items, dict):
                    try:
                        found[uid] = internal_date(items.get(b"INTERNALDATE"))
                    except ValueError:
                        continue

        fetch.stream_items(self, uids, [b"INTERNALDATE"], take)
        return found

    def raw(self, uid: int, *, limit: int) -> bytes:
        """The whole message. Raises PermanentError if it has more than `limit` octets, TransientError
        if it can't be had now (or is gone: `present` tells)."""
        octets = whole(self, uid, limit=limit)
        if isinstance(octets, Unavailable):
            if octets.passing:
                raise TransientError(octets.reason)
            raise PermanentError(octets.reason)
        return octets

    # -- changing -----------------------------------------------------------------------------------
    def move(
        self,
        uids: Iterable[int],
        mailbox: str,
        *,
        identities: Mapping[int, str] | None = None,
        on_copied: OnCopied | None = None,
    ) -> dict[int, Outcome]:
        """Move messages. Where the server has no MOVE they are copied, the copies verified and told to
        `on_copied`, and only then the originals removed. `identities` finds what the server does not name.
        """
        return moving.move(self, UidSet(uids), mailbox, identities=identities, on_copied=on_copied)

    def copy(
        self, uids: Iterable[int], mailbox: str, *, identities: Mapping[int, str] | None = None
    ) -> dict[int, Outcome]:
        """Copy messages."""
        return moving.copy(self, UidSet(uids), mailbox, identities=identities)

    def remove(self, uids: Iterable[int]) -> dict[int, Outcome]:
        """Remove the originals of a move whose copies are verified: \\Deleted and UID EXPUNGE."""
        return removing.remove(self, UidSet(uids))

    def delete(self, uids: Iterable[int]) -> dict[int, Outcome]:
        """Delete permanently, exactly these. On Gmail by way of \\Trash: elsewhere it only archives."""
        return moving.delete(self, UidSet(uids))

    def add_flags(self, uids: Iterable[int], flags: Sequence[str]) -> dict[int, Outcome]:
        """Set flags; one that the server can't keep makes it a failure."""
        return flagging.store(self, UidSet(uids), flags, add=True)

    def add_labels(self, uids: Iterable[int], labels: Sequence[str]) -> dict[int, Outcome]:
        """Put Gmail labels on; a failure where the server has none (X-GM-LABELS)."""
        return labelling.store(self, UidSet(uids), labels, add=True)

    def remove_labels(self, uids: Iterable[int], labels: Sequence[str]) -> dict[int, Outcome]:
        """Take Gmail labels off; without `\\Inbox` a message is gone from the inbox, and that is done."""
        return labelling.store(self, UidSet(uids), labels, add=False)

    def remove_flags(self, uids: Iterable[int], flags: Sequence[str]) -> dict[int, Outcome]:
        """Clear flags."""
        return flagging.store(self, UidSet(uids), flags, add=False)
