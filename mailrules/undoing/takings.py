"""What an undo is to take back: each effect (`Taking`), and by message (`Job`), with what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mailrules.adapters.imap.identity import Identity
from mailrules.adapters.store import EffectRow, PlannedUndo, Recorded
from mailrules.undoing.inverse import Place, Thread


@dataclass(slots=True)
class Taking:
    """One effect that is to be taken back, and what came of it."""

    recorded: Recorded
    because: str = ""  # why not, or not all of it
    action: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    at: Place | None = None
    undo: int | None = None  # the effect that takes it back
    state: str | None = None
    unbegun: bool = False  # it is planned, and no try has begun with it
    dropped: bool = False  # it was never begun, and is not begun any more
    begun: bool = False  # what came of it, or of another on its message, is not known yet

    @property
    def row(self) -> EffectRow:
        return self.recorded.row

    def leave(self, because: str) -> None:
        self.because = "; ".join(filter(None, (self.because, because)))

    def will(self, action: str, arguments: Mapping[str, Any], at: Place) -> None:
        self.action, self.arguments, self.at, self.state = action, arguments, at, "would"

    def as_json(self) -> dict[str, Any]:
        row = self.row
        undo = None
        if self.action and self.at is not None:
            undo = {
                "id": self.undo, "mailbox": self.at.mailbox, "uid": self.at.uid, "action": self.action,
                "arguments": dict(self.arguments), "state": self.state,
            }  # fmt: skip
        return {
            "id": row.id,
            "account": row.account,
            "mailbox": row.mailbox,
            "uid": row.uid,
            "message_id": self.recorded.message_id,
            "subject": self.recorded.subject,
            "rule": row.rule or None,
            "action": row.action,
            "arguments": dict(row.arguments),
            "undo": undo,
            "because": self.because or None,
            "dropped": self.dropped,
            "begun": self.begun,
        }


@dataclass(slots=True)
class Job:
    """One message, and what is to be taken back of what was done to it."""

    identity: str
    thread: Thread
    takings: list[Taking] = field(default_factory=list)
    copy: bool = False  # it is a copy that we made
    original: Job | None = None  # of a copy
    at: Place | None = None
    known: Identity | None = None
    by_hand: bool = False  # it is elsewhere than where we put it
    plans: list[tuple[PlannedUndo, list[Taking]]] = field(default_factory=list)

    def leave(self, because: str) -> None:
        for taking in self.takings:
            taking.leave(because)

    def found(self, at: Place, known: Identity, *, by_hand: bool = False) -> None:
        self.at, self.known, self.by_hand = at, known, by_hand
