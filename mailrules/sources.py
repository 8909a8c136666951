"""Where the facts come from that no server tells of a message by itself: one place for each account."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import timedelta
from fnmatch import fnmatchcase

from mailrules.adapters.store import Store
from mailrules.asking import Asking
from mailrules.config import Config
from mailrules.core.conditions.logic import every
from mailrules.core.conditions.memory import Duplicate
from mailrules.correspondence import Correspondence
from mailrules.errands import Errands
from mailrules.judging import Source
from mailrules.sightings import Witness


class Sources:
    """Made when they are first asked for, and anew for another configuration."""

    def __init__(self, store: Store | None, errands: Errands, stopping: threading.Event) -> None:
        self._store = store
        self._errands = errands
        self._stopping = stopping
        self._lock = threading.Lock()
        self._config: Config | None = None
        self._sent: dict[str, str | None] = {}
        self._witnesses: dict[str, Witness | None] = {}
        self._letters: dict[str, Correspondence] = {}

    def of(
        self, account: str, config: Config, special_use: Mapping[str, str]
    ) -> tuple[Mapping[str, Source], Witness | None]:
        """What tells facts of an account's messages, by kind of fact; and who remembers them, if a rule
        asks for that."""
        with self._lock:
            if config is not self._config:
                self._config = config
                self._witnesses.clear()
            self._sent[account] = special_use.get("\\Sent")
            if account not in self._witnesses:
                keep = longest_memory(config, account)
                self._witnesses[account] = None if keep is None else Witness(account, self._store, keep=keep)
            if account not in self._letters:
                self._letters[account] = Correspondence(
                    account,
                    self._store,
                    sent=lambda: self._sent.get(account),
                    stopping=self._stopping.is_set,
                )
            letters, witness = self._letters[account], self._witnesses[account]
        sources: dict[str, Source] = {
            "written_to": letters,
            "answer": letters,
            "script": Asking(account, self._errands, self._stopping),
        }
        if witness is not None:
            sources["sightings"] = witness
        return sources, witness


def longest_memory(config: Config, account: str) -> timedelta | None:
    """How long Message-IDs of an account are asked for; None: no rule asks."""
    return max(
        (
            condition.within
            for rule in config.rules
            if rule.enabled
            and (rule.accounts is None or any(fnmatchcase(account, name) for name in rule.accounts))
            for condition in every(rule.when)
            if isinstance(condition, Duplicate)
        ),
        default=None,
    )
