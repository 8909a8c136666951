"""Who else had this Message-ID: what `duplicate` compares."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from mailrules.adapters.imap.identity import Identity
from mailrules.adapters.imap.mailbox import Mailbox
from mailrules.adapters.store import Sighting, Store
from mailrules.adapters.store.schema import clean
from mailrules.core.message import Earlier, Fact, Message, Sightings
from mailrules.core.message_ids import own_message_id

PRUNED = timedelta(hours=1)
"""How often what is too old is forgotten."""


class Witness:
    """Remembers in which order the messages of one account were seen. From any thread.

    Without a journal that may be written (`plan`, `explain`) it remembers while it lives.
    """

    keep: timedelta | None = None
    """After that time nobody asks any more; None: nobody asks."""

    def __init__(self, account: str, store: Store | None) -> None:
        self._account = account
        self._store = store
        self._writes = store is not None and not store.read_only
        self._seen: dict[str, list[Sighting]] = defaultdict(list)
        self._lock = threading.Lock()
        self._pruned: datetime | None = None

    def note(self, mailbox: str, identities: Mapping[int, Identity], now: datetime) -> None:
        """These are judged now, in the order of their UIDs."""
        seen = [
            Sighting(message_id, clean(identity.identity), mailbox, uid, now)
            for uid, identity in sorted(identities.items())
            if (message_id := _message_id(identity))
        ]
        if self._writes and self._store is not None:
            self._store.note_sightings(self._account, seen)
            if self.keep is not None and (self._pruned is None or abs(now - self._pruned) > PRUNED):
                self._pruned = now
                self._store.forget_sightings(self._account, before=now - self.keep)
            return
        known = self._known(one.message_id for one in seen)
        with self._lock:
            for one in seen:
                others = [*known.get(one.message_id, ()), *self._seen[one.message_id]]
                if all(other.identity != one.identity for other in others):
                    self._seen[one.message_id].append(one)

    def learn(
        self,
        mailbox: Mailbox,
        fact: Fact,
        messages: Mapping[int, Message],
        identities: Mapping[int, Identity],
        *,
        patient: bool,
    ) -> Mapping[int, Any]:
        """SIGHTINGS of these messages."""
        ids = {uid: _message_id(identities[uid]) for uid in messages if uid in identities}
        known = self._known(ids.values())
        found = {}
        for uid, message_id in ids.items():
            with self._lock:
                rows = [*known.get(message_id, ()), *self._seen.get(message_id, ())]
            own = clean(identities[uid].identity)
            place = next((n for n, row in enumerate(rows) if row.identity == own), len(rows))
            seen = rows[place].seen if place < len(rows) else messages[uid].fetched_at
            last = rows[place - 1] if place else None
            earlier = None if last is None else Earlier(last.seen, last.mailbox, last.uid)
            found[uid] = Sightings(seen, earlier)
        return found

    def _known(self, message_ids: Iterable[str]) -> Mapping[str, Sequence[Sighting]]:
        return {} if self._store is None else self._store.sightings(self._account, message_ids)


def _message_id(identity: Identity) -> str:
    return clean(own_message_id([identity.message_id])) if identity.message_id else ""
