"""What the tests of the store say: messages, effects, moments."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from mailrules.adapters.store import Decided, EffectRow, Store
from mailrules.core.actions.base import PlannedEffect
from mailrules.core.uidset import UidSet

T0 = datetime(2026, 3, 1, 9, 0, 0, 123456, tzinfo=UTC)


def at(seconds: float = 0) -> datetime:
    return T0 + timedelta(seconds=seconds)


@dataclass(frozen=True)
class Told:
    """What a server tells about a message."""

    identity: str
    message_id: str | None = "<a@example.org>"
    subject: str | None = "Hello"
    sender: str | None = "alice@example.org"
    internaldate: datetime | None = T0
    size: int | None = 1000
    flags: Iterable[str] | None = ("\\Seen",)


def move(to: str = "Work", *, rule: str = "filing", **more: Any) -> PlannedEffect:
    return PlannedEffect(rule, "rev", 0, "move", {"mailbox": to}, leaves=True, once=False, **more)


def flag(name: str = "$Todo", *, rule: str = "filing", **more: Any) -> PlannedEffect:
    return PlannedEffect(rule, "rev", 0, "flag", {"flags": [name]}, leaves=False, once=False, **more)


def forward(to: str = "bob@example.net", *, rule: str = "forwarding", **more: Any) -> PlannedEffect:
    return PlannedEffect(
        rule, "rev", 0, "forward", {"to": [to]}, leaves=False, once=True, target=to, **more
    )  # fmt: skip


def decided(uid: int, *effects: PlannedEffect, identity: str | None = None, **told: Any) -> Decided:
    return Decided(uid, Told(identity or f"id-{uid}", **told), effects)


def record(
    store: Store,
    *these: Decided,
    account: str = "work",
    mailbox: str = "INBOX",
    when: datetime = T0,
    kind: Any = "new",
    **more: Any,
) -> list[EffectRow]:
    """A run that decides these."""
    run = store.start_run(account=account, mailbox=mailbox, kind=kind, rules_hash="h", at=when)
    uids = UidSet(d.uid for d in these)
    return store.record(run, account, mailbox, 7, these, judged=uids, high_uid=uids.highest, at=when, **more)


def baseline(store: Store, *ranges: tuple[int, int], account: str = "work", mailbox: str = "INBOX") -> None:
    uids = UidSet.of_ranges(ranges)
    store.set_baseline(account, mailbox, uidvalidity=7, judged=uids, high_uid=uids.highest, at=T0)
