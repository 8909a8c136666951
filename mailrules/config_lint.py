"""What is right in the file but can't be meant: warnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from mailrules.config_accounts import Account
from mailrules.core.conditions.correspondence import UnansweredFor
from mailrules.core.conditions.logic import every
from mailrules.core.errors import Report
from mailrules.core.rule import Rule


def lint(
    rules: Sequence[Rule],
    data: Sequence[Any],
    accounts: Mapping[str, Account],
    report: Report,
    *,
    declared: bool,
) -> None:
    """Warn about rules that can't run. `data` is the list under `rules`; rules know their place by name.

    `declared`: whether there are accounts, be they right or wrong.
    """
    places = {str(item.get("name")): index for index, item in enumerate(data) if isinstance(item, dict)}
    closed: list[tuple[Rule, frozenset[str]]] = []
    for rule in rules:
        index = places.get(rule.name)
        if index is None or not rule.enabled:
            continue
        _auth(rule, data[index], accounts, index, report)
        _never_old(rule, index, report)
        _not_yet(rule, index, report)
        before = next((first for first, why in closed if _covers(first, rule, why)), None)
        if before is not None:
            report.warning(
                ("rules", index),
                f"the rule '{rule.name}' is never reached: '{before.name}' takes every message before it. "
                "Move it up.",
            )
        always = data[index].get("when") == "always" and data[index].get("unless") is None
        if always and rule.schedule is None and not rule.dry_run and rule.on_return == "leave":
            ends = {"stop"} if rule.stop else set()
            if rule.leaves:
                ends.add("leaves")
            if ends:
                closed.append((rule, frozenset(ends)))
    if not declared and rules:
        report.warning(("rules",), "there are no accounts: nothing is watched. Add accounts.", at="key")


def _never_old(rule: Rule, index: int, report: Report) -> None:
    if rule.schedule is None and any(isinstance(c, UnansweredFor) for c in every(rule.when)):
        report.warning(
            ("rules", index),
            "'unanswered_for' is for rules with a schedule: new mail is never old, so on new mail this never "
            "holds. Add schedule: {every: 15m}.",
        )


def _auth(
    rule: Rule, data: Mapping[str, Any], accounts: Mapping[str, Account], index: int, report: Report
) -> None:
    if not (_has_key(data.get("when"), "auth") or _has_key(data.get("unless"), "auth")):
        return
    silent = [
        account.name
        for account in accounts.values()
        if not account.trusted_authserv
        and (rule.accounts is None or any(fnmatchcase(account.name, name) for name in rule.accounts))
    ]
    if silent:
        report.warning(
            ("rules", index),
            f"'auth' can't be judged on: {', '.join(silent)}. Add trusted_authserv there, "
            "or say under 'accounts' whom the rule is for.",
        )


def _not_yet(rule: Rule, index: int, report: Report) -> None:
    """What this version reads and does not do yet must not look as if it were done."""
    if rule.limits.per_run is not None or rule.limits.per_hour is not None:
        report.warning(
            ("rules", index, "limits"),
            "this version does not count limits yet: nothing stops the rule at them. "
            "Take them out, or set dry_run until it does.",
            at="key",
        )


def _has_key(data: Any, key: str) -> bool:
    if isinstance(data, dict):
        return key in data or any(_has_key(value, key) for value in data.values())
    return isinstance(data, list) and any(_has_key(item, key) for item in data)


def _covers(first: Rule, rule: Rule, ends: frozenset[str]) -> bool:
    """Whether `rule` sees only messages that `first` has stopped or taken."""
    if rule.schedule is not None and "stop" not in ends:
        return False  # scheduled rules look at earlier rules only for their `stop`
    if rule.on_return == "apply":
        return False
    for name in ("accounts", "mailboxes"):
        outer, inner = getattr(first, name), getattr(rule, name)
        if outer is not None and (inner is None or not set(inner) <= set(outer)):
            return False
    return True
