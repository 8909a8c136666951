"""Where the facts come from that no server tells of a message by itself: one place for each account."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase

from mailrules.adapters.imap.mailbox import Mailbox
from mailrules.adapters.store import Store
from mailrules.asking import Asking, Questions
from mailrules.config import Config
from mailrules.core.conditions.logic import every
from mailrules.core.conditions.memory import Duplicate
from mailrules.correspondence import Correspondence
from mailrules.errands import Errands
from mailrules.judging import Note, Source
from mailrules.sightings import Witness


@dataclass(frozen=True, slots=True)
class Ways:
    """What tells facts, by their kind; who is told of the messages first, and whether a rule of the account
    asks for that; and which messages of a mailbox can be judged now that were put off."""

    sources: Mapping[str, Source]
    note: Note
    noting: bool
    ready: Callable[[Mailbox], frozenset[int]]


class Sources:
    """Made when they are first asked for, and anew for another configuration."""

    def __init__(self, store: Store | None, errands: Errands, stopping: threading.Event) -> None:
        self._store = store
        self._errands = errands
        self._stopping = stopping
        self._lock = threading.Lock()
        self._config: Config | None = None
        self._sent: dict[str, str | None] = {}
        self._memories: dict[str, timedelta | None] = {}
        self._witnesses: dict[str, Witness] = {}
        self._letters: dict[str, Correspondence] = {}
        self._questions: dict[str, Questions] = {}

    def of(self, account: str, config: Config, special_use: Mapping[str, str]) -> Ways:
        """For judging messages of this account."""
        with self._lock:
            if config is not self._config:
                self._config = config
                self._memories.clear()
            self._sent[account] = special_use.get("\\Sent")
            if account not in self._witnesses:
                self._witnesses[account] = Witness(account, self._store)
            if account not in self._memories:
                self._memories[account] = longest_memory(config, account)
                self._witnesses[account].keep = self._memories[account]
            if account not in self._letters:
                self._letters[account] = Correspondence(
                    account,
                    self._store,
                    sent=lambda: self._sent.get(account),
                    stopping=self._stopping.is_set,
                )
            if account not in self._questions:
                # By way of `errands`: who is called when one ends is said later.
                self._questions[account] = Questions(
                    account, self._stopping, ended=lambda name: self._errands.left_alone(name)
                )
            letters, witness = self._letters[account], self._witnesses[account]
            questions = self._questions[account]
            noting = self._memories[account] is not None
        sources: dict[str, Source] = {
            "written_to": letters,
            "answer": letters,
            "script": Asking(questions),
            "sightings": witness,
        }
        return Ways(sources, witness.note, noting, questions.ready)

    def tidy(self, config: Config) -> None:
        """Forget Message-IDs of accounts where no rule asks for them any more."""
        if self._store is not None:
            asking = [name for name in config.accounts if longest_memory(config, name) is not None]
            self._store.forget_sightings_but(asking)


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
