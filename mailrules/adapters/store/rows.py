"""What goes into the journal and what comes out of it, as values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:  # templates and regexes are heavy, and reading the log needs none
    from mailrules.core.actions.base import EffectTarget, PlannedEffect


State = Literal[
    "planned", "held", "intent", "copied", "commit", "done", "later", "failed", "unknown", "gone", "skipped",
    "would",
]  # fmt: skip
Kind = Literal["new", "sweep", "once", "apply", "schedule", "undo"]


TURNS: Mapping[str, str] = {"flag": "flags", "unflag": "flags", "label": "labels", "unlabel": "labels"}
"""Actions that set and clear, and the argument that says what."""


class Identity(Protocol):
    """What the server told about a message that is acted on (adapters/imap has the class)."""

    @property
    def identity(self) -> str: ...
    @property
    def message_id(self) -> str | None: ...
    @property
    def subject(self) -> str | None: ...
    @property
    def sender(self) -> str | None: ...
    @property
    def internaldate(self) -> datetime | None: ...
    @property
    def size(self) -> int | None: ...
    @property
    def flags(self) -> Iterable[str] | None: ...


@dataclass(frozen=True, slots=True)
class Decided:
    """One message and what is to be done to it, in the order it is to be done."""

    uid: int
    identity: Identity
    effects: Sequence[PlannedEffect]


@dataclass(frozen=True, slots=True)
class MailboxRow:
    """What the journal knows of a mailbox. `high_uid`: the checkpoint."""

    account: str
    name: str
    uidvalidity: int
    high_uid: int
    baseline_at: datetime
    last_sweep: datetime | None
    last_full_scan: datetime | None
    highest_modseq: int | None = None


class EffectRow(NamedTuple):
    """One effect as the journal has it. A tuple: it is made, and copied, by tens of thousands."""

    id: int
    run: int
    account: str
    mailbox: str
    uidvalidity: int
    uid: int
    identity: str
    rule: str
    revision: str
    step: int
    order: int
    action: str
    target: str
    arguments: Mapping[str, Any]
    leaves: bool
    once: bool
    rendered: bool
    on_unknown: Literal["hold", "retry"]
    effect_key: str
    state: State
    tries: int
    next_try: datetime | None
    created_at: datetime
    changed_at: datetime
    detail: Mapping[str, Any] = MappingProxyType({})
    undoes: int | None = None
    undone: int | None = None

    def moved(
        self,
        state: State,
        *,
        tries: int,
        next_try: datetime | None,
        changed_at: datetime,
        detail: Mapping[str, Any],
    ) -> EffectRow:
        """The same effect one arrow further."""
        before = self[: len(self) - 8]
        moved = (state, tries, next_try, self.created_at, changed_at, detail, self.undoes, self.undone)
        return EffectRow._make(before + moved)

    @property
    def verb(self) -> str:
        """What is done for it: to `assign` is to move, or to flag."""
        if self.action != "assign":
            return self.action
        return "move" if self.leaves else "flag"

    @property
    def target_message(self) -> EffectTarget:
        """The message it works on, as `Effects` wants it."""
        from mailrules.core.actions.base import EffectTarget

        return EffectTarget(self.id, self.uid, self.identity, self.effect_key, self.rule, self.detail)


@dataclass(frozen=True, slots=True)
class Troubled:
    """A message that could not be judged: waiting for its next try, or quarantined."""

    account: str
    mailbox: str
    uidvalidity: int
    uid: int
    state: Literal["waiting", "quarantined"]
    tries: int
    next_try: datetime | None
    error: str
    since: datetime  # when it was first tried
    subject: str | None = None
    message_id: str | None = None


@dataclass(frozen=True, slots=True)
class PauseRow:
    """Something that is paused. `target`: `*`, `rule:NAME`, `account:NAME`, `mailbox:ACCOUNT/NAME`, or
    `sending:ACCOUNT` (the brake on what is sent; `resume ACCOUNT` ends it).
    """

    target: str
    since: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class RuleHits:
    """How often a rule has matched, dry runs left out."""

    rule: str
    hits: int
    last_at: datetime


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Which effects `log` shows; values of one field are alternatives, () means all.

    `states` are the log's words (`running`). `limit`: only the newest so many.
    """

    since: datetime | None = None
    rules: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    mailboxes: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    message_id: str | None = None
    run: int | None = None
    ids: tuple[int, ...] = ()
    limit: int | None = None
    until: datetime | None = None
