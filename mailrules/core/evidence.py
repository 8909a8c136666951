"""Whether a message's flags, as far as rules read them, still say what they said."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from mailrules.core.conditions.base import Condition
from mailrules.core.conditions.logic import All, AnyOf, Not
from mailrules.core.errors import MailrulesError
from mailrules.core.message import FLAGS, Message, MessageKey, MissingFact, UnknownFact
from mailrules.core.rule import Rule

_NOWHERE = MessageKey("", "", 0, 0)
_WHENEVER = datetime(1970, 1, 1, tzinfo=UTC)


class FlagReading:
    """What rules read of flags: two sets of flags that read alike are judged alike."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._leaves = [
            leaf for rule in rules if rule.enabled for leaf in _leaves(rule.when) if FLAGS in leaf.facts()
        ]

    def alike(self, one: frozenset[str], other: frozenset[str]) -> bool:
        """Whether no condition tells these flags apart."""
        one, other = lasting(one), lasting(other)
        return one == other or self._read(one) == self._read(other)

    def _read(self, flags: frozenset[str]) -> list[object]:
        message = Message(_NOWHERE, _WHENEVER, {FLAGS: flags})
        return [_verdict(leaf, message) for leaf in self._leaves]


def lasting(flags: frozenset[str]) -> frozenset[str]:
    """Without \\Recent, which tells of the session and not of the message."""
    return frozenset(flag for flag in flags if flag.lower() != "\\recent")


def _verdict(leaf: Condition, message: Message) -> object:
    try:
        return leaf.matches(message)
    except (MissingFact, UnknownFact, MailrulesError):
        # It reads more than flags: then any change of a flag may be one to it.
        return frozenset(flag.lower() for flag in message.flags)


def _leaves(condition: Condition) -> Iterator[Condition]:
    if isinstance(condition, All | AnyOf):
        for part in condition.conditions:
            yield from _leaves(part)
    elif isinstance(condition, Not):
        yield from _leaves(condition.condition)
    else:
        yield condition
