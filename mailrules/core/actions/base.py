"""What an action is, and the one thin waist through which actions reach the world (`Effects`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, ConfigDict

from mailrules.core.errors import Path, Report
from mailrules.core.message import Fact, Message
from mailrules.core.search import Everything, Search

DRY_RUN = "dry run"
NOT_JUDGED = "could not be judged"
"""How `because` begins of effects by which no rule acts."""


@dataclass(frozen=True, slots=True)
class PlannedEffect:
    """One action of one rule on one message, rendered: from here on nothing of it changes.

    `action` and `arguments` are the long form of SPEC section 8 (`mark: read` is `flag` with
    `{"flags": ["\\\\Seen"]}`). `arguments` is plain JSON data and is frozen in the journal.
    """

    rule: str
    revision: str  # content hash of the rule's text
    step: int  # its place in `then`, from 0
    action: str
    arguments: Mapping[str, Any]
    leaves: bool  # takes the message out of its mailbox
    once: bool  # non-idempotent: once per message, rule and target, ever
    target: str = ""  # with `once`: what makes two of them the same (recipient, argv, URL)
    state: Literal["planned", "held", "would", "failed", "skipped"] = "planned"
    because: str = ""  # why it is not simply planned, for people
    on_unknown: Literal["hold", "retry"] = "hold"

    @property
    def is_hit(self) -> bool:
        """Whether its rule matched and acts: no dry run, nor one that could not be judged."""
        return self.state != "would" and not self.because.startswith((DRY_RUN, NOT_JUDGED))


@dataclass(frozen=True, slots=True)
class RenderContext:
    """What templates see beside the message (SPEC section 5), and what only the account knows."""

    account: str
    rule: str
    match: Mapping[str, str] = field(default_factory=dict)
    vars: Mapping[str, str] = field(default_factory=dict)
    special_use: Mapping[str, str] | None = None  # "\\Archive" -> mailbox; None: no server (explain FILE)
    address: str = ""  # the account's own address
    addresses: tuple[str, ...] = ()  # others of its own: what it sends as, its user name
    timezone: str = "UTC"  # name of settings.timezone


@dataclass(frozen=True, slots=True)
class ActionContext:
    """What an action may need of the rest of the file while it is parsed."""

    group_names: Mapping[str, bool] = field(default_factory=dict)  # named groups of the rule's conditions
    vars: frozenset[str] = frozenset()  # names every account of the rule defines
    base_dir: str = "."  # directory of the file, for relative paths of scripts
    templates: bool = True  # False: every string is literal (what a script answered)


class Action(BaseModel):
    """Base of all actions. The docstring of a subclass is its manual page."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, defer_build=True)

    key: ClassVar[str]
    leaves: ClassVar[bool] = False
    once: ClassVar[bool] = False
    needs_smtp: ClassVar[bool] = False
    repeatable: ClassVar[bool] = False
    """With `once`: where nobody knows whether it happened, it may be done again (R7)."""
    bare: ClassVar[bool] = False
    """Written as a bare word, without a value."""
    value_schema: ClassVar[Mapping[str, Any]] = {}
    """JSON Schema of the value under its key."""

    def facts(self) -> frozenset[Fact]:
        """Facts its templates read."""
        return frozenset()

    @property
    def constant(self) -> bool:
        """Whether it renders alike for all messages of one rule on one account."""
        return False

    def render(self, message: Message, context: RenderContext) -> tuple[str, dict[str, Any], str]:
        """(action, arguments, target) in long form. Raises RenderError, Declined, MissingFact/UnknownFact."""
        raise NotImplementedError

    def changes(self) -> frozenset[str]:
        """Lower-case flags it may set or clear; "*" if a template decides."""
        return frozenset()

    def change_flags(self, flags: frozenset[str], arguments: Mapping[str, Any]) -> frozenset[str]:
        """The flags as later rules see them after this action."""
        return flags

    def change_labels(self, labels: frozenset[str], arguments: Mapping[str, Any]) -> frozenset[str]:
        """Gmail's labels as later rules see them after this action."""
        return labels

    def undone(self) -> Search:
        """Selects at least every message on which it would change something."""
        return Everything(exact=False)

    def conflicts_with(self, other: Action) -> str | None:
        """Why both can't stand in one rule (SPEC section 4), or None."""
        return None

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ActionContext) -> Action | None:
        """Build one from the data under its key (None for a bare word); problems go to the report."""
        raise NotImplementedError


State = Literal["done", "later", "failed", "unknown", "gone"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How performing one effect ended. `detail` is plain JSON data for the run log.

    For a move or copy, `detail` has `to_uidvalidity` and `to_uid` where the server told (COPYUID).
    `answers`: what a script asked for, already checked against its `allow`.
    """

    state: State
    detail: Mapping[str, Any] = field(default_factory=dict)
    retry_after: float | None = None  # seconds, with `later`
    unreached: bool = False  # with `later`: it never came to the message, which may be as good as any
    answers: tuple[tuple[str, Mapping[str, Any]], ...] = ()  # (action, arguments)


@dataclass(frozen=True, slots=True)
class EffectTarget:
    """One message that an effect works on, as the journal knows it."""

    effect_id: int
    uid: int
    identity: str
    effect_key: str  # RELIABILITY R3: stable over retries; Message-ID, Idempotency-Key, environment
    rule: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)  # of earlier tries


Commit = Callable[[], None]
"""Moves the journal to `commit`: from its return on, the outcome can't be taken back.
Raises if the effect was fenced (paused, shut down): then nothing may be sent."""


Errand = Callable[[Commit], Outcome]
"""What is left to do when the message has been read: it needs no mailbox and may take its time. It calls
Commit right before what can't be taken back."""


class Effects(Protocol):
    """The verbs of the world. Set verbs take many messages and give an Outcome for each UID; the others
    read one message and give the Errand that remains.

    None raises for one message's failure: that is an Outcome. A lost connection raises TransientError,
    and the journal's recovery finds out what was done.
    """

    def move(self, targets: Sequence[EffectTarget], mailbox: str) -> Mapping[int, Outcome]: ...
    def copy(self, targets: Sequence[EffectTarget], mailbox: str) -> Mapping[int, Outcome]: ...
    def add_flags(self, targets: Sequence[EffectTarget], flags: Sequence[str]) -> Mapping[int, Outcome]: ...
    def remove_flags(
        self, targets: Sequence[EffectTarget], flags: Sequence[str]
    ) -> Mapping[int, Outcome]: ...
    def add_labels(self, targets: Sequence[EffectTarget], labels: Sequence[str]) -> Mapping[int, Outcome]: ...
    def remove_labels(
        self, targets: Sequence[EffectTarget], labels: Sequence[str]
    ) -> Mapping[int, Outcome]: ...
    def delete(self, targets: Sequence[EffectTarget]) -> Mapping[int, Outcome]: ...
    def forward(self, target: EffectTarget, arguments: Mapping[str, Any]) -> Errand: ...
    def redirect(self, target: EffectTarget, arguments: Mapping[str, Any]) -> Errand: ...
    def reply(self, target: EffectTarget, arguments: Mapping[str, Any]) -> Errand: ...
    def webhook(self, target: EffectTarget, arguments: Mapping[str, Any]) -> Errand: ...
    def save(self, target: EffectTarget, arguments: Mapping[str, Any]) -> Errand: ...
    def script(self, target: EffectTarget, arguments: Mapping[str, Any]) -> Errand: ...
