"""What is not planned a second time: what had its one time, and what waits on the same message already."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, bindparam, case, func, select

from mailrules.adapters.store.bulk import run
from mailrules.adapters.store.effects import chunks
from mailrules.adapters.store.rows import Decided
from mailrules.adapters.store.schema import clean, effect, signed

if TYPE_CHECKING:
    from mailrules.core.actions.base import PlannedEffect

_STILL_TO_COME = ("held", "later")


def still_to_do(
    connection: Connection, place: Mapping[str, Any], uids: Sequence[int], *, done: bool
) -> set[tuple[int, str, str, str]]:
    """What is still to be done to these messages, or `done`: (uid, rule, action, arguments)."""
    states = ["planned", "held", "later", "intent", "copied", "commit", *(["done"] if done else [])]
    found: set[tuple[int, str, str, str]] = set()
    here = {
        "of": place["account"], "called": clean(place["mailbox"]), "under": signed(place["uidvalidity"]),
    }  # fmt: skip
    wanted = set(uids)
    for chunk in chunks(sorted(wanted)):
        between = run(connection, _BETWEEN, least=chunk[0], most=chunk[-1], **here)
        for uid, rule, action, arguments, state in between:
            if uid in wanted and state in states:
                found.add((uid, rule, action, canonical(json.loads(arguments))))
    return found


def once_taken(
    connection: Connection, account: str, decided: Sequence[Decided]
) -> dict[tuple[str, ...], int | None]:
    """What has had its one time: the how many times it was asked for; None: it is still to come."""
    identities = {clean(d.identity.identity) for d in decided if any(e.once for e in d.effects)}
    taken: dict[tuple[str, ...], int | None] = {}
    for chunk in chunks(sorted(identities)):
        for row in connection.execute(
            select(
                effect.c.identity,
                effect.c.rule,
                effect.c.action,
                effect.c.target,
                func.max(effect.c.again),
                func.max(case((effect.c.state.in_(_STILL_TO_COME), 1), else_=0)),
            )
            .where(
                effect.c.account == account,
                effect.c.identity.in_(chunk),
                effect.c.once,
                effect.c.state != "would",
            )
            .group_by(effect.c.identity, effect.c.rule, effect.c.action, effect.c.target)
        ):
            taken[row[0], row[1], row[2], row[3]] = None if row[5] else row[4]
    return taken


def nth_time(
    taken: dict[tuple[str, ...], int | None], identity: str, planned: PlannedEffect, *, again: bool
) -> int | None:
    """Which time this effect is asked for, from 0; None: it had its one time."""
    if not planned.once or planned.state in ("failed", "would"):
        return 0
    key = (identity, planned.rule, planned.action, clean(planned.target))
    before = taken.get(key, -1)
    if before is None or (before >= 0 and not again):
        return None
    taken[key] = before + 1
    return taken[key]


def what_of(uid: int, planned: PlannedEffect) -> tuple[int, str, str, str] | None:
    """What `still_to_do` would have of it; None for what changes nothing, or has a key of its own."""
    if planned.once or planned.state not in ("planned", "held"):
        return None
    return uid, planned.rule, planned.action, canonical(planned.arguments)


def canonical(arguments: Mapping[str, Any]) -> str:
    return json.dumps(arguments, sort_keys=True)


_BETWEEN = select(effect.c.uid, effect.c.rule, effect.c.action, effect.c.arguments, effect.c.state).where(
    effect.c.account == bindparam("of"),
    effect.c.mailbox == bindparam("called"),
    effect.c.uidvalidity == bindparam("under"),
    effect.c.uid >= bindparam("least"),
    effect.c.uid <= bindparam("most"),
)
