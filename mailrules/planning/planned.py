"""What `plan` and `apply` are asked, and what they tell while they go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from mailrules.adapters.imap.identity import Identity
from mailrules.core.actions.base import PlannedEffect
from mailrules.core.decision import Decision, as_json
from mailrules.performing.leftover import Leftover

MOST_CREATED = 1000
"""New mailboxes that a summary counts one by one: mail may choose names, and must not choose our memory."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rules over which mail. None and () mean all."""

    rules: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    mailboxes: tuple[str, ...] = ()
    since: datetime | None = None
    scheduled: bool = False
    traced: bool = False  # every condition of every rule, for --json
    again: bool = False  # also what is done once a message only, and was done
    afresh: bool = False  # also what no rule matched when it was looked at before


@dataclass(frozen=True, slots=True)
class Planned:
    """One message that some rule matched, and its decision.

    `before`: effects that are not in the decision any more, for they were done, or wait, already.
    `returned`: it would leave, and was brought back before to where it is, by an undo or by a person.
    """

    account: str
    mailbox: str
    uidvalidity: int
    uid: int
    identity: Identity
    decision: Decision
    before: tuple[PlannedEffect, ...] = ()
    returned: bool = False

    @property
    def leaves(self) -> bool:
        """Whether the message would leave its mailbox now."""
        return any(effect.leaves and effect.state == "planned" for effect in self.decision.effects)

    def as_json(self) -> dict[str, Any]:
        return {
            "uid": self.uid,
            "account": self.account,
            "mailbox": self.mailbox,
            "message_id": self.identity.message_id,
            **as_json(self.decision),
            **({"returned": True} if self.returned else {}),
        }


@dataclass(slots=True)
class Summary:
    """What was looked at and what the rules would do, or did."""

    messages: int = 0
    matched: int = 0
    rules: Counter[str] = field(default_factory=Counter)
    effects: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    runs: list[int] = field(default_factory=list)  # of the run log, that did it
    deferred: int = 0
    braked: list[str] = field(default_factory=list)
    left: Leftover = field(default_factory=Leftover)  # of earlier runs, finished first
    created: Counter[tuple[str, str]] = field(default_factory=Counter)  # (account, mailbox) -> messages
    begun: int = 0  # messages that were recorded, or left out, by runs that act
    stopped: bool = False
    errors: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {
            "messages": self.messages,
            "matched": self.matched,
            "rules": dict(self.rules),
            "effects": dict(self.effects),
        }

    def count(self, planned: Planned, *, exists: Callable[[str], bool] = lambda name: True) -> None:
        """One more. `exists`: whether a mailbox of its account is there."""
        self.matched += 1
        self.rules.update(planned.decision.matched)
        for effect in planned.decision.effects:
            if effect.state not in ("planned", "held", "would"):
                continue
            self.effects[effect.action] += 1
            target = effect.arguments.get("mailbox")
            if isinstance(target, str) and target.upper() != "INBOX" and not exists(target):
                name = (planned.account, target)
                if name in self.created or len(self.created) < MOST_CREATED:
                    self.created[name] += 1

    def differ(self, compared: Compared) -> None:
        """One more that is treated differently: rules that match only here or there, effects likewise."""
        self.matched += 1
        self.rules.update(set(compared.old.matched) ^ set(compared.new.matched))
        old, new = (
            Counter(
                (e.action, repr(e.arguments)) for e in d.effects if e.state in ("planned", "held", "would")
            )
            for d in (compared.old, compared.new)
        )
        for (action, _), many in ((old - new) + (new - old)).items():
            self.effects[action] += many


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it has come, for the progress bar."""

    account: str
    mailbox: str
    done: int
    total: int
    phase: str = "judging"
    states: Mapping[str, int] = field(default_factory=dict)  # what became of effects, so far
    run: int | None = None  # of the run log, that acts


@dataclass(frozen=True, slots=True)
class Look:
    """How a mailbox is looked at, for -v: what SEARCH and FETCH are asked."""

    account: str
    mailbox: str
    words: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A message of a plan that was kept, with which nothing is done now, and why.

    `known`: because it is done already.
    """

    account: str
    mailbox: str
    uid: int
    message_id: str
    subject: str
    sender: str
    reason: str
    known: bool = False


@dataclass(frozen=True, slots=True)
class Compared:
    """One message that two rule sets would treat differently; both as `rules` and `actions`."""

    account: str
    mailbox: str
    uid: int
    identity: Identity
    old: Decision
    new: Decision

    def as_json(self) -> dict[str, Any]:
        return {
            "uid": self.uid,
            "account": self.account,
            "mailbox": self.mailbox,
            "message_id": self.identity.message_id,
            "old": as_json(self.old),
            "new": as_json(self.new),
        }


Event = Planned | Progress | Look | LeftOut | Compared
