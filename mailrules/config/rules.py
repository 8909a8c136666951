"""`rules`: everything about a rule but what its conditions and actions mean; they parse themselves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, cast

from mailrules.config.accounts import Account, check_mailbox
from mailrules.config.reader import Section, suggest
from mailrules.config.schedule import read_schedule
from mailrules.config.yaml_nodes import Document
from mailrules.core.actions import parse_then
from mailrules.core.actions.base import Action, ActionContext
from mailrules.core.conditions import parse_when
from mailrules.core.conditions.base import Condition, ParseContext
from mailrules.core.conditions.logic import All, Not
from mailrules.core.errors import Path, Report
from mailrules.core.rule import Limits, Rule, account_named

RULE_KEYS = (
    "name", "accounts", "mailboxes", "when", "unless", "then", "stop", "enabled", "dry_run", "schedule",
    "on_new", "limits", "on_unknown", "on_return",
)  # fmt: skip
_LONGEST_NAME = 100


class Rules:
    """Reads the rules of one document."""

    def __init__(
        self,
        document: Document,
        report: Report,
        *,
        accounts: Mapping[str, Account],
        declared: frozenset[str],
        lists: Mapping[str, tuple[str, ...]],
        conditions: ParseContext,
    ) -> None:
        """`declared`: the accounts' names, also of those that are wrong and not in `accounts`."""
        self._document = document
        self._report = report
        self._accounts = accounts
        self._declared = declared
        self._lists = lists
        self._conditions = conditions
        self._names: dict[str, Path] = {}

    def read(self, data: list[Any]) -> tuple[Rule, ...]:
        rules = []
        for index, value in enumerate(data):
            rule = self._rule(value, ("rules", index))
            if rule is not None:
                rules.append(rule)
        return tuple(rules)

    def _rule(self, data: Any, path: Path) -> Rule | None:
        section = Section(data, path=path, report=self._report, known=RULE_KEYS, what="a rule")
        if not isinstance(data, dict):
            if data is None:
                section.missing("this rule is empty. Write name, when and then.")
            return None
        name = self._name(section)
        accounts = self._account_names(section)
        concerned = self._concerned(accounts)
        mailboxes = self._mailbox_names(section)
        when = self._condition(section)
        then = self._actions(section, when, concerned)
        stop = section.boolean("stop", False)
        idle = section.lacks("stop") or str(data.get("stop")).lower() == "false"
        if section.lacks("then") and idle:
            section.missing("this rule does nothing: it has no 'then'. Write what to do, or stop: true.")
        schedule, on_new = read_schedule(data.get("schedule"), (*path, "schedule"), self._report)
        if "on_new" in section and "schedule" not in section:
            section.error(
                "on_new", "on_new is for rules with a schedule. Remove it: rules see new mail anyway."
            )
        if schedule is None:
            self._warn_unwatched(section, mailboxes, concerned)
        limits = Section(
            section.mapping("limits"),
            path=(*path, "limits"),
            report=self._report,
            known=("per_run", "per_hour"),
            what="limits",
        )
        place = self._document.position(path)
        rule = Rule(
            name=name or "",
            when=cast(Any, when),
            then=then,
            accounts=accounts,
            mailboxes=mailboxes,
            stop=stop,
            enabled=section.boolean("enabled", True),
            dry_run=section.boolean("dry_run", False),
            schedule=schedule,
            on_new=section.boolean("on_new", on_new),
            limits=Limits(
                per_run=limits.integer("per_run", None, low=1, high=1_000_000_000),
                per_hour=limits.integer("per_hour", None, low=1, high=1_000_000_000),
            ),
            on_unknown=cast(Any, section.choice("on_unknown", ("hold", "retry"), "hold")),
            on_return=cast(Any, section.choice("on_return", ("leave", "apply"), "leave")),
            text=self._document.text_of(path),
            revision=self._revision(data),
            source={"file": place.file, "line": place.line, "column": place.column},
        )
        return rule if name is not None and when is not None else None

    def _name(self, section: Section) -> str | None:
        name = section.text("name")
        if name is None:
            if section.lacks("name"):
                section.missing("this rule has no 'name'. Write '- name: …': the log knows it by that.")
            return None
        if len(name) > _LONGEST_NAME:
            section.error("name", f"the name is longer than {_LONGEST_NAME} characters. Shorten it.")
        if name.startswith("-"):
            section.error(
                "name", "a rule's name does not begin with '-': commands take it for an option. Rename it."
            )
        first = self._names.setdefault(name, section.path)
        if first != section.path:
            place = self._document.position((*first, "name"))
            section.error("name", f"the name '{name}' is taken by the rule at {place}. Rename one of them.")
        return name

    def _account_names(self, section: Section) -> tuple[str, ...] | None:
        names = section.texts("accounts")
        for index, name in enumerate(names or ()):
            where = (*section.path, "accounts", index)
            if any(c in name for c in "*?["):
                if not any(fnmatchcase(known, name) for known in self._declared):
                    self._report.warning(where, f"no account matches '{name}': the rule never runs there.")
            elif name not in self._declared:
                hint = suggest(name, sorted(self._declared), what="Accounts")
                self._report.error(where, f"unknown account '{name}'. {hint or 'There are no accounts.'}")
        return names

    def _concerned(self, names: tuple[str, ...] | None) -> list[Account]:
        """The accounts that the rule is for."""
        return [account for account in self._accounts.values() if account_named(names, account.name)]

    def _mailbox_names(self, section: Section) -> tuple[str, ...] | None:
        names = section.texts("mailboxes")
        if names is None:
            return None
        for index, name in enumerate(names):
            check_mailbox(name, (*section.path, "mailboxes", index), self._report, globs=True)
        return tuple("INBOX" if name.upper() == "INBOX" else name for name in names)

    def _warn_unwatched(
        self, section: Section, mailboxes: tuple[str, ...] | None, accounts: list[Account]
    ) -> None:
        if not accounts:
            return
        for index, name in enumerate(mailboxes or ()):
            watched = [box for account in accounts for box in account.mailboxes]
            if not any(_may_meet(name, box) for box in watched):
                message = (
                    f"no account of this rule watches '{name}': the rule never runs on new mail there. "
                    "Add it to the account's mailboxes."
                )
                self._report.warning((*section.path, "mailboxes", index), message)

    def _condition(self, section: Section) -> Condition | None:
        data, path = section.data, section.path
        if "when" not in data:
            if section.lacks("when"):
                section.missing(
                    "this rule has no 'when'. Write conditions, or when: always for every message."
                )
            if "unless" not in data:
                return None
        when = unless = None
        if "when" in data:
            when = self._parse_when(data["when"], (*path, "when"), data.get("name"))
        if "unless" in data:
            unless = self._parse_when(data["unless"], (*path, "unless"), data.get("name"))
            if when is None or unless is None:
                return None
            return All(conditions=(when, Not(condition=unless)), implicit=True)
        return when

    def _parse_when(self, data: Any, path: Path, rule: Any) -> Condition | None:
        node = self._document.node(path)
        context = replace(
            self._conditions,
            rule=str(rule),
            base_dir=str(node.source.directory) if node is not None else ".",
        )
        return parse_when(data, path=path, report=self._report, context=context)

    def _actions(
        self, section: Section, when: Condition | None, concerned: list[Account]
    ) -> tuple[Action, ...]:
        data = section.data.get("then")
        if data is None:
            return ()
        path = (*section.path, "then")
        node = self._document.node(path)
        names = [frozenset(account.vars) for account in concerned]
        context = ActionContext(
            group_names=when.group_names() if when is not None else {},
            vars=frozenset.intersection(*names) if names else frozenset(),
            base_dir=str(node.source.directory) if node is not None else ".",
        )
        then = parse_then(data, path=path, report=self._report, context=context)
        self._need_smtp(data, path, {action.key for action in then if action.needs_smtp}, concerned)
        return then

    def _need_smtp(self, data: Any, path: Path, sending: set[str], concerned: list[Account]) -> None:
        without = [account.name for account in concerned if account.smtp is None]
        if not without or not sending:
            return
        for index, entry in enumerate(data):
            for key in sending.intersection(entry if isinstance(entry, dict) else [entry]):
                message = (
                    f"'{key}' needs a way to send, and there is no 'smtp' on: {', '.join(without)}. "
                    "Add smtp: {host: …} there, or say under 'accounts' whom the rule is for."
                )
                self._report.error((*path, index, key), message, at="key")

    def _revision(self, data: Mapping[str, Any]) -> str:
        """What the rule says and the contents of the lists it uses, hashed: comments change nothing."""
        used = {name: self._lists[name] for name in sorted(set(list_names(data))) if name in self._lists}
        content = json.dumps([data, used], ensure_ascii=False)
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def list_names(data: Any) -> Iterator[str]:
    """The lists that a rule's `in` names, as it stands in the file."""
    if isinstance(data, dict):
        for key, value in data.items():
            if key == "in":
                for name in value if isinstance(value, list) else [value]:
                    if isinstance(name, str):
                        yield name
            yield from list_names(value)
    elif isinstance(data, list):
        for item in data:
            yield from list_names(item)


def _may_meet(rule: str, watched: str) -> bool:
    """Whether a rule's mailbox (or glob) and a watched one (or glob) may name the same mailbox."""
    if any(c in watched for c in "*?") and any(c in rule for c in "*?"):
        return True
    return fnmatchcase(rule, watched) or fnmatchcase(watched, rule)
