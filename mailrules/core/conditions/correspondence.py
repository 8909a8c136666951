"""Conditions on what we wrote, as the Sent mailbox tells: replied_to, unanswered_for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal, Self

from mailrules.core.conditions.base import Condition, ParseContext
from mailrules.core.conditions.date import rfc3339
from mailrules.core.conditions.reading import as_written, read_bool, read_duration
from mailrules.core.conditions.views import mailboxes
from mailrules.core.errors import Path, Report
from mailrules.core.message import ANSWER, INTERNALDATE, WRITTEN_TO, Answer, Fact, Message, header_fact
from mailrules.core.message_ids import own_message_id
from mailrules.core.search import Key, Search

FROM = header_fact("from")
MESSAGE_ID = header_fact("message-id")


def senders(message: Message) -> tuple[str, ...]:
    """The addresses in From, as they are remembered: case-folded, each once."""
    return tuple(dict.fromkeys(box.key for box in mailboxes(message, ("from",)) if box.domain))


class RepliedTo(Condition):
    """Someone of this account has written to the sender before: an address in From stands in To, Cc or Bcc
    of a message in the Sent mailbox.

    ```yaml
    when: {replied_to: false, is_bulk: false}
    ```
    `false`: nobody has, as far as the Sent mailbox tells. That mailbox is the one that the server marks
    `\\Sent`, or `special_use: {sent: …}` of the account; where there is none, it can't be judged. It is
    read when a rule first asks, which takes some seconds if it is large, and after that only what is
    new. What was learned is kept, also when the mail is deleted. In `explain FILE` it can't be judged.
    """

    key: ClassVar[str] = "replied_to"
    cost: ClassVar[Literal["header", "server", "body", "script"]] = "server"
    wanted: bool

    def matches(self, message: Message) -> bool:
        return bool(senders(message) and message.get(WRITTEN_TO)) is self.wanted

    def value(self, message: Message) -> Any:
        those = senders(message)
        if not those:
            return None
        written: Mapping[str, datetime] = message.get(WRITTEN_TO)
        return {who: rfc3339(written[who]) if who in written else None for who in those}

    def facts(self) -> frozenset[Fact]:
        return frozenset([FROM, WRITTEN_TO])

    def argument(self) -> Any:
        return self.wanted

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ParseContext) -> Self | None:
        wanted = read_bool(value, path, report, what=cls.key)
        return None if wanted is None else cls(wanted=wanted)


class UnansweredFor(Condition):
    """It arrived (INTERNALDATE) that long ago, or longer, and no message in the Sent mailbox names it in
    References or In-Reply-To. For rules with a `schedule`: new mail is never old.

    ```yaml
    when: {to: help@example.org, unanswered_for: 4h}
    schedule: {every: 15m}
    then: [flag: flagged]
    ```
    An answer to a later message of the same thread counts, too, as mail programs name the whole thread.
    Which mailbox is Sent, and how it is read: see `replied_to`. A message without Message-ID can't be named,
    so it stays unanswered. In `explain FILE` it can't be judged, unless it is not that old.
    """

    key: ClassVar[str] = "unanswered_for"
    cost: ClassVar[Literal["header", "server", "body", "script"]] = "server"
    age: timedelta
    written: Any = None

    def matches(self, message: Message) -> bool:
        if message.fetched_at - message.internaldate < self.age:
            return False
        return not own_message_id(message.header("message-id")) or message.get(ANSWER) is None

    def value(self, message: Message) -> Any:
        told: dict[str, Any] = {"received": rfc3339(message.internaldate)}
        if own_message_id(message.header("message-id")) and message.has(ANSWER):
            answer: Answer | None = message.get(ANSWER)
            told["answered"] = None if answer is None else rfc3339(answer.sent)
            if answer is not None and answer.message_id:
                told["by"] = answer.message_id
        return told

    def facts(self) -> frozenset[Fact]:
        return frozenset([INTERNALDATE, MESSAGE_ID, ANSWER])

    def search(self) -> Search:
        return Key("OLDER", (int(self.age.total_seconds()),))

    def argument(self) -> Any:
        return self.written

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ParseContext) -> Self | None:
        age = read_duration(value, path, report, what=cls.key)
        return None if age is None else cls(age=age, written=as_written(value))
