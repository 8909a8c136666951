"""What is left to do for a rule that looks at the same mail again and again. Pure.

A scheduled rule meets the messages it has been at before. What would change nothing is not planned: a flag
that is set, a copy that was made. What takes the message away is planned as long as the message is there.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable

from mailrules.core.actions.base import PlannedEffect
from mailrules.core.rule import Rule
from mailrules.core.search import Search, all_of, any_of

Done = tuple[str, str]
"""What was done to a message before: its action, and the target or the arguments as sorted JSON."""

_ONCE_EACH = frozenset({"log", "keep", "assign"})
"""Said once; and who has a message keeps it."""


def worth_looking(rule: Rule) -> Search:
    """Selects at least every message that the rule matches and has something left to do to."""
    return all_of([rule.when.search(), any_of([action.undone() for action in rule.then])])


def asks_memory(effects: Iterable[PlannedEffect]) -> bool:
    """Whether `left_to_do` needs to know what was done before."""
    return any(not e.leaves and e.action not in ("flag", "unflag") for e in effects)


def left_to_do(
    effects: Iterable[PlannedEffect],
    rule: str,
    *,
    mailbox: str,
    flags: frozenset[str],
    done: Collection[Done],
) -> tuple[PlannedEffect, ...]:
    """Those of the effects of a scheduled rule that change something.

    `mailbox` is where the message is, `flags` are its own, `done` is what the rule did to it before.
    Rules that only protect say nothing here. What could not be rendered or judged stays: it is told.
    """
    have = {flag.lower() for flag in flags}
    kinds = {action for action, _ in done}
    left = []
    for effect in effects:
        if effect.rule != rule:
            continue
        if effect.state in ("planned", "held", "would"):
            if effect.leaves:
                if effect.arguments.get("mailbox") == mailbox:  # a glob names where it moves things, too
                    continue
            elif effect.action in ("flag", "unflag"):
                named = {flag.lower() for flag in effect.arguments["flags"]}
                if named <= have if effect.action == "flag" else not named & have:
                    continue
            elif effect.action in _ONCE_EACH:
                if effect.action in kinds:
                    continue
            elif (effect.action, _what(effect)) in done:
                continue
        left.append(effect)
    return tuple(left)


def _what(effect: PlannedEffect) -> str:
    return effect.target if effect.once else json.dumps(dict(effect.arguments), sort_keys=True)
