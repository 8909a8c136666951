"""Two rule sets over one message: whether they treat it differently, and how (`plan --against`)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mailrules.core.decision import NOTHING, Decision, Deferred, Needs, Situation, decide
from mailrules.core.message import Message
from mailrules.core.rule import Rule
from mailrules.core.ruleset import RuleSet

Decide = Callable[[Sequence[Rule], Message, Situation], Decision | Needs | Deferred]


@dataclass(frozen=True, slots=True)
class Both(Decision):
    """The new rules' decision, with the `old` ones' beside it."""

    old: Decision = NOTHING

    @property
    def new(self) -> Decision:
        return Decision(self.outcomes, self.effects)

    @property
    def says_something(self) -> bool:
        """Whether the message would be treated differently."""
        return treatment(self) != treatment(self.old)


@dataclass(frozen=True, slots=True)
class DecideBoth:
    """Decides by two rule sets over the same facts, whatever rules it is called with.

    `trusted_authserv` is the old file's: another list sees another Authentication-Results.
    """

    new: RuleSet
    old: RuleSet
    old_situation: Situation
    trusted_authserv: tuple[str, ...] = ()
    decide: Decide = field(default=decide)

    def __call__(
        self, rules: Sequence[Rule], message: Message, situation: Situation
    ) -> Decision | Needs | Deferred:
        """Needs what either of them needs; what either can't judge now is deferred."""
        new = self.decide(self.new, message, situation)
        if isinstance(new, Deferred):
            return new
        before = message
        if self.trusted_authserv != message.trusted_authserv:
            before = Message(message.key, message.fetched_at, message.facts, self.trusted_authserv)
        old = self.decide(self.old, before, self.old_situation)
        if isinstance(old, Deferred):
            return old
        needs = frozenset[Any]().union(*(a.facts for a in (new, old) if isinstance(a, Needs)))
        if needs or isinstance(new, Needs) or isinstance(old, Needs):
            return Needs(needs)
        return Both(new.outcomes, new.effects, old)


def treatment(decision: Decision) -> tuple[tuple[str, ...], ...]:
    """What is done to the message, in order; what rules are called does not matter.

    But where something is done once per message and rule, another rule's name does it once more.
    """
    return tuple(
        (
            effect.action,
            json.dumps(effect.arguments, sort_keys=True, default=str),
            effect.state,
            effect.rule if effect.once else "",
        )
        for effect in decision.effects
    )
