"""The brakes of SPEC section 7: what is counted, in the transaction that records it, and what is held then.

A rule's `limits` count the messages that it acts on, when that is recorded; beyond them the rule is paused.
What an account sends is counted at its commit point (`sending.py` asks whether there is room for more).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from mailrules.adapters.store.rows import EffectRow
from mailrules.adapters.store.schema import OPEN, brake_count, effect, pause
from mailrules.core.rule import Limits

SENDS = frozenset({"forward", "redirect", "reply"})
"""Actions that send mail from the account."""
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
_LONGEST_RUN = timedelta(days=30)
"""Counts of runs are kept this long: no run lasts longer."""
_ACTS = ("planned", "held")


def covering(rule: str, account: str, mailbox: str, action: str = "") -> frozenset[str]:
    """The pauses that would hold this action of this rule in this mailbox."""
    targets = {"*", f"rule:{rule}", f"account:{account}", f"mailbox:{account}/{mailbox}"}
    if action in SENDS:
        targets.add(f"sending:{account}")
    return frozenset(targets)


def in_words(target: str) -> str:
    """A pause's target, for people."""
    kind, _, name = target.partition(":")
    if kind == "sending":
        return f"sending from account '{name}'"
    return "everything" if target == "*" else f"{kind} '{name}'"


def paused_now(connection: Connection, *, planned: bool = False) -> set[str]:
    """Within a transaction: what is paused; `planned`: so that also what is planned already is held."""
    query = select(pause.c.target)
    return set(connection.scalars(query.where(~pause.c.new_only) if planned else query))


def why_held(scope: Collection[str]) -> str:
    """In words, of pauses that cover an effect."""
    return f"{in_words(min(scope))} is paused"


@dataclass(frozen=True, slots=True)
class Tripped:
    """A brake that has just paused something, and why."""

    target: str
    reason: str

    def __str__(self) -> str:
        kind, _, name = self.target.partition(":")
        skip = f"--rule '{name}'" if kind == "rule" else "ID"
        return (
            f"{in_words(self.target)} is paused: {self.reason}. More of it is held: `mailrules status` shows "
            f"it, `mailrules resume '{name}'` does it, `mailrules skip {skip}` does without."
        )


def trip(
    connection: Connection, target: str, reason: str, at: datetime, *, new_only: bool = False
) -> Tripped:
    """Within a transaction: pause it, which it is not yet. `new_only`: what is planned already goes on."""
    connection.execute(insert(pause).values(target=target, since=at, reason=reason, new_only=new_only))
    return Tripped(target, reason)


# -- counting -----------------------------------------------------------------------------------------
def add(
    connection: Connection, brake: str, at: datetime, count: int, *, keep: timedelta, run: int = 0
) -> None:
    """Within a transaction: count so many more, and forget what is older than `keep`."""
    this = (brake_count.c.brake == brake) & (brake_count.c.run == run) & (brake_count.c.at == at)
    moved = connection.execute(update(brake_count).where(this).values(count=brake_count.c.count + count))
    if not moved.rowcount:
        connection.execute(insert(brake_count).values(brake=brake, run=run, at=at, count=count))
    old = (brake_count.c.brake == brake) & (brake_count.c.at <= at - keep)
    connection.execute(delete(brake_count).where(old))


def counted(
    connection: Connection, brake: str, *, run: int = 0, now: datetime | None = None, within: timedelta = DAY
) -> int:
    """Within a transaction: how many of a run, or until `now` in the last so long.

    What lies further ahead than that was written by a clock that has been set back since.
    """
    query = select(func.coalesce(func.sum(brake_count.c.count), 0)).where(
        brake_count.c.brake == brake, brake_count.c.run == run
    )
    if now is not None:
        query = query.where(brake_count.c.at > now - within, brake_count.c.at <= now + within)
    return int(connection.scalar(query) or 0)


def forget(connection: Connection, brakes: Iterable[str]) -> None:
    """Within a transaction: a person has looked, and these count from nothing."""
    connection.execute(delete(brake_count).where(brake_count.c.brake.in_(list(brakes))))


def shift(connection: Connection, by: timedelta) -> None:
    """Within a transaction: the wall clock was set; what was counted was counted so much earlier or later."""
    rows = connection.execute(select(brake_count)).all()
    connection.execute(delete(brake_count))
    if rows:
        connection.execute(insert(brake_count), [{**row._mapping, "at": row.at + by} for row in rows])


def count_sends(connection: Connection, rows: Sequence[EffectRow], at: datetime) -> None:
    """Within the transaction of the arrow to `commit`: these are sent now."""
    for row in rows:
        if row.action in SENDS:
            add(connection, f"minute:{row.account}", at, 1, keep=MINUTE)
            add(connection, f"day:{row.account}", at, 1, keep=DAY)


# -- limits of rules ----------------------------------------------------------------------------------
@dataclass(slots=True)
class _Meter:
    """One rule's messages: those counted before, and `new` ones."""

    rule: str
    limits: Limits
    in_run: int
    in_hour: int
    new: int = field(default=0)

    def reached(self) -> str:
        """Why no more messages may be acted on, or ""."""
        for limit, before, words in (
            (self.limits.per_run, self.in_run, "in one run, its limit (limits: per_run)"),
            (self.limits.per_hour, self.in_hour, "within an hour, its limit (limits: per_hour)"),
        ):
            if limit is not None and before + self.new >= limit:
                count = f"{limit} message" + ("s" if limit != 1 else "")
                return f"it has acted on {count} {words}"
        return ""


def hold_back(
    connection: Connection,
    rows: Sequence[dict[str, Any]],
    *,
    limits: Mapping[str, Limits],
    run: int,
    at: datetime,
) -> list[Tripped]:
    """Within the transaction that records new effects, before they are written: hold what is paused now.

    A rule that is at its limit is paused first. Only what is planned and what is held changes between the
    two; it comes by message. Where something is held of a message that would leave, its leaving is held
    with it. `run`: what `per_run` is counted by.
    """
    paused = paused_now(connection)
    if not paused and not any(row["state"] == "held" or row["rule"] in limits for row in rows):
        return []  # as nearly always
    meters: dict[str, _Meter] = {}
    tripped: list[Tripped] = []
    for _, of_one in groupby(rows, key=lambda row: row["uid"]):
        effects = [row for row in of_one if row["state"] in _ACTS]
        for rule in dict.fromkeys(row["rule"] for row in effects):
            if rule not in limits or f"rule:{rule}" in paused:
                continue
            meter = meters.get(rule) or _meter(connection, rule, limits[rule], run, at)
            meters[rule] = meter
            reason = meter.reached()
            if reason:
                tripped.append(trip(connection, f"rule:{rule}", reason, at, new_only=True))
                paused.add(f"rule:{rule}")
            else:
                meter.new += 1
        _hold(effects, paused)
    for meter in meters.values():
        if meter.new and meter.limits.per_run is not None:
            add(connection, f"run:{meter.rule}", at, meter.new, keep=_LONGEST_RUN, run=run)
        if meter.new and meter.limits.per_hour is not None:
            add(connection, f"hour:{meter.rule}", at, meter.new, keep=HOUR)
    return tripped


def _meter(connection: Connection, rule: str, limits: Limits, run: int, at: datetime) -> _Meter:
    in_run = counted(connection, f"run:{rule}", run=run) if limits.per_run is not None else 0
    in_hour = counted(connection, f"hour:{rule}", now=at, within=HOUR) if limits.per_hour is not None else 0
    return _Meter(rule, limits, in_run, in_hour)


def _hold(effects: Sequence[dict[str, Any]], paused: Collection[str]) -> None:
    """The effects on one message: held where a pause covers them, else planned."""
    waits_for = ""
    for row in effects:
        scope = covering(row["rule"], row["account"], row["mailbox"], row["action"]).intersection(paused)
        if scope:
            row["state"], row["detail"] = "held", {"because": why_held(scope)}
            waits_for = waits_for or ("" if row["leaves"] else row["rule"])
        elif row["state"] == "held":  # its pause ended while the message was judged
            row["state"], row["detail"] = "planned", {}
    for row in effects:
        if row["leaves"] and row["state"] == "planned" and waits_for:
            row["state"] = "held"
            row["detail"] = {"because": f"the message waits for what is held of rule '{waits_for}'"}


def free_to_leave(connection: Connection) -> list[int]:
    """Within a transaction: leaving effects that are held, though nothing on their message is any more."""
    paused = paused_now(connection)
    held = connection.execute(
        select(
            effect.c.id, effect.c.rule, effect.c.account, effect.c.mailbox, effect.c.uidvalidity,
            effect.c.uid, effect.c.leaves, effect.c.action,
        ).where(OPEN, effect.c.state == "held")
    ).all()  # fmt: skip
    staying = {(r.account, r.mailbox, r.uidvalidity, r.uid) for r in held if not r.leaves}
    return [
        r.id
        for r in held
        if r.leaves
        and (r.account, r.mailbox, r.uidvalidity, r.uid) not in staying
        and not covering(r.rule, r.account, r.mailbox, r.action) & paused
    ]
