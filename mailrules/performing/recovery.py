"""What became of effects that an earlier try left unfinished: asked before anything is repeated.

A crash or a cut leaves rows at `intent`, `copied` or `commit` (RELIABILITY 1.3, the table of kinds). A move
or copy that has ever been begun may show in its destination later still, so that it is settled first
in whatever state it is.
"""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from mailrules.adapters.store import EffectRow
from mailrules.core.actions.base import Effects, EffectTarget, Outcome

MOVES = frozenset({"move", "archive", "trash", "junk"})
BEGUN = ("intent", "copied", "commit")
Copied = Callable[[Mapping[int, Outcome]], None]
"""Told of messages whose copies are proven, before their originals are removed."""


class World(Effects, Protocol):
    """The verbs, and what recovery asks of the server."""

    @property
    def alive(self) -> bool:
        """Whether the connection still stands after something failed."""

    def move(
        self, targets: Sequence[EffectTarget], mailbox: str, *, on_copied: Copied | None = None
    ) -> Mapping[int, Outcome]: ...

    def meanwhile(self, work: Callable[[], None]) -> AbstractContextManager[None]:
        """Within it, `work` is done once, while the server is at the first command; not at all if none is
        sent."""

    def let_pass(self) -> None:
        """Between two sets: a few new messages elsewhere go first."""

    def foresee(self, mailboxes: Collection[str]) -> None:
        """Where the next moves and copies will go: `destination` need not ask for each by itself."""

    def destination(self, mailbox: str) -> Mapping[str, Any]:
        """Where a move or copy will put messages: `{mailbox, uidvalidity, uidnext}`; created if missing."""

    def present(self, uids: Sequence[int]) -> set[int]:
        """Which of these are still in the mailbox."""

    def arrived(
        self, identities: Collection[str], destination: Mapping[str, Any]
    ) -> Mapping[str, Sequence[int]]:
        """Which of these messages have come to the destination since: identity -> UIDs, ascending."""

    def flags(self, uids: Sequence[int], kind: str) -> Mapping[int, frozenset[str]]:
        """The flags (or Gmail's `labels`) of these messages, lower case."""

    def originals(self, copies: Mapping[int, tuple[str, Mapping[str, Any]]]) -> set[int]:
        """Of copies (key -> identity, where the original was, and may be meanwhile), those whose original is
        there."""

    def remove(self, targets: Sequence[EffectTarget]) -> Mapping[int, Outcome]:
        """Take messages out whose copy in the destination is proven."""


def begun_of(rows: Sequence[EffectRow]) -> list[EffectRow]:
    """Those that an earlier try may have done."""
    return [row for row in rows if row.state in BEGUN or "destination" in row.detail]


def past_commit(rows: Sequence[EffectRow]) -> dict[int, Outcome]:
    """Those found at their commit point: nobody knows. With `on_unknown: retry` they are done again."""
    return {
        row.id: Outcome(
            "unknown", {"error": "interrupted after the point of no return; it may have happened"}
        )
        for row in rows
        if row.state == "commit" and row.on_unknown != "retry"
    }


def settled(
    world: World, rows: Sequence[EffectRow], *, taken: Collection[tuple[str, int]]
) -> dict[int, Outcome]:
    """How those that were begun, and are not past a commit point, ended, by id. Those that are to be done, or
    done again, are absent.

    `taken`: where other effects have put messages like these (mailbox, UID): that proves nothing of these.
    Raises TransientError if the server can't be asked, PermanentError if it refuses.
    """
    begun = begun_of(rows)
    if not begun:
        return {}
    present = world.present([row.uid for row in begun])
    arrived = _arrived(world, begun, present, taken)
    ended: dict[int, Outcome] = {}
    both: list[EffectRow] = []  # here and there: only the originals are left to remove
    for row in begun:
        if row.verb in MOVES and row.id in arrived and row.uid in present:
            both.append(row)
        elif (outcome := _ended(row, row.uid in present, arrived.get(row.id))) is not None:
            ended[row.id] = outcome
    if both:
        removed = world.remove([row.target_message for row in both])
        for row in both:
            outcome = removed[row.uid]
            detail = {**outcome.detail, "inferred": True, "to_uid": arrived[row.id]}
            ended[row.id] = Outcome(outcome.state, detail, outcome.retry_after)
    return ended


def _arrived(
    world: World, rows: Sequence[EffectRow], present: Collection[int], taken: Collection[tuple[str, int]]
) -> dict[int, int]:
    """Where moves and copies have come to already: id -> UID. One look into each destination.

    Several messages may have one identity: what arrived is one of them, of those that have left first.
    """
    places: dict[str, list[EffectRow]] = defaultdict(list)
    for row in rows:
        if (row.verb in MOVES or row.action == "copy") and row.detail.get("destination"):
            places[json.dumps(row.detail["destination"], sort_keys=True)].append(row)
    found: dict[int, int] = {}
    for those in places.values():
        place = those[0].detail["destination"]
        uids = {
            identity: deque(uid for uid in arrived if (place["mailbox"], uid) not in taken)
            for identity, arrived in world.arrived({row.identity for row in those}, place).items()
        }
        for row in sorted(those, key=lambda row: (row.uid in present, row.id)):
            if uids.get(row.identity):
                found[row.id] = uids[row.identity].popleft()
    return found


def _ended(row: EffectRow, present: bool, arrived: int | None) -> Outcome | None:
    """How one effect ended; None: do it (again)."""
    if arrived is not None:
        return Outcome("done", {"inferred": True, "to_uid": arrived})
    if present:
        return None
    if row.action == "delete" or (row.action == "unlabel" and row.leaves):
        return Outcome("done", {"inferred": True})
    if row.verb in MOVES or row.action == "copy":
        return Outcome("gone", {"error": "neither here nor in the destination"})
    return None
