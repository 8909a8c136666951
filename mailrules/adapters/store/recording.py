"""Recording what was decided: runs, rules in force, messages, planned effects, judged ranges."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Integer, bindparam, insert, select, update
from sqlalchemy.dialects import sqlite

from mailrules.adapters.store import schema
from mailrules.adapters.store.assigning import Assignments, Loads
from mailrules.adapters.store.brakes import hold_back
from mailrules.adapters.store.bulk import as_json, execute_many, moment, run
from mailrules.adapters.store.effects import effect_key, insert_effects, plain_key, row_of
from mailrules.adapters.store.hands import JUDGING, doing, hold, put_down
from mailrules.adapters.store.journal import LETS_GO, Journal, insisting
from mailrules.adapters.store.mailboxes import mark_swept, settle
from mailrules.adapters.store.messages import TOLD, message_row
from mailrules.adapters.store.repeats import nth_time, once_taken, still_to_do, what_of
from mailrules.adapters.store.replies import Replies
from mailrules.adapters.store.rows import TURNS, Decided, EffectRow, Identity, Kind
from mailrules.adapters.store.schema import clean, rule_hits, rule_text
from mailrules.adapters.store.upsert import upsert
from mailrules.core.assigned import is_assigned
from mailrules.core.rule import Limits
from mailrules.core.uidset import UidSet

if TYPE_CHECKING:  # templates and regexes are heavy, and reading the log needs none
    from mailrules.core.actions.base import PlannedEffect

log = logging.getLogger("mailrules.run")


@dataclass(frozen=True, slots=True)
class Swept:
    """A mailbox whose new messages were all looked at; `full`: all of its messages."""

    account: str
    mailbox: str
    uidvalidity: int
    full: bool


class Recording(Journal):
    """The part of the store that decisions go into. `limits`: those of the rules in force, by name."""

    limits: Mapping[str, Limits]
    _paused: frozenset[str] | None

    # -- runs and rules -----------------------------------------------------------------------------
    def start_run(
        self,
        *,
        account: str,
        mailbox: str,
        kind: Kind,
        rules_hash: str,
        at: datetime,
        detail: Mapping[str, Any] | None = None,
        hand: tuple[int, Sequence[int]] | None = None,
    ) -> int:
        """A pass over a mailbox begins. Gives its id. Raises StoreFull while room is short.

        `hand`: UIDVALIDITY and the UIDs that are judged first (`Hands.take`).
        """
        self._database.demand_room()
        with self._database.write(durable=False, calm=True) as connection:
            (begun,) = run(
                connection, _START, account=account, mailbox=clean(mailbox), kind=kind, rules_hash=rules_hash,
                started_at=moment(at), detail=as_json(dict(detail or {})),
            ).fetchone()  # fmt: skip
            if hand is not None:
                hold(connection, account, mailbox, JUDGING, *hand)
            return int(begun)

    def end_run(
        self,
        run_id: int,
        *,
        at: datetime,
        judged: int,
        matched: int,
        detail: Mapping[str, Any] | None = None,
        swept: Swept | None = None,
    ) -> None:
        """The pass is over. `swept`: all that is new in the mailbox was looked at (`mark_judged`)."""
        with self._database.write(durable=False, calm=True) as connection:
            run(
                connection, _END, which=run_id, ended_at=moment(at), judged=judged, matched=matched,
                detail=as_json(dict(detail or {})),
            )  # fmt: skip
            if swept is not None:
                where = (swept.account, swept.mailbox, swept.uidvalidity)
                mark_swept(connection, *where, at=at, full_scan=swept.full)

    @insisting  # each start does it, and a full disk must not keep a worker from starting and saying so
    def keep_rules(self, rules: Iterable[tuple[str, str, str]]) -> None:
        """Keep rules' texts by content hash (revision, name, text), so that the log can say later what was in
        force."""
        wanted = {(revision, name): text for revision, name, text in rules}
        revisions = sorted({revision for revision, _ in wanted})
        with self._database.read() as connection:  # mostly all of them are there, and nothing is written
            for at in range(0, len(revisions), 500):
                some = rule_text.c.revision.in_(revisions[at : at + 500])
                for known in connection.execute(select(rule_text.c.revision, rule_text.c.name).where(some)):
                    wanted.pop((known.revision, known.name), None)
        if not wanted:
            return
        kept = [
            {"revision": revision, "name": name, "text": text} for (revision, name), text in wanted.items()
        ]
        with self._database.write() as connection:
            upsert(connection, rule_text, kept, update_columns=())

    def rule_text(self, revision: str, name: str) -> str | None:
        with self._database.read() as connection:
            return connection.scalar(
                select(rule_text.c.text).where(rule_text.c.revision == revision, rule_text.c.name == name)
            )

    # -- deciding -----------------------------------------------------------------------------------
    def record(
        self,
        run: int,
        account: str,
        mailbox: str,
        uidvalidity: int,
        decided: Sequence[Decided],
        *,
        judged: UidSet,
        high_uid: int,
        at: datetime,
        again: bool = False,
        redo: bool = True,
        hits: Mapping[str, int] | None = None,
        together: int = 0,
        loads: Loads | None = None,
    ) -> list[EffectRow]:
        """Decisions, planned effects, judged ranges and checkpoint, in ONE transaction. No window of this
        mailbox is in hand any more.

        Gives the new rows, by message and order. A `once` effect that exists already, in any state, is
        not planned a second time and gives no row; `again` asks for one more where it is not still
        to come (held, later). Nor is what waits already on the same message: it would be done twice
        when it is let go. Without `redo` neither is what was done: new mail that is judged again after a
        `retry` keeps what it has.
        What a pause covers is recorded as `held`, and a rule that has come to its limits is paused here.
        `together`: the first run of those that `per_run` counts as one (0: this one counts alone).
        `hits`: how many messages each rule matched, where that is more than what its effects show (a
        rule that only stops). Who is next is chosen here, for `assign`; `loads`: what they have on the
        server. Raises StoreFull while room is short.
        """
        self._database.demand_room()
        place = {"account": account, "mailbox": mailbox, "uidvalidity": uidvalidity}
        # Nothing is lost if a power cut undoes it: before anything is done, `intent` makes it durable.
        with self._database.write(durable=False, calm=True) as connection:
            stamp = moment(at)
            execute_many(connection, TOLD, [message_row(d.uid, d.identity, place, stamp) for d in decided])
            taken = once_taken(connection, account, decided)
            waiting = still_to_do(connection, place, [d.uid for d in decided], done=not redo)
            replies = Replies(account)
            turns = Assignments(account)
            rows: list[dict[str, Any]] = []
            for one in decided:
                identity = clean(one.identity.identity)
                flags = _Flags(one.identity)
                for order, planned in enumerate(one.effects):
                    if planned.action == "assign":
                        planned = turns.choose(connection, identity, planned, loads)
                    nth = nth_time(taken, identity, planned, again=again)
                    if nth is not None and planned.action == "reply":
                        planned = replies.once_in_a_while(connection, planned, at=at)
                    if nth is not None and not (waiting and what_of(one.uid, planned) in waiting):
                        rows.append(
                            self._effect(
                                planned, run=run, place=place, uid=one.uid, order=order, again=nth,
                                identity=identity, at=at,
                            )
                            | flags.changed_by(planned)
                        )  # fmt: skip
            tripped = hold_back(connection, rows, limits=self.limits, run=together or run, at=at)
            if tripped:
                self._paused = None
            insert_effects(connection, rows)
            settle(connection, account, mailbox, uidvalidity, judged, high_uid=high_uid)
            put_down(connection, account, mailbox, JUDGING)
            _count_hits(connection, account, decided, hits, at)
            self._begun(account, mailbox, rows)
        for brake in tripped:
            log.error("%s", brake)
        return [row_of(values) for values in rows]

    def whose_turn(
        self, turns: Assignments, identity: str, effects: Sequence[PlannedEffect], loads: Loads | None
    ) -> list[PlannedEffect]:
        """The effects as `record` would plan them now, their people chosen. Nothing is written."""
        with self._database.read() as connection:
            return [turns.choose(connection, identity, planned, loads) for planned in effects]

    def answered_lately(
        self, replies: Replies, effects: Sequence[PlannedEffect], *, at: datetime
    ) -> list[PlannedEffect]:
        """The effects as `record` would plan them now: replies to who has had one are skipped."""
        with self._database.read() as connection:
            return [replies.once_in_a_while(connection, planned, at=at) for planned in effects]

    def _begun(self, account: str, mailbox: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Within the transaction that wrote these: what is open now."""
        states = [row["state"] for row in rows]
        if any(state not in ("planned", *LETS_GO) for state in states):
            self._database.unrest += 1  # some wait for a person
        self._count(account, mailbox, states.count("planned"))

    def done_before(
        self,
        account: str,
        mailbox: str,
        uidvalidity: int,
        decided: Sequence[Decided],
        *,
        again: bool = False,
    ) -> frozenset[tuple[int, int]]:
        """What `record` would leave out of these, as (uid, place among its message's effects)."""
        place = {"account": account, "mailbox": mailbox, "uidvalidity": uidvalidity}
        with self._database.read() as connection:
            taken = once_taken(connection, account, decided)
            waiting = still_to_do(connection, place, [d.uid for d in decided], done=False)
        return frozenset(
            (one.uid, order)
            for one in decided
            for order, planned in enumerate(one.effects)
            if nth_time(taken, clean(one.identity.identity), planned, again=again) is None
            or (waiting and what_of(one.uid, planned) in waiting)
        )

    def _effect(
        self,
        planned: PlannedEffect,
        *,
        run: int,
        place: Mapping[str, Any],
        uid: int,
        order: int,
        again: int,
        identity: str,
        at: datetime,
    ) -> dict[str, Any]:
        # A failed template left nothing to perform, so it uses up nothing either.
        rendered = planned.state != "failed"
        once = planned.once and rendered
        named = planned.arguments.get("mailbox")
        return {
            **place,
            "run": run,
            "uid": uid,
            "identity": identity,
            "rule": planned.rule,
            "revision": planned.revision,
            "step": planned.step,
            "place": order,
            "action": planned.action,
            "target": clean(planned.target),
            "arguments": dict(planned.arguments),
            "leaves": planned.leaves,
            "once": once,
            "again": again,
            "rendered": rendered,
            "on_unknown": planned.on_unknown,
            "destination": named if isinstance(named, str) else None,
            "effect_key": effect_key(
                (
                    self._instance,
                    place["account"],
                    identity,
                    planned.rule,
                    planned.action,
                    planned.target,
                    again,
                )
            )
            if once
            else plain_key((self._instance, run, uid, order)),
            "state": planned.state,
            "tries": 0,
            "next_try": None,
            "created_at": at,
            "ended_at": at if planned.state in ("failed", "skipped", "would") else None,
            "changed_at": at,
            "detail": {"because": planned.because} if planned.because else {},
            "undoes": None,
            "undone": None,
        }

    @insisting
    def answered(
        self, id_: int, answers: Sequence[PlannedEffect], *, detail: Mapping[str, Any], at: datetime
    ) -> list[EffectRow]:
        """A script is done and asked for more: both in one transaction. Gives the new rows."""
        with self._database.write() as connection:
            (asked,) = self._set(connection, [id_], ("intent", "commit"), "done", at, {id_: detail}, None)
            place = {"account": asked.account, "mailbox": asked.mailbox, "uidvalidity": asked.uidvalidity}
            turns = Assignments(asked.account)
            rows = [
                self._effect(
                    turns.choose(connection, asked.identity, planned), run=asked.run, place=place,
                    uid=asked.uid, order=asked.order + 1 + n, again=0, identity=asked.identity, at=at,
                )
                for n, planned in enumerate(answers)
            ]  # fmt: skip
            insert_effects(connection, rows)
            put_down(connection, asked.account, asked.mailbox, doing(id_))
        return [row_of(values) for values in rows]


class _Flags:
    """A message's flags and labels, effect after effect, so that undo knows what each of them changed."""

    def __init__(self, told: Identity) -> None:
        self._told = told
        self._now: dict[str, set[str]] = {}

    def changed_by(self, planned: PlannedEffect) -> dict[str, Any]:
        """`detail` with the flags it changes, where that is not all that it names."""
        keyword = is_assigned(planned.action, planned.arguments, how="keyword")
        kind = "flags" if keyword else TURNS.get(planned.action)
        if kind is None or planned.state not in ("planned", "held"):
            return {}
        if kind not in self._now:
            self._now[kind] = {flag.lower() for flag in getattr(self._told, kind, None) or ()}
        now = self._now[kind]
        setting = planned.action not in ("unflag", "unlabel")
        named = planned.arguments[kind]
        changed = [flag for flag in named if (flag.lower() in now) != setting]
        if planned.state == "planned":
            for flag in changed:
                (now.add if setting else now.discard)(flag.lower())
        if len(changed) == len(named):
            return {}
        because = {"because": planned.because} if planned.because else {}
        return {"detail": because | {"changed": changed}}


def _count_hits(
    connection: Connection,
    account: str,
    decided: Sequence[Decided],
    hits: Mapping[str, int] | None,
    at: datetime,
) -> None:
    if hits is None:
        counted: dict[str, int] = {}
        for one in decided:
            for rule in {e.rule for e in one.effects if e.is_hit}:
                counted[rule] = counted.get(rule, 0) + 1
        hits = counted
    counts = [
        {"rule": rule, "account": account, "hits": count, "more": count, "last_at": moment(at)}
        for rule, count in hits.items()
    ]
    execute_many(connection, _HITS, counts)


_HITS = (
    sqlite.insert(rule_hits)
    .values({name: bindparam(name) for name in ("rule", "account", "hits", "last_at")})
    .on_conflict_do_update(
        index_elements=[rule_hits.c.rule, rule_hits.c.account],
        set_={"hits": rule_hits.c.hits + bindparam("more", type_=Integer()), "last_at": bindparam("last_at")},
    )
)
_START = (
    insert(schema.run)
    .values({n: bindparam(n) for n in ("account", "mailbox", "kind", "rules_hash", "started_at", "detail")})
    .returning(schema.run.c.id)
)
_END = (
    update(schema.run)
    .where(schema.run.c.id == bindparam("which"))
    .values({name: bindparam(name) for name in ("ended_at", "judged", "matched", "detail")})
)
