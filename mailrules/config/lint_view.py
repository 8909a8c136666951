"""A rule as lint looks at it: its terms, its scope, what it does for certain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from mailrules.config.accounts import Account
from mailrules.core import implication
from mailrules.core.actions.base import Action
from mailrules.core.actions.flags import Flag, Mark, Unflag
from mailrules.core.conditions.base import Condition
from mailrules.core.conditions.flags import Seen
from mailrules.core.errors import Path
from mailrules.core.implication import Clash, Is, Literal, Term
from mailrules.core.rule import Rule, account_named
from mailrules.core.template import Template

_CERTAIN = frozenset({"received", "now", "account", "rule", "mailbox"})
"""What a template may read and never fail at."""
_NO_FLAGS = frozenset({
    "move", "copy", "archive", "trash", "junk", "delete", "forward", "redirect", "reply", "log",
    "keep", "save", "webhook",
})  # fmt: skip
"""Actions that leave flags and labels as they are."""


@dataclass(frozen=True)
class View:
    """One enabled rule. `index`: its place under `rules`; `data`: what stands there."""

    rule: Rule
    index: int
    data: Mapping[str, Any]
    accounts: tuple[Account, ...]
    """Those that it is for."""

    @classmethod
    def of(cls, rule: Rule, index: int, data: Mapping[str, Any], accounts: Mapping[str, Account]) -> View:
        concerned = tuple(
            account for account in accounts.values() if account_named(rule.accounts, account.name)
        )
        return cls(rule, index, data, concerned)

    @property
    def path(self) -> Path:
        return ("rules", self.index)

    def place(self, key: str | None, *, under: str = "when") -> Path:
        """The path of a condition's key in the file, else of `under`."""
        for top in (under, "unless"):
            found = _find(self.data.get(top), key, (*self.path, top)) if key else None
            if found is not None:
                return found
        return (*self.path, under) if under in self.data else self.path

    @cached_property
    def terms(self) -> tuple[Term, ...] | None:
        return implication.terms(self.rule.when)

    @cached_property
    def never(self) -> tuple[Clash, ...] | None:
        return implication.never(self.terms)

    @cached_property
    def live(self) -> tuple[Term, ...]:
        """The terms that may be true; () also where there are too many."""
        return tuple(term for term in self.terms or () if implication.clash_in(term) is None)

    @cached_property
    def certain(self) -> bool:
        """Whether nothing that it does can fail to be filled in."""
        return all(
            template.literal or (not template.tainted and template.used.names <= _CERTAIN)
            for action in self.rule.then
            for template in templates(action)
        )

    @cached_property
    def stops(self) -> bool:
        """Whether no later rule sees a message that it matched."""
        return self._acts and self.rule.stop

    @cached_property
    def takes(self) -> bool:
        """Whether it takes each message that it matches out of the mailbox."""
        return self._acts and self.rule.leaves and self.certain

    @property
    def _acts(self) -> bool:
        rule = self.rule
        return rule.schedule is None and not rule.dry_run and rule.on_return == "leave"

    @property
    def may_end(self) -> bool:
        """Whether a message that it matches may be seen by no later rule."""
        return (self.rule.stop or self.rule.leaves) and not self.rule.dry_run

    @cached_property
    def changes_flags(self) -> bool:
        return any(action.key not in _NO_FLAGS for action in self.rule.then)

    @cached_property
    def sets(self) -> dict[str, str]:
        """Flags that it surely sets, lower case -> as they are written."""
        return _flags(self.rule, setting=True)

    @cached_property
    def clears(self) -> dict[str, str]:
        return _flags(self.rule, setting=False)

    def covers(self, other: View) -> bool:
        """Whether it is for every account and mailbox that `other` is for."""
        for name in ("accounts", "mailboxes"):
            outer, inner = getattr(self.rule, name), getattr(other.rule, name)
            if outer is not None and (inner is None or not set(inner) <= set(outer)):
                return False
        return True

    def looks_at(self, mailbox: str) -> bool:
        names = self.rule.mailboxes
        return names is None or any(fnmatchcase(mailbox, name) for name in names)

    def watched(self, mailbox: str) -> tuple[Account, ...]:
        """Its accounts that watch this mailbox, where it looks at new mail in it."""
        if self.rule.schedule is not None or not self.looks_at(mailbox):
            return ()
        return tuple(
            account
            for account in self.accounts
            if any(fnmatchcase(mailbox, name) for name in account.mailboxes)
        )

    def after(self, term: Term) -> Term:
        """What is still known of a message that it matched by this term, once it has set its flags."""
        if not self.changes_flags:
            return term
        return (*(literal for literal in term if not literal.of_flags), *self._done)

    @cached_property
    def _done(self) -> Term:
        """What is known of flags once it has set them."""
        return tuple(
            Literal(
                Is(name) if name.startswith("\\") else implication.keyword_is(name),
                true,
                _FLAGS,
                of_flags=True,
            )
            for flags, true in ((self.sets, True), (self.clears, False))
            for name in flags
        )

    def targets(self, *keys: str) -> Iterator[tuple[Action, str]]:
        """The mailboxes that it moves or copies to, where they are written out."""
        for action in self.rule.then:
            mailbox = getattr(action, "mailbox", None)
            if action.key in keys and isinstance(mailbox, Template) and mailbox.literal:
                name = mailbox.source
                yield action, "INBOX" if name.upper() == "INBOX" else name

    def recipients(self) -> Iterator[tuple[Action, str]]:
        """The addresses that it forwards or redirects to, case-folded, where they are written out."""
        for action in self.rule.then:
            to = getattr(action, "to", None)
            if action.key in ("forward", "redirect") and isinstance(to, tuple):
                for template in to:
                    if template.literal:
                        yield action, template.source.strip().casefold()


_FLAGS: Condition = Seen(wanted=True)
"""Stands for what an action did, where a literal names the condition it came from."""


def templates(action: Action) -> Iterator[Template]:
    """Every template of an action."""
    for name in type(action).model_fields:
        yield from _templates_in(getattr(action, name))


def _templates_in(value: Any) -> Iterator[Template]:
    if isinstance(value, Template):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _templates_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _templates_in(item)


def _flags(rule: Rule, *, setting: bool) -> dict[str, str]:
    """The flags that it sets, or clears; nothing where a template decides."""
    found = {}
    for action in rule.then:
        if "*" in action.changes():
            return {}
        if isinstance(action, Flag | Unflag | Mark):
            sets = bool(action.change_flags(frozenset(), {"flags": ["x"]}))
            if sets is setting:
                found.update({flag.source.lower(): flag.source for flag in action.flags})
    return found


def _find(data: Any, key: str | None, path: Path) -> Path | None:
    """The path of the first such key, depth first."""
    if isinstance(data, dict):
        if key in data:
            return (*path, str(key))
        for name, value in data.items():
            found = _find(value, key, (*path, name))
            if found is not None:
                return found
    elif isinstance(data, list):
        for place, item in enumerate(data):
            found = _find(item, key, (*path, place))
            if found is not None:
                return found
    return None
