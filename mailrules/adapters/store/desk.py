"""What waits for a person, and what a person decides: quarantine, pause, resume, retry, skip."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, delete, insert, select, update

from mailrules.adapters.store import schema
from mailrules.adapters.store.brakes import (
    covering,
    forget,
    free_to_leave,
    in_words,
    paused_now,
    why_held,
)
from mailrules.adapters.store.counters import take
from mailrules.adapters.store.database import Database
from mailrules.adapters.store.effects import chunks, effect_key, insert_effects
from mailrules.adapters.store.journal import Journal, insisting
from mailrules.adapters.store.mailboxes import add_ranges, is_, remove_from_judged
from mailrules.adapters.store.rows import EffectRow, PauseRow, State, Troubled
from mailrules.adapters.store.schema import OPEN, effect, message, pause
from mailrules.adapters.store.upsert import upsert
from mailrules.core.errors import PermanentError
from mailrules.core.retry import next_try
from mailrules.core.uidset import UidSet

JUDGE = "judge"
"""The action of a row that says: this message could not be judged, whatever the rule."""

RETRIES: tuple[State, ...] = ("failed", "gone", "held", "later", "unknown")
HELD_FROM: tuple[State, ...] = ("planned", "later", "intent", "copied")
SKIPS: tuple[State, ...] = ("failed", "held", "later", "planned", "unknown")

_PUT_OFF = "its script still runs"


class Desk(Journal):
    """The part of the store where troubles end and people decide."""

    _database: Database
    _instance: str
    _paused: frozenset[str] | None

    # -- messages that keep failing (R10) -------------------------------------------------------------
    def defer(
        self, account: str, mailbox: str, uidvalidity: int, uid: int, *, reason: str, at: datetime
    ) -> int:
        """Note that judging a message failed. Gives the tries so far; `next_try` of them None: quarantined.

        A waiting message is not judged, and `deferred` says when its next try is due. A quarantined one
        counts as judged: it is left alone until a person says `retry` or `skip`.
        """
        key = {"account": account, "mailbox": mailbox, "uidvalidity": uidvalidity, "uid": uid}
        with self._database.write() as connection:
            found = connection.execute(select(message.c.tries).where(is_(message, key))).one_or_none()
            tries = (found.tries if found else 0) + 1
            wait = next_try(tries)
            values: dict[str, Any] = {"tries": tries, "error": reason}
            if wait is None:
                values |= {"state": "quarantined", "next_try": None}
            else:
                values |= {"state": "waiting", "next_try": at + wait}
            if found is None:
                connection.execute(insert(message).values(**key, **values, recorded_at=at))
            else:
                connection.execute(update(message).where(is_(message, key)).values(**values))
            if wait is None:
                add_ranges(connection, account, mailbox, uidvalidity, UidSet([uid]))
                self._say_quarantined(connection, key, reason, at)
            return tries

    def put_off(
        self, account: str, mailbox: str, uidvalidity: int, uids: Sequence[int], *, until: datetime
    ) -> None:
        """Note that judging these takes its time: they wait until then at most, and that is no failed try."""
        key = {"account": account, "mailbox": mailbox, "uidvalidity": uidvalidity}
        # One try: with none it would be taken for a suspect.
        told = {"state": "waiting", "tries": 1, "next_try": until, "error": _PUT_OFF, "recorded_at": until}
        rows = [{**key, "uid": uid, **told} for uid in uids]
        with self._database.write() as connection:
            upsert(connection, message, rows, update_columns=("state", "next_try", "error"))

    def take_up(self, *, at: datetime) -> None:
        """What another process had put off is due now: what it waited for has ended with that."""
        put_off = (schema.TROUBLED, message.c.state == "waiting", message.c.error == _PUT_OFF)
        with self._database.read() as connection:
            if connection.execute(select(message.c.uid).where(*put_off).limit(1)).first() is None:
                return  # a start writes as little as it can: there may be no room
        with self._database.write() as connection:
            connection.execute(update(message).where(*put_off).values(next_try=at))

    def _say_quarantined(
        self, connection: Connection, key: Mapping[str, Any], reason: str, at: datetime
    ) -> None:
        """A row in the log, so that there is an ID to say `retry` to."""
        run = connection.execute(
            insert(schema.run).values(
                account=key["account"], mailbox=key["mailbox"], kind="new", rules_hash="", started_at=at,
                ended_at=at, detail={},
            )
        ).lastrowid  # fmt: skip
        name = connection.scalar(select(message.c.identity).where(is_(message, key))) or ""
        row = {
            **key, "run": run, "identity": name, "rule": "", "revision": "", "step": 0, "place": 0,
            "action": JUDGE, "target": "", "arguments": {}, "leaves": False, "once": False, "again": 0,
            "rendered": False, "on_unknown": "hold", "destination": None, "state": "failed", "tries": 0,
            "next_try": None, "created_at": at, "ended_at": at, "changed_at": at,
            "detail": {"error": reason, "quarantined": True}, "undoes": None, "undone": None,
            "effect_key": effect_key((self._instance, *key.values(), JUDGE, run)),
        }  # fmt: skip
        insert_effects(connection, [row])

    def deferred(self, account: str, mailbox: str, uidvalidity: int) -> dict[int, datetime]:
        """Unjudged messages that wait: UID -> when their next try is due."""
        if self.quiet(account, mailbox):
            return {}
        with self._database.read() as connection:
            rows = connection.execute(
                select(message.c.uid, message.c.next_try).where(
                    schema.TROUBLED,
                    message.c.state == "waiting",
                    message.c.account == account,
                    message.c.mailbox == mailbox,
                    message.c.uidvalidity == uidvalidity,
                )
            )
            return {row.uid: row.next_try for row in rows}

    def troubled(self, state: str | None = None) -> list[Troubled]:
        """Messages that wait for another try at judging them, or are quarantined."""
        query = (
            select(message)
            .where(schema.TROUBLED)
            .order_by(message.c.account, message.c.mailbox, message.c.uid)
        )
        if state is not None:
            query = query.where(message.c.state == state)
        with self._database.read() as connection:
            return [
                Troubled(
                    r.account, r.mailbox, r.uidvalidity, r.uid, r.state, r.tries, r.next_try, r.error or "",
                    r.recorded_at, r.subject, r.message_id,
                )
                for r in connection.execute(query)
            ]  # fmt: skip

    @insisting
    def quarantine(self, ids: Sequence[int], *, reason: str, at: datetime) -> list[EffectRow]:
        """Give these effects up after too many tries, and leave their messages to a person."""
        with self._database.write() as connection:
            rows = self._set(
                connection, ids, ("planned", "later", "intent", "copied"), "failed", at,
                {id_: {"error": reason, "quarantined": True} for id_ in ids}, None,
            )  # fmt: skip
            for row in rows:
                connection.execute(
                    update(message).where(is_(message, _key(row))).values(state="quarantined", error=reason)
                )
            return rows

    # -- pause and resume ---------------------------------------------------------------------------
    def paused(self) -> frozenset[str]:
        """What is paused: `*`, `rule:NAME`, `account:NAME`, `mailbox:ACCOUNT/NAME`."""
        # Asked before every effect; while this process has the journal, nobody else writes it.
        known = None if self._database.read_only else self._paused
        if known is None:
            with self._database.read() as connection:  # within it nobody else changes what is remembered
                known = self._paused = frozenset(paused_now(connection))
        return known

    def pauses(self) -> list[PauseRow]:
        with self._database.read() as connection:
            rows = connection.execute(select(pause).order_by(pause.c.since))
            return [PauseRow(r.target, r.since, r.reason) for r in rows]

    @insisting
    def pause(self, target: str, *, reason: str, at: datetime) -> bool:
        """Pause it until `resume`, over restarts too. False if it was paused already."""
        with self._database.write() as connection:
            values = {"since": at, "reason": reason, "new_only": False}
            limited = update(pause).where(pause.c.target == target, pause.c.new_only).values(values)
            if not connection.execute(limited).rowcount:  # a person stops also what a limit lets go on
                if target in paused_now(connection):
                    return False
                connection.execute(insert(pause).values(target=target, **values))
            self._paused = None
        return True

    @insisting
    def hold(self, rows: Sequence[EffectRow], *, at: datetime) -> dict[int, str]:
        """Of effects that wait, those that a pause covers now become held. Gives them, and why.

        What is past its commit point can't be held: it is named, and stays as it is until the pause ends.
        An undo is what a person asked for, of a paused rule most likely: it goes on.
        """
        if not self.paused():
            return {}
        with self._database.write() as connection:
            paused = paused_now(connection, planned=True)
            scopes = {
                row.id: covering(row.rule, row.account, row.mailbox, row.action)
                for row in rows
                if row.undoes is None
            }
            why = {id_: why_held(scope & paused) for id_, scope in scopes.items() if scope & paused}
            held = [row for row in rows if row.id in why and row.state != "commit"]
            for piece in chunks(held):
                because = {row.id: {"because": why[row.id]} for row in piece}
                self._move(connection, piece, HELD_FROM, "held", at, because, None)
        return why

    @insisting
    def resume(self, target: str, *, at: datetime) -> tuple[bool, int]:
        """End a pause. Gives whether there was one, and how many held effects are planned again.

        An effect stays held while something else that is paused covers it. An account's sending goes on
        with the account. A person has looked: what its brakes have counted is forgotten.
        """
        kind, _, name = target.partition(":")
        ended = {target, f"sending:{name}"} if kind == "account" else {target}
        with self._database.write() as connection:
            was = connection.execute(delete(pause).where(pause.c.target.in_(ended))).rowcount > 0
            self._paused = None
            if kind == "rule":
                forget(connection, (f"run:{name}", f"hour:{name}"))
            elif kind == "account":
                forget(connection, (f"day:{name}",))
            paused = paused_now(connection)
            held = connection.execute(
                select(effect.c.id, effect.c.rule, effect.c.account, effect.c.mailbox, effect.c.action).where(
                    OPEN, effect.c.state == "held"
                )
            ).all()
            freed = [
                r.id
                for r in held
                if (scope := covering(r.rule, r.account, r.mailbox, r.action))
                and ended & scope
                and not scope & paused
            ]
            for piece in chunks(freed):
                self._set(connection, piece, ("held",), "planned", at, None, None)
            return was, len(freed) + self._let_leave(connection, at)

    def _let_leave(self, connection: Connection, at: datetime) -> int:
        """Within a transaction: what was held only because the message waited for something else that was."""
        freed = free_to_leave(connection)
        for piece in chunks(freed):
            self._set(connection, piece, ("held",), "planned", at, None, None)
        return len(freed)

    # -- retry and skip -----------------------------------------------------------------------------
    @insisting
    def retry(self, ids: Sequence[int], *, at: datetime) -> list[EffectRow]:
        """A person wants these done after all: planned again, tries from the start. All or none.

        For a message that could not be judged, or a rule that could not be rendered, it is judged anew.
        Raises PermanentError saying which can't be.
        """
        with self._database.write() as connection:
            rows = self._chosen(connection, ids, RETRIES, "retry")
            paused = paused_now(connection)
            for row in rows:
                stopped = covering(row.rule, row.account, row.mailbox, row.action) & paused
                if row.state == "held" and stopped:
                    name = sorted(stopped)[0]
                    word = "--all" if name == "*" else shlex.quote(name.partition(":")[2])
                    raise PermanentError(
                        f"effect {row.id} is held because {in_words(name)} is paused. "
                        f"`mailrules resume {word}` lets it go."
                    )
            for row in rows:
                values: dict[str, Any] = {"tries": 0, "next_try": None, "ended_at": None}
                if row.rendered:
                    values["state"] = "planned"
                    detail = {**row.detail, "unreached": 0} if "unreached" in row.detail else row.detail
                    if "recipients" in detail:  # who has it keeps it; the others are tried anew
                        settled = detail["recipients"].items()
                        has_it = {to: said for to, said in settled if said.get("state") == "done"}
                        detail = {**detail, "recipients": has_it}
                    values["detail"] = detail
                else:
                    self._judge_again(connection, row, at)
                    values |= {
                        "state": "skipped",
                        "ended_at": at,
                        "detail": {**row.detail, "judged_again": True},
                    }
                values |= {"changed_at": at, "change": take(connection, "change", 1)}
                connection.execute(update(effect).where(effect.c.id == row.id).values(**values))
                connection.execute(
                    update(message)
                    .where(is_(message, _key(row)), message.c.state == "quarantined")
                    .values(state="judged", error=None, tries=0, deaths=0)
                )
            self._let_leave(connection, at)
        return [row for row in map(self.effect, ids) if row is not None]

    def _judge_again(self, connection: Connection, row: EffectRow, at: datetime) -> None:
        key = _key(row)
        remove_from_judged(connection, row.account, row.mailbox, row.uidvalidity, row.uid)
        connection.execute(
            update(message)
            .where(is_(message, key))
            .values(state="waiting", tries=0, deaths=0, next_try=at, error=None)
        )
        # What was planned beside it is planned anew; what may happen only once keeps its place.
        stale = connection.scalars(
            select(effect.c.id).where(
                is_(effect, key), effect.c.state.in_(("planned", "held", "later")), ~effect.c.once
            )
        ).all()
        for id_ in stale:
            self._set(
                connection, [id_], ("planned", "held", "later"), "skipped", at,
                {id_: {"because": "the message is judged again"}}, None,
            )  # fmt: skip

    @insisting
    def skip(self, ids: Sequence[int], *, at: datetime) -> list[EffectRow]:
        """A person does without these; their messages may leave then. All or none. Raises PermanentError."""
        with self._database.write() as connection:
            rows = self._chosen(connection, ids, SKIPS, "skip")
            for start in range(0, len(rows), 500):
                self._set(
                    connection, [row.id for row in rows[start : start + 500]], SKIPS, "skipped", at,
                    None, None,
                )  # fmt: skip
            for row in rows:
                connection.execute(
                    update(message)
                    .where(is_(message, _key(row)), message.c.state == "quarantined")
                    .values(state="judged", error=None, deaths=0)
                )
            self._let_leave(connection, at)
        return [row for row in map(self.effect, ids) if row is not None]

    def unbegun(self, ids: Sequence[int]) -> set[int]:
        """Of these, what is planned and no try has ever begun with: after `retry`, or a pause in the midst,
        something may have been done for what is planned."""
        with self._database.read() as connection:
            return {id_ for piece in chunks(ids) for id_ in connection.scalars(_unbegun(piece))}

    @insisting
    def drop(self, ids: Sequence[int], *, because: str, at: datetime) -> set[int]:
        """Of these, what is planned and was never begun is skipped. What somebody has begun meanwhile stays.

        Gives those that are.
        """
        dropped: set[int] = set()
        with self._database.write() as connection:
            for piece in chunks(ids):
                unbegun = list(connection.scalars(_unbegun(piece)))
                why = {id_: {"because": because} for id_ in unbegun}
                self._set(connection, unbegun, ("planned",), "skipped", at, why, None)
                dropped.update(unbegun)
            self._let_leave(connection, at)
        return dropped

    def held_of(self, rule: str) -> list[int]:
        """The ids of what is held of a rule, oldest first."""
        query = select(effect.c.id).where(OPEN, effect.c.state == "held", effect.c.rule == rule)
        with self._database.read() as connection:
            return list(connection.scalars(query.order_by(effect.c.id)))

    def _chosen(
        self, connection: Connection, ids: Sequence[int], states: Sequence[State], verb: str
    ) -> list[EffectRow]:
        wrong: list[str] = []
        rows: list[EffectRow] = []
        for id_ in dict.fromkeys(ids):
            row = self._find(connection, id_)
            if row is None:
                wrong.append(f"there is no effect {id_}")
            elif row.state not in states:
                state = "running now" if row.state in ("intent", "copied", "commit") else row.state
                wrong.append(f"effect {id_} ({row.rule} {row.action}) is {state}")
            else:
                rows.append(row)
        if wrong:
            can = ", ".join(states)
            raise PermanentError(
                f"can't {verb}: {'; '.join(wrong)}. Only effects that are {can} can be; "
                "`mailrules log` shows them."
            )
        return rows


def _key(row: EffectRow) -> dict[str, Any]:
    return {
        "account": row.account,
        "mailbox": row.mailbox,
        "uidvalidity": row.uidvalidity,
        "uid": row.uid,
    }


def _unbegun(ids: Sequence[int]) -> Select[int]:
    return select(effect.c.id).where(
        effect.c.id.in_(ids), effect.c.state == "planned", effect.c.intent_at.is_(None)
    )
