"""Conditions on what was seen before: duplicate."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar, Self

from mailrules.core.conditions.base import Condition, ParseContext
from mailrules.core.conditions.date import rfc3339
from mailrules.core.conditions.reading import as_written, read_duration
from mailrules.core.errors import Path, Report
from mailrules.core.message import SIGHTINGS, Fact, Message, Sightings, header_fact
from mailrules.core.message_ids import own_message_id

MESSAGE_ID = header_fact("message-id")


class Duplicate(Condition):
    """Another message with the same Message-ID was seen in this account before this one, within that time.

    ```yaml
    when:
      duplicate: 7d
    ```
    In any mailbox of the account that mailrules judges, and by mailrules: it remembers Message-IDs from the
    day on that a rule asks for them, for as long as the longest `duplicate` says. The first of them is no
    duplicate, nor is a copy of the message itself, whoever made it, where the server tells that it is one
    (most do). A message without Message-ID is none either. In `explain FILE` it can't be judged.
    """

    key: ClassVar[str] = "duplicate"
    within: timedelta
    written: Any = None

    def matches(self, message: Message) -> bool:
        if not own_message_id(message.header("message-id")):
            return False
        found: Sightings = message.get(SIGHTINGS)
        return found.earlier is not None and found.seen - found.earlier.seen <= self.within

    def value(self, message: Message) -> Any:
        message_id = own_message_id(message.header("message-id"))
        if not message_id:
            return None
        earlier = message.get(SIGHTINGS).earlier
        told = None
        if earlier is not None:
            told = {"mailbox": earlier.mailbox, "uid": earlier.uid, "seen": rfc3339(earlier.seen)}
        return {"message_id": message_id, "earlier": told}

    def facts(self) -> frozenset[Fact]:
        return frozenset([MESSAGE_ID, SIGHTINGS])

    def argument(self) -> Any:
        return self.written

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ParseContext) -> Self | None:
        within = read_duration(value, path, report, what=cls.key)
        return None if within is None else cls(within=within, written=as_written(value))
