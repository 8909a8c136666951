"""A rule: when its condition holds, its actions are done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

from mailrules.core.actions.base import Action
from mailrules.core.conditions.base import Condition
from mailrules.core.message import Fact
from mailrules.core.values import parse_duration


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a scheduled rule runs: exactly one of `every` (seconds) and `cron` (five fields)."""

    every: float | None = None
    cron: str | None = None

    @property
    def text(self) -> str:
        """As the journal keeps it, and as people are told: `every 90s`, `cron 0 3 * * mon`."""
        return f"cron {self.cron}" if self.every is None else f"every {_span(self.every)}"

    @classmethod
    def of(cls, text: str) -> Schedule:
        """What `text` gave."""
        kind, _, value = text.partition(" ")
        return cls(cron=value) if kind == "cron" else cls(every=parse_duration(value).total_seconds())


def _span(seconds: float) -> str:
    """In the largest unit that it is a whole number of."""
    units = (("w", 604800), ("d", 86400), ("h", 3600), ("m", 60))
    for unit, length in units:
        if not seconds % length:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"


@dataclass(frozen=True, slots=True)
class Limits:
    """Brakes: how many messages a rule may act on."""

    per_run: int | None = None
    per_hour: int | None = None

    @property
    def any(self) -> bool:
        return self.per_run is not None or self.per_hour is not None


@dataclass(frozen=True)
class Rule:
    """One rule as the file says it. `when` includes `unless` (as `not`).

    `accounts` and `mailboxes` are names or globs; None means all (all watched ones).
    `text` is the rule's YAML, `revision` its content hash: what was in force is kept by it.
    """

    name: str
    when: Condition
    then: tuple[Action, ...] = ()
    accounts: tuple[str, ...] | None = None
    mailboxes: tuple[str, ...] | None = None
    stop: bool = False
    enabled: bool = True
    dry_run: bool = False
    schedule: Schedule | None = None
    on_new: bool = False
    limits: Limits = field(default_factory=Limits)
    on_unknown: Literal["hold", "retry"] = "hold"
    on_return: Literal["leave", "apply"] = "leave"
    text: str = ""
    revision: str = ""
    source: Mapping[str, int | str] = field(default_factory=dict)  # file, line, column

    @property
    def leaves(self) -> bool:
        """Whether one of its actions takes the message out of its mailbox."""
        return any(action.leaves for action in self.then)

    def facts(self) -> frozenset[Fact]:
        """Every fact that its condition and its templates may read."""
        return self.when.facts().union(*(action.facts() for action in self.then))


def account_named(patterns: tuple[str, ...] | None, account: str) -> bool:
    """Whether a rule's `accounts` name this one. First as they are: a glob is compiled, and kept for good,
    so thousands of names must not be taken for globs."""
    if patterns is None or account in patterns:
        return True
    return any(is_glob(pattern) and fnmatchcase(account, pattern) for pattern in patterns)


def is_glob(name: str) -> bool:
    """Whether a name stands for those that match it."""
    return "*" in name or "?" in name or "[" in name
