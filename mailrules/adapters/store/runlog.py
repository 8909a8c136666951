"""The run log: one object per effect, to the letter of SPEC section 8; counts; how long rows are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, exists, func, select

from mailrules.adapters.store.database import Database
from mailrules.adapters.store.rows import LogQuery, RuleHits
from mailrules.adapters.store.schema import OPEN, effect, message, rule_hits, rule_text, run, unmatched

RUNNING = ("intent", "copied", "commit")
"""How far an effect has come is the journal's business; the log says `running`."""
STATES = (
    "planned", "held", "running", "done", "later", "failed", "unknown", "gone", "skipped", "would",
)  # fmt: skip
"""The log's words."""
PAGE = 1000
"""Rows of one read: a reader that pauses (a pager) must not keep the WAL from being written back."""
KEPT_ONCE = timedelta(days=400)
"""What must not happen twice is remembered at least this long (R12)."""

Log = dict[str, Any]
EVERYTHING = LogQuery()


class RunLog:
    """The part of the store that answers questions."""

    _database: Database

    def log(self, query: LogQuery = EVERYTHING) -> Iterator[Log]:
        """The effects that a query selects, oldest first."""
        if query.limit is not None:
            newest = filtered(query).order_by(effect.c.id.desc()).limit(query.limit)
            with self._database.read() as connection:
                rows = [as_json(r) for r in connection.execute(newest).mappings()]
            yield from reversed(rows)
            return
        last = 0
        while True:
            page = filtered(query).where(effect.c.id > last).order_by(effect.c.id).limit(PAGE)
            with self._database.read() as connection:
                rows = [as_json(r) for r in connection.execute(page).mappings()]
            yield from rows
            if len(rows) < PAGE:
                return
            last = rows[-1]["id"]

    def follow(
        self,
        query: LogQuery = EVERYTHING,
        *,
        wait: Callable[[], bool],
    ) -> Iterator[Log]:
        """The same, then every change as it comes, for as long as `wait` says so between two looks."""
        with self._database.read() as connection:
            seen = connection.scalar(select(func.max(effect.c.change))) or 0
        yield from self.log(query)
        while wait():
            query_ = filtered(query).where(effect.c.change > seen).order_by(effect.c.change, effect.c.id)
            with self._database.read() as connection:
                rows = list(connection.execute(query_).mappings())
            for row in rows:
                seen = max(seen, row["change"])
                yield as_json(row)

    def counts(self) -> dict[str, int]:
        """How many effects are in each state in which something or somebody is waited for."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(effect.c.state, func.count()).where(OPEN).group_by(effect.c.state)
            ).all()
        counted: dict[str, int] = {}
        for state, number in rows:
            word = "running" if state in RUNNING else state
            counted[word] = counted.get(word, 0) + number
        return counted

    def next_try(self) -> datetime | None:
        """When the first of the effects in state `later` is due."""
        with self._database.read() as connection:
            query = select(func.min(effect.c.next_try)).where(OPEN, effect.c.state == "later")
            found: datetime | None = connection.scalar(query)
            return found

    def held_by_rule(self) -> dict[str, int]:
        """How many effects of each rule are held."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(effect.c.rule, func.count())
                .where(OPEN, effect.c.state == "held")
                .group_by(effect.c.rule)
            )
            return {row[0]: row[1] for row in rows}

    def rule_hits(self) -> list[RuleHits]:
        """How often each rule matched, over all accounts, by name."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(rule_hits.c.rule, func.sum(rule_hits.c.hits), func.max(rule_hits.c.last_at))
                .group_by(rule_hits.c.rule)
                .order_by(rule_hits.c.rule)
            )
            return [RuleHits(*row) for row in rows]

    def first_run(self) -> datetime | None:
        """When the oldest run began that the journal remembers."""
        with self._database.read() as connection:
            began: datetime | None = connection.scalar(select(func.min(run.c.started_at)))
            return began

    def open_log(self, state: str, *, limit: int = 1000) -> list[Log]:
        """Log objects of what is held, unknown, failed, …: the newest, oldest first."""
        states = RUNNING if state == "running" else (state,)
        query = _joined().where(OPEN, effect.c.state.in_(states)).order_by(effect.c.id.desc()).limit(limit)
        with self._database.read() as connection:
            return [as_json(r) for r in connection.execute(query).mappings()][::-1]

    def expire(self, *, now: datetime, keep: timedelta, batch: int = 2000) -> int:
        """Forget ended effects older than `keep`, and what hangs on them; gives how many effects went.

        What can happen only once is kept for 400 days at least. What waits for a person is kept.
        Call it again while it gives `batch`: each call is one short transaction.
        """
        old, old_once = now - keep, now - max(keep, KEPT_ONCE)
        ended = effect.c.state.in_(("done", "failed", "gone", "skipped", "would"))
        with self._database.write() as connection:
            ids = connection.scalars(
                select(effect.c.id)
                .where(ended, effect.c.changed_at < old, ~effect.c.once | (effect.c.changed_at < old_once))
                .limit(batch)
            ).all()
            for start in range(0, len(ids), 500):
                connection.execute(delete(effect).where(effect.c.id.in_(ids[start : start + 500])))
            if len(ids) < batch:
                connection.execute(
                    delete(message).where(
                        message.c.state == "judged",
                        message.c.recorded_at < old,
                        ~exists().where(
                            effect.c.account == message.c.account,
                            effect.c.mailbox == message.c.mailbox,
                            effect.c.uidvalidity == message.c.uidvalidity,
                            effect.c.uid == message.c.uid,
                        ),
                    )
                )
                connection.execute(
                    delete(run).where(
                        run.c.started_at < old,
                        run.c.ended_at.is_not(None),
                        ~exists().where(effect.c.run == run.c.id),
                    )
                )
                connection.execute(delete(unmatched).where(unmatched.c.kept_at < old))
        return len(ids)

    def rules_recorded(self) -> list[str]:
        """Names of all rules the journal has heard of."""
        with self._database.read() as connection:
            named = select(rule_text.c.name).where(rule_text.c.name != "").distinct()  # "": a whole set
            kept = set(connection.scalars(named))
            return sorted(kept.union(connection.scalars(select(rule_hits.c.rule).distinct())))


def _joined() -> Select[Any]:
    return select(effect, message.c.message_id, message.c.subject).join(
        message,
        (effect.c.account == message.c.account)
        & (effect.c.mailbox == message.c.mailbox)
        & (effect.c.uidvalidity == message.c.uidvalidity)
        & (effect.c.uid == message.c.uid),
    )


def filtered(query: LogQuery) -> Select[Any]:
    """Effects that a query selects, each with its message's Message-ID and subject."""
    selected = _joined()
    for column, values in (
        (effect.c.rule, query.rules),
        (effect.c.account, query.accounts),
        (effect.c.mailbox, query.mailboxes),
        (effect.c.action, query.actions),
        (effect.c.id, query.ids),
    ):
        if values:
            selected = selected.where(column.in_(values))
    if query.states:
        states = {s for state in query.states for s in (RUNNING if state == "running" else (state,))}
        selected = selected.where(effect.c.state.in_(sorted(states)))
    if query.since is not None:
        selected = selected.where(effect.c.changed_at >= query.since)
    if query.until is not None:
        selected = selected.where(effect.c.changed_at < query.until)
    if query.message_id is not None:
        selected = selected.where(same_message_id(query.message_id))
    if query.run is not None:
        selected = selected.where(effect.c.run == query.run)
    return selected


def same_message_id(text: str) -> ColumnElement[bool]:
    """Messages of this Message-ID, with angle brackets or without."""
    bare = text.strip().removeprefix("<").removesuffix(">")
    return message.c.message_id.in_((bare, f"<{bare}>"))


def as_json(row: Any) -> Log:
    """One object of `log --json`. `time` is when it came into this state."""
    return {
        "id": row["id"],
        "time": timestamp(row["changed_at"]),
        "run": row["run"],
        "account": row["account"],
        "mailbox": row["mailbox"],
        "uid": row["uid"],
        "message_id": row["message_id"],
        "subject": row["subject"],
        "rule": row["rule"] or None,
        "action": row["action"],
        "arguments": row["arguments"],
        "state": "running" if row["state"] in RUNNING else row["state"],
        "detail": row["detail"],
        "undone": row["undone"],
    }


def timestamp(moment: datetime | None) -> str | None:
    """RFC 3339, UTC; None stays None."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
