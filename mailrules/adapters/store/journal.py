"""The journal: what was decided, and how far each effect has come (RELIABILITY 1.3).

::

    planned → intent → [copied | commit] → done | later | failed | unknown | gone
    held, later, failed, unknown → planned        a pause ends, a time comes, a person says `retry`
    what is open and can't be repeated → unknown  the journal was put back from a copy (`resync.py`)
    anything that waits → skipped                 a person says `skip`, or `undo` of what is planned
    would                                         dry run; never moves

An arrow is one committed transaction that says where it comes from (compare and set): if a row is not
there any more, somebody else has it, and `Fenced` is raised before anything is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, bindparam, func, literal_column, select, update

from mailrules.adapters.store.brakes import count_sends, shift
from mailrules.adapters.store.bulk import as_json, execute_many, moment
from mailrules.adapters.store.counters import take
from mailrules.adapters.store.database import Database
from mailrules.adapters.store.effects import LARGEST_SET, chunks, row_of, select_effects
from mailrules.adapters.store.hands import hold, put_down
from mailrules.adapters.store.mailboxes import is_
from mailrules.adapters.store.memory import Memory
from mailrules.adapters.store.quiet import Quiet
from mailrules.adapters.store.rows import EffectRow, State
from mailrules.adapters.store.schema import OPEN, TROUBLED, effect, message
from mailrules.adapters.store.undoing import note_undone
from mailrules.core.errors import TransientError
from mailrules.core.retry import LONGEST_WAIT

ARROWS: Mapping[State, frozenset[State]] = {
    # `done` straight from planned: `log` and `keep`, which are done by being recorded.
    "planned": frozenset({"intent", "held", "done", "later", "failed", "gone", "skipped"}),
    "held": frozenset({"planned", "skipped", "gone"}),
    # intent again: recovery found that nothing had happened, and does it anew.
    "intent": frozenset({"intent", "copied", "commit", "done", "later", "failed", "unknown", "gone", "held"}),
    "copied": frozenset({"intent", "copied", "done", "later", "failed", "unknown", "gone", "held"}),
    "commit": frozenset({"intent", "done", "later", "failed", "unknown", "gone"}),
    "later": frozenset({"intent", "planned", "held", "failed", "gone", "skipped", "done", "later"}),
    "failed": frozenset({"planned", "skipped"}),
    "unknown": frozenset({"planned", "skipped", "done", "failed"}),
    "done": frozenset(),
    "gone": frozenset({"planned"}),
    "skipped": frozenset(),
    "would": frozenset(),
}
UNFINISHED: tuple[State, ...] = ("planned", "intent", "copied", "commit", "later")
BEGINS: frozenset[State] = frozenset({"intent", "commit"})
"""Arrows before the act: if the disk is full they fail, and nothing is done. The others are insisted on."""
LETS_GO: tuple[State, ...] = ("done", "skipped", "would", "gone")
THROUGH: frozenset[State] = frozenset({"done", "gone"})
CALM: frozenset[State] = THROUGH | {"intent", "copied", "commit"}
"""Arrows after which nothing waits that did not before."""
HOLDS: tuple[State, ...] = tuple(state for state in ARROWS if state not in LETS_GO)
_TIME_OF = {"intent": "intent_at", "commit": "commit_at"} | dict.fromkeys(
    ("done", "failed", "unknown", "gone", "skipped"), "ended_at"
)


P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound=Memory)


def insisting(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """A method of one transaction that must not fail for want of room; see `Database.insist`."""

    @wraps(method)
    def insisted(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._database.insist(lambda: method(self, *args, **kwargs))

    return insisted


class Fenced(TransientError):
    """An effect is no longer where we left it: paused, decided by a person, or another worker's."""


class Journal(Memory, Quiet):
    """The part of the store that effects go through."""

    _database: Database
    _instance: str

    def unfinished(
        self, account: str, mailbox: str, *, now: datetime, uid: int | None = None
    ) -> list[EffectRow]:
        """What is to be done or to be recovered, by message, leaving last. `later` only when it is due.

        Of one message, if `uid` is given.
        """
        if self.quiet(account, mailbox):
            return []
        query = (
            select_effects()
            .where(
                OPEN,
                effect.c.state.in_(UNFINISHED),
                effect.c.account == account,
                effect.c.mailbox == mailbox,
                (effect.c.state != "later")
                | (effect.c.next_try.is_(None))
                | (effect.c.next_try <= now)
                | (effect.c.next_try > now + LONGEST_WAIT),
            )
            .order_by(effect.c.uidvalidity, effect.c.uid, effect.c.leaves, effect.c.place, effect.c.id)
        )
        if uid is not None:
            query = query.where(effect.c.uid == uid)
        with self._database.read() as connection:
            return [row_of(r) for r in connection.execute(query).mappings()]

    def due(self, account: str, mailbox: str, *, uidvalidity: int) -> datetime | None:
        """When the earliest `later` effect of this mailbox is to be tried again."""
        if self.quiet(account, mailbox):
            return None
        with self._database.read() as connection:
            earliest: datetime | None = connection.scalar(
                select(func.min(effect.c.next_try)).where(
                    OPEN,
                    effect.c.state == "later",
                    effect.c.account == account,
                    effect.c.mailbox == mailbox,
                    effect.c.uidvalidity == uidvalidity,
                )
            )
            return earliest

    def clock_set(self, by: timedelta, *, ago: timedelta, now: datetime) -> int:
        """The wall clock was set, at most `ago`: what waits is due as much later or earlier. Gives how many.

        What was written since `ago` may have the new time already, and stays.
        """
        with self._database.write() as connection:
            waiting = connection.execute(
                select(effect.c.id, effect.c.next_try).where(
                    OPEN,
                    effect.c.state == "later",
                    effect.c.next_try.is_not(None),
                    ~effect.c.changed_at.between(now - ago, now),
                )
            ).all()
            for row in waiting:
                connection.execute(
                    update(effect).where(effect.c.id == row.id).values(next_try=row.next_try + by)
                )
            deferred = connection.execute(
                select(message).where(TROUBLED, message.c.state == "waiting", message.c.next_try.is_not(None))
            ).all()
            for each in deferred:
                key = {name: getattr(each, name) for name in ("account", "mailbox", "uidvalidity", "uid")}
                connection.execute(
                    update(message).where(is_(message, key)).values(next_try=each.next_try + by)
                )
            shift(connection, by)
            return len(waiting) + len(deferred)

    def unfinished_mailboxes(self, account: str) -> list[str]:
        """Mailboxes with effects that wait for us, not for a person."""
        with self._database.read() as connection:
            return list(
                connection.scalars(
                    select(effect.c.mailbox)
                    .where(OPEN, effect.c.account == account, effect.c.state.in_(UNFINISHED))
                    .distinct()
                )
            )

    def advance(
        self,
        ids: Sequence[int],
        *,
        frm: State | Sequence[State],
        to: State,
        at: datetime,
        detail: Mapping[int, Mapping[str, Any]] | None = None,
        next_try: datetime | None = None,
        hand: str = "",
        known: Sequence[EffectRow] = (),
    ) -> list[EffectRow]:
        """One arrow for a set, in one transaction. Gives the rows as they are now, in the order of `ids`.

        `known`: the rows as they were when last seen; they are not read again then, and one that somebody has
        changed since counts as not in `frm`.
        Raises Fenced, with nothing written, if one of them is not in `frm`. `detail` is merged into what
        is there. Going to `intent` counts a try before the attempt, so that one which kills the process
        counts too, and takes their messages in `hand`; any other arrow that names a hand empties it. Raises
        StoreFull; to `intent` already while room is short.
        """
        sources = (frm,) if isinstance(frm, str) else tuple(frm)

        def arrow() -> list[EffectRow]:
            calm = to in CALM
            # If a power cut undoes that it ended, the server can be asked. Of what was sent it can't.
            durable = not (known and to in THROUGH and all(not row.once for row in known))
            with self._database.write(irrevocable=to == "commit", durable=durable, calm=calm) as connection:
                if known:
                    rows = self._move(connection, known, sources, to, at, detail or {}, next_try)
                else:
                    rows = self._set(connection, ids, sources, to, at, detail, next_try)
                if to == "done":
                    note_undone(connection, rows)
                if to == "commit":
                    count_sends(connection, rows, at)
                if hand and rows:
                    of = rows[0]
                    if to == "intent":
                        uids = [row.uid for row in rows]
                        hold(connection, of.account, of.mailbox, hand, of.uidvalidity, uids)
                    else:
                        put_down(connection, of.account, of.mailbox, hand)
                if rows and to in THROUGH:
                    self._count(rows[0].account, rows[0].mailbox, -len(rows))
                return rows

        if to == "intent":
            self._database.demand_room()
        # `commit` passes while room is only short: its effect began when there was enough, the ballast
        # keeps room for its outcome, and stopping here would only ask for one more try. But it never has
        # the ballast: if it can't be written, nothing is done.
        return arrow() if to in BEGINS else self._database.insist(arrow)

    def _set(
        self,
        connection: Connection,
        ids: Sequence[int],
        frm: Sequence[State],
        to: State,
        at: datetime,
        detail: Mapping[int, Mapping[str, Any]] | None,
        next_try: datetime | None,
    ) -> list[EffectRow]:
        if not ids:
            return []
        if len(ids) > LARGEST_SET:
            raise ValueError(f"{len(ids)} effects in one set; at most {LARGEST_SET}")
        frm = [state for state in frm if to in ARROWS[state]]
        values: dict[str, Any] = {
            "state": to,
            "changed_at": at,
            "change": take(connection, "change", 1),
            "next_try": next_try if to == "later" else None,
        }
        if to in _TIME_OF:
            values[_TIME_OF[to]] = at
        if to == "intent":
            values["tries"] = effect.c.tries + 1
        wanted = effect.c.id.in_(ids)
        moved = connection.execute(
            update(effect).where(wanted, effect.c.state.in_(frm)).values(**values)
        ).rowcount
        if moved != len(set(ids)):
            rows = connection.execute(select(effect.c.id, effect.c.state).where(wanted)).all()
            raise Fenced(_why_fenced({r.id: r.state for r in rows}, ids, to, moved))
        found = {r["id"]: r for r in connection.execute(select_effects().where(wanted)).mappings()}
        if detail:
            merged = {id_: {**found[id_]["detail"], **new} for id_, new in detail.items() if new}
            if merged:
                connection.execute(
                    update(effect).where(effect.c.id == bindparam("this")).values(detail=bindparam("merged")),
                    [{"this": id_, "merged": all_} for id_, all_ in merged.items()],
                )
            return [row_of({**found[id_], "detail": merged.get(id_, found[id_]["detail"])}) for id_ in ids]
        return [row_of(found[id_]) for id_ in ids]

    def _move(
        self,
        connection: Connection,
        rows: Sequence[EffectRow],
        frm: Sequence[State],
        to: State,
        at: datetime,
        detail: Mapping[int, Mapping[str, Any]],
        next_try: datetime | None,
    ) -> list[EffectRow]:
        """`_set` for rows that are known: each written once, none read."""
        if len(rows) > LARGEST_SET:
            raise ValueError(f"{len(rows)} effects in one set; at most {LARGEST_SET}")
        more = to == "intent"
        due = next_try if to == "later" else None
        change = take(connection, "change", 1)
        stamp, due_stamp = moment(at), moment(due)
        texts: dict[int, str] = {}  # the same addition to nothing, for each row
        seens: dict[datetime, int | None] = {}  # few moments, of many rows
        written, moved = [], []
        for row in rows:
            new = detail.get(row.id) or {}
            merged = {**row.detail, **new} if row.detail else new
            text = texts.get(id(new)) if not row.detail else None
            if text is None:
                text = as_json(merged)
                if not row.detail:
                    texts[id(new)] = text
            seen = row.changed_at
            if seen not in seens:
                seens[seen] = moment(seen)
            written.append(
                {
                    "this": row.id, "seen": seens[seen], "stamp": stamp, "number": change,
                    "due": due_stamp, "said": text,
                }
            )  # fmt: skip
            moved.append(row.moved(to, tries=row.tries + more, next_try=due, changed_at=at, detail=merged))
        arrow = _arrow(to, tuple(state for state in frm if to in ARROWS[state]))
        count = execute_many(connection, arrow, written)
        if count != len(rows):
            ids = [row.id for row in rows]
            found = connection.execute(select(effect.c.id, effect.c.state).where(effect.c.id.in_(ids))).all()
            raise Fenced(_why_fenced({r.id: r.state for r in found}, ids, to, count))
        return moved

    def blocking(self, rows: Sequence[EffectRow]) -> dict[int, int]:
        """Of these leaving effects, those that must wait -> the effect on the same message they wait for.

        A message leaves when everything else that any rule planned for it is done, or a person skipped
        it. A rule whose template failed holds its message only for the run in which it failed.
        """
        if rows and self._under_way(rows[0].account, rows[0].mailbox) == len(rows):
            return {}  # nothing else is open
        places: dict[tuple[str, str, int], dict[int, list[EffectRow]]] = {}
        for row in rows:
            place = places.setdefault((row.account, row.mailbox, row.uidvalidity), {})
            place.setdefault(row.uid, []).append(row)
        blocked: dict[int, int] = {}
        with self._database.read() as connection:
            for (account, mailbox, uidvalidity), by_uid in places.items():
                # All that is open and stays, in this mailbox: the index has just that, and it is little.
                for other in connection.execute(
                    select(effect.c.id, effect.c.uid, effect.c.run, effect.c.rendered).where(
                        OPEN,
                        effect.c.state.in_(HOLDS),
                        effect.c.account == account,
                        effect.c.mailbox == mailbox,
                        effect.c.uidvalidity == uidvalidity,
                        ~effect.c.leaves,
                    )
                ):
                    for row in by_uid.get(other.uid, ()):
                        if other.rendered or other.run == row.run:
                            blocked[row.id] = min(other.id, blocked.get(row.id, other.id))
        return blocked

    def put_at(self, account: str, identities: Sequence[str]) -> set[tuple[str, int]]:
        """Where effects that are done have put messages of these identities: (mailbox, UID)."""
        found: set[tuple[str, int]] = set()
        with self._database.read() as connection:
            for chunk in chunks(sorted(set(identities))):
                for row in connection.execute(
                    select(effect.c.destination, effect.c.detail).where(
                        effect.c.account == account,
                        effect.c.identity.in_(chunk),
                        effect.c.state == "done",
                        effect.c.destination.is_not(None),
                    )
                ):
                    if "to_uid" in row.detail:
                        found.add((row.destination, int(row.detail["to_uid"])))
        return found

    def leaving(self, id_: int) -> bool:
        """Whether another effect of the same run is to take this effect's message out of its mailbox."""
        other = effect.alias("other")
        with self._database.read() as connection:
            found = connection.scalar(
                select(other.c.id)
                .join(
                    effect,
                    (other.c.account == effect.c.account)
                    & (other.c.mailbox == effect.c.mailbox)
                    & (other.c.uidvalidity == effect.c.uidvalidity)
                    & (other.c.uid == effect.c.uid)
                    & (other.c.run == effect.c.run),
                )
                .where(
                    effect.c.id == id_,
                    other.c.id != id_,
                    other.c.leaves,
                    other.c.state.not_in((*LETS_GO, "failed")),
                )
                .limit(1)
            )
            return found is not None


@lru_cache(maxsize=100)
def _arrow(to: State, frm: tuple[State, ...]) -> Any:
    """The UPDATE for one arrow, for `execute_many`."""
    values: dict[str, Any] = {
        "state": literal_column(f"'{to}'"), "changed_at": bindparam("stamp"), "change": bindparam("number"),
        "next_try": bindparam("due"), "detail": bindparam("said"),
    }  # fmt: skip
    if to in _TIME_OF:
        values[_TIME_OF[to]] = bindparam("stamp")
    if to == "intent":
        values["tries"] = effect.c.tries + literal_column("1")
    return (
        update(effect)
        .where(
            effect.c.id == bindparam("this"),
            effect.c.changed_at == bindparam("seen"),
            effect.c.state.in_([literal_column(f"'{state}'") for state in frm]),
        )
        .values(**values)
    )


def _why_fenced(states: Mapping[int, str], ids: Sequence[int], to: str, moved: int) -> str:
    missing = [id_ for id_ in ids if id_ not in states]
    if missing:
        return f"effect {missing[0]} is no longer in the journal; nothing was done"
    kinds = ", ".join(sorted(set(states.values())))
    return f"{len(ids) - moved} of {len(ids)} effects can't go to {to}: they are {kinds}, somebody else's now"
