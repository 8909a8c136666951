"""To whom an account wrote, and what it answered: what `replied_to` and `unanswered_for` compare.

Learned from the Sent mailbox over the connection that judges: one STATUS where nothing is new there, else
EXAMINE and FETCH of what is; the mailbox being judged selects itself again with its next command.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from mailrules import clock
from mailrules.adapters.imap.connection import Connection
from mailrules.adapters.imap.identity import Identity
from mailrules.adapters.imap.mailbox import Mailbox
from mailrules.adapters.imap.refusals import NoSuchMailbox
from mailrules.adapters.store import Answered, SentTo, Store, StoreError
from mailrules.adapters.store.schema import clean
from mailrules.core.address import addresses
from mailrules.core.conditions.correspondence import senders
from mailrules.core.conditions.views import Mailbox as Address
from mailrules.core.errors import PermanentError, TransientError
from mailrules.core.message import (
    INTERNALDATE,
    WRITTEN_TO,
    Answer,
    Fact,
    Message,
    Unavailable,
    header_fact,
)
from mailrules.core.message_ids import message_ids, own_message_id

log = logging.getLogger("mailrules.run")

WINDOW = 500
"""Messages of Sent that are read, then remembered with how far it has come."""
OVERLAP = 20
"""UIDs looked at once more when something is new: some servers show UIDs late (R4)."""

_RECIPIENTS = tuple(header_fact(name) for name in ("to", "cc", "bcc"))
_REFERENCES = tuple(header_fact(name) for name in ("in-reply-to", "references"))
_MESSAGE_ID = header_fact("message-id")
_READ = (*_RECIPIENTS, *_REFERENCES, _MESSAGE_ID, INTERNALDATE)


class Memory(Protocol):
    """What is remembered of Sent mailboxes; see `adapters/store/sent_mail.py`."""

    def sent_read(self, account: str) -> tuple[str, int, int] | None: ...
    def remember_sent(
        self,
        account: str,
        *,
        mailbox: str,
        uidvalidity: int,
        high_uid: int,
        to: Sequence[SentTo],
        answers: Sequence[Answered],
    ) -> None: ...
    def written_to(self, account: str, addresses: Iterable[str]) -> Mapping[str, datetime]: ...
    def answers_to(self, account: str, message_ids: Iterable[str]) -> Mapping[str, Answered]: ...


class Correspondence:
    """What one account's Sent mailbox tells. From any thread; one at a time reads it."""

    def __init__(
        self,
        account: str,
        store: Store | None,
        *,
        sent: Callable[[], str | None],
        stopping: Callable[[], bool],
    ) -> None:
        """`sent`: the name of the Sent mailbox. Without a journal that may be written, what is new is
        remembered while this lives."""
        self._account = account
        self._memory: Memory = store if store is not None and not store.read_only else _Notes(store)
        self._sent = sent
        self._stopping = stopping
        self._lock = threading.Lock()
        self._as_of = datetime.min.replace(tzinfo=UTC)

    def learn(
        self,
        mailbox: Mailbox,
        fact: Fact,
        messages: Mapping[int, Message],
        identities: Mapping[int, Identity],
        *,
        patient: bool,
    ) -> Mapping[int, Any]:
        """WRITTEN_TO or ANSWER of these messages. Raises TransientError if the connection is lost."""
        problem = self._catch_up(mailbox.connection, max(m.fetched_at for m in messages.values()))
        if problem is not None:
            return dict.fromkeys(messages, problem)
        if fact == WRITTEN_TO:
            asked = {uid: senders(message) for uid, message in messages.items()}
            known = self._memory.written_to(self._account, {a for those in asked.values() for a in those})
            return {uid: {a: known[clean(a)] for a in asked[uid] if clean(a) in known} for uid in messages}
        ids = {uid: own_message_id(message.header("message-id")) for uid, message in messages.items()}
        answers = self._memory.answers_to(self._account, filter(None, ids.values()))
        return {uid: _answer(answers.get(clean(ids[uid]))) for uid in messages}

    def _catch_up(self, connection: Connection, needed: datetime) -> Unavailable | None:
        """Read what is new in Sent, unless that was done after `needed`. Gives why it can't be read."""
        with connection.lane.left():
            self._lock.acquire()
        try:
            now = clock.now()
            if needed <= self._as_of <= now:  # or somebody has set the clock back
                return None
            name = self._sent() or connection.special_use().get("\\Sent")
            if name is None:
                return Unavailable(
                    f"account '{self._account}' has no Sent mailbox that the server names. Say which it is: "
                    "special_use: {sent: NAME} in the account"
                )
            self._read(connection, name)
            self._as_of = now
        except NoSuchMailbox as error:
            return Unavailable(f"{error} The Sent mailbox is `special_use: {{sent: …}}` of the account")
        except PermanentError as error:
            return Unavailable(f"the Sent mailbox can't be read: {error}")
        except TransientError as error:
            if not connection.alive or isinstance(error, StoreError) or self._stopping():
                raise
            return Unavailable(f"the Sent mailbox can't be read now: {error}", passing=True)
        finally:
            self._lock.release()
        return None

    def _read(self, connection: Connection, name: str) -> None:
        status = connection.status(name)
        known = self._memory.sent_read(self._account)
        high = known[2] if known is not None and known[:2] == (name, status.uidvalidity) else 0
        if status.uidnext is not None and status.uidnext <= high + 1:
            return
        sent = connection.select(name, read_only=True)
        if sent.uidvalidity != status.uidvalidity:
            high = 0
        uids = sent.uids(max(1, high + 1 - OVERLAP))
        if len(uids) > WINDOW:
            log.info(
                "%s: learning to whom was written, from %d messages in %s", self._account, len(uids), name
            )
        # All below UIDNEXT have been looked at, also those that are gone.
        end = max((sent.uidnext or 1) - 1, uids[-1] if uids else 0)
        for start in range(0, max(len(uids), 1), WINDOW):
            if self._stopping():
                raise TransientError("mailrules stops")
            window = uids[start : start + WINDOW]
            with connection.lane.work(len(window)):
                to, answers = _learned(sent.fetch(window, _READ, body_limit=0).values())
            last = start + WINDOW >= len(uids)
            self._memory.remember_sent(
                self._account,
                mailbox=name,
                uidvalidity=sent.uidvalidity,
                high_uid=end if last else window[-1],
                to=to,
                answers=answers,
            )


def _answer(known: Answered | None) -> Answer | None:
    return None if known is None else Answer(known.at, known.answer)


def _learned(mails: Iterable[Mapping[Fact, Any]]) -> tuple[list[SentTo], list[Answered]]:
    """What these messages tell: to whom they went, and which Message-IDs they name."""
    to: dict[str, datetime] = {}
    answers: dict[str, Answered] = {}
    for facts in mails:
        at = facts.get(INTERNALDATE)
        if not isinstance(at, datetime):
            at = clock.now()  # a date that can't be read must not cost the rest
        for address in _addresses(facts):
            if address not in to or to[address] < at:
                to[address] = at
        own = own_message_id(_raw(facts, _MESSAGE_ID))
        for message_id in (i for fact in _REFERENCES for i in message_ids(_raw(facts, fact))):
            if message_id not in answers or answers[message_id].at < at:
                answers[message_id] = Answered(message_id, at, own)
    return [SentTo(address, at) for address, at in to.items()], list(answers.values())


def _addresses(facts: Mapping[Fact, Any]) -> Iterator[str]:
    for fact in _RECIPIENTS:
        for address in addresses(_raw(facts, fact)):
            if address.domain:
                yield Address(address).key


def _raw(facts: Mapping[Fact, Any], fact: Fact) -> tuple[bytes, ...]:
    value = facts.get(fact)
    return value if isinstance(value, tuple) and not isinstance(value, Unavailable) else ()


class _Notes:
    """Beside a journal that may not be written, or without one: remembered for as long as this lives."""

    def __init__(self, store: Store | None) -> None:
        self._store = store
        self._read: tuple[str, int, int] | None = None
        self._to: dict[str, datetime] = {}
        self._answers: dict[str, Answered] = {}

    def sent_read(self, account: str) -> tuple[str, int, int] | None:
        if self._read is not None or self._store is None:
            return self._read
        return self._store.sent_read(account)

    def remember_sent(
        self,
        account: str,
        *,
        mailbox: str,
        uidvalidity: int,
        high_uid: int,
        to: Sequence[SentTo],
        answers: Sequence[Answered],
    ) -> None:
        self._read = (mailbox, uidvalidity, high_uid)
        for one in to:
            address = clean(one.address)
            self._to[address] = max(one.at, self._to.get(address, one.at))
        for answer in answers:
            message_id = clean(answer.message_id)
            old = self._answers.get(message_id)
            if old is None or old.at < answer.at:
                self._answers[message_id] = answer

    def written_to(self, account: str, addresses: Iterable[str]) -> Mapping[str, datetime]:
        wanted = {clean(address) for address in addresses}
        found = dict(self._store.written_to(account, wanted)) if self._store is not None else {}
        for address in wanted & self._to.keys():
            found[address] = max(self._to[address], found.get(address, self._to[address]))
        return found

    def answers_to(self, account: str, message_ids: Iterable[str]) -> Mapping[str, Answered]:
        wanted = {clean(message_id) for message_id in message_ids}
        found = dict(self._store.answers_to(account, wanted)) if self._store is not None else {}
        for message_id in wanted & self._answers.keys():
            found[message_id] = self._answers[message_id]
        return found
