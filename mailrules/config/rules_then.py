"""The rules as they were: the whole ordered set in force, kept by content hash, and read again.

Kept is what rules need to mean the same again: the rules in their order, the lists they use, the time zone.
Not the accounts, which have secrets: those of today stand in.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from mailrules.config import Config
from mailrules.config.rules import Rules, list_names
from mailrules.config.yaml_nodes import dump
from mailrules.config.yaml_source import compose
from mailrules.core.conditions.base import ParseContext
from mailrules.core.errors import Report
from mailrules.core.rule import Rule

LONGEST_LIST = 1_000_000
"""Characters of a list that is kept; of a longer one, today's stands in."""


def kept(config: Config) -> str:
    """The rules of a configuration as one text that `rules_of` reads; "" if it was not read from a file."""
    rules = config.rules_as_written
    if rules is None:
        return ""
    used = {
        name: list(config.lists[name])
        for name in sorted(set(list_names(rules)))
        if name in config.lists and sum(map(len, config.lists[name])) <= LONGEST_LIST
    }
    return dump({"timezone": config.settings.timezone_name, "lists": used, "rules": rules})


def rules_of(text: str, config: Config) -> tuple[Rule, ...]:
    """The rules that a text of `kept` says, with the accounts of today. What can't be read any more is
    left out."""
    document = compose(text, "the rules as they were", directory=config.path.parent)
    data: Any = document.data
    if not isinstance(data, dict):
        return ()
    kept_lists: Mapping[str, Any] = data.get("lists") or {}
    lists = {**config.lists, **{name: tuple(map(str, values)) for name, values in kept_lists.items()}}
    reader = Rules(
        document,
        Report(),
        accounts=config.accounts,
        declared=frozenset(config.accounts),
        lists=lists,
        conditions=ParseContext(lists=lists, timezone=_zone(data.get("timezone"), config)),
    )
    return reader.read(data.get("rules") or [])


def _zone(name: Any, config: Config) -> tzinfo | None:
    try:
        return ZoneInfo(str(name))
    except (ValueError, OSError, ZoneInfoNotFoundError):
        return config.settings.timezone
