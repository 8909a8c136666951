"""What is right in the file but can't be meant: warnings, each with what to do.

No false alarms: what can't be proven is not said. lint_rule.py looks at one rule,
lint_pairs.py at rules together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mailrules.config.accounts import Account
from mailrules.config.lint_pairs import Pairs
from mailrules.config.lint_rule import Alone
from mailrules.config.lint_view import View
from mailrules.config.rules import list_names
from mailrules.core.errors import Report
from mailrules.core.rule import Rule


def lint(
    rules: Sequence[Rule],
    data: Sequence[Any],
    accounts: Mapping[str, Account],
    report: Report,
    *,
    declared: bool,
    lists: Mapping[str, Any] | None = None,
    body_limit: int = 0,
) -> None:
    """Warn about rules that can't do what they say. `data` is the list under `rules`; rules know their
    place by name.

    `declared`: whether there are accounts, be they right or wrong. `lists`: the entries of each list.
    `body_limit`: `settings.body_limit`.
    """
    places = {str(item.get("name")): index for index, item in enumerate(data) if isinstance(item, dict)}
    views = [
        View.of(rule, places[rule.name], data[places[rule.name]], accounts)
        for rule in rules
        if rule.name in places and rule.enabled and rule.when is not None
    ]
    alone = Alone(accounts, report, lists=lists or {})
    for view in views:
        alone.look(view)
    Pairs(views, accounts, report).look()
    if not declared and rules:
        report.warning(("rules",), "there are no accounts: nothing is watched. Add accounts.", at="key")
    used = {name for item in data for name in list_names(item)}
    for name in lists or ():
        if name not in used:
            report.warning(
                ("lists", name), f"no rule uses the list '{name}'. Write in: {name} in one, or remove it.",
                at="key",
            )  # fmt: skip
    if body_limit > _LARGE and any(fact.kind == "body" for view in views for fact in view.rule.when.facts()):
        report.warning(
            ("settings", "body_limit"),
            "that much text of every message is fetched and searched where a rule looks at the body. "
            "1MB, the default, is enough for what people write.",
        )


_LARGE = 20_000_000
