"""Where the facts come from that no server tells of a message by itself: one place for each account."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from mailrules.adapters.imap.identity import Identity
from mailrules.adapters.imap.mailbox import Mailbox
from mailrules.adapters.store import Store
from mailrules.config import Config
from mailrules.core.conditions.logic import every
from mailrules.core.conditions.memory import Duplicate
from mailrules.core.decision import concerns
from mailrules.judging.asking import Asking, Questions
from mailrules.judging.correspondence import Correspondence
from mailrules.judging.judge import Note, Source
from mailrules.judging.sightings import Witness
from mailrules.performing.errands import Errands


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
            if account not in self._memories:
                self._memories[account] = longest_memory(config, account)
                if account in self._witnesses:
                    self._witnesses[account].keep = self._memories[account]
            noting = self._memories[account] is not None
        return Ways(_Told(self, account), partial(self._note, account), noting, partial(self._ready, account))

    def witness(self, account: str) -> Witness:
        """Of `duplicate`."""
        with self._lock:
            found = self._witnesses.get(account)
            if found is None:
                found = self._witnesses[account] = Witness(account, self._store)
                found.keep = self._memories.get(account)
            return found

    def letters(self, account: str) -> Correspondence:
        """Of `replied_to` and `unanswered_for`."""
        with self._lock:
            found = self._letters.get(account)
            if found is None:
                found = self._letters[account] = Correspondence(
                    account,
                    self._store,
                    sent=lambda: self._sent.get(account),
                    stopping=self._stopping.is_set,
                )
            return found

    def questions(self, account: str) -> Questions:
        """Of `script`."""
        with self._lock:
            found = self._questions.get(account)
            if found is None:
                # By way of `errands`: who is called when one ends is said later.
                found = self._questions[account] = Questions(
                    account, self._stopping, ended=lambda name: self._errands.left_alone(name)
                )
            return found

    def _note(self, account: str, mailbox: str, identities: Mapping[int, Identity], now: datetime) -> None:
        self.witness(account).note(mailbox, identities, now)

    def _ready(self, account: str, mailbox: Mailbox) -> frozenset[int]:
        with self._lock:
            asked = self._questions.get(account)
        return frozenset() if asked is None else asked.ready(mailbox)

    def tidy(self, config: Config) -> None:
        """Forget Message-IDs of accounts where no rule asks for them any more."""
        if self._store is not None:
            asking = [name for name in config.accounts if longest_memory(config, name) is not None]
            self._store.forget_sightings_but(asking)


class _Told(Mapping[str, Source]):
    """What tells facts of one account, made when the first message asks: of most accounts no rule does."""

    def __init__(self, sources: Sources, account: str) -> None:
        self._made: dict[str, Source] = {}
        self._makers: dict[str, Callable[[], Source]] = {
            "written_to": lambda: sources.letters(account),
            "answer": lambda: sources.letters(account),
            "script": lambda: Asking(sources.questions(account)),
            "sightings": lambda: sources.witness(account),
        }

    def __getitem__(self, kind: str) -> Source:
        if kind not in self._made:
            self._made[kind] = self._makers[kind]()
        return self._made[kind]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def longest_memory(config: Config, account: str) -> timedelta | None:
    """How long Message-IDs of an account are asked for; None: no rule asks."""
    return max(
        (
            condition.within
            for rule in config.rules
            if rule.enabled and concerns(rule, account)
            for condition in every(rule.when)
            if isinstance(condition, Duplicate)
        ),
        default=None,
    )
