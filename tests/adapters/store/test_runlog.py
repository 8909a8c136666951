"""The run log: SPEC section 8's objects, filters, following, forgetting."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from mailrules.adapters.store import STATES, LogQuery, Store
from mailrules.adapters.store.rows import State

from .journal_words import T0, at, decided, flag, forward, move, record


def test_an_object_to_the_letter(store: Store) -> None:
    """One effect is one object with exactly these keys, its time in UTC."""
    (row,) = record(store, decided(4, move("Work")))
    store.advance([row.id], frm="planned", to="intent", at=at(1))
    store.advance([row.id], frm="intent", to="done", at=at(1.5), detail={row.id: {"to_uid": 9}})
    assert list(store.log()) == [
        {
            "id": row.id,
            "time": "2026-03-01T09:00:01.623456Z",
            "run": row.run,
            "account": "work",
            "mailbox": "INBOX",
            "uid": 4,
            "message_id": "<a@example.org>",
            "subject": "Hello",
            "rule": "filing",
            "action": "move",
            "arguments": {"mailbox": "Work"},
            "state": "done",
            "detail": {"to_uid": 9},
            "undone": None,
        }
    ]


@pytest.mark.parametrize("state", ["intent", "copied", "commit"])
def test_under_way_is_running(store: Store, state: State) -> None:
    """How far an effect is under way is nobody's business but the journal's."""
    (row,) = record(store, decided(4, forward()))
    store.advance([row.id], frm="planned", to="intent", at=at(1))
    if state != "intent":
        store.advance([row.id], frm="intent", to=state, at=at(1))
    (shown,) = store.log(LogQuery(states=("running",)))
    assert shown["state"] == "running"
    assert list(store.log(LogQuery(states=("planned", "done")))) == []


def test_every_state_has_its_word() -> None:
    """The log's words are those of the contract."""
    assert set(STATES) == {
        "planned",
        "held",
        "running",
        "done",
        "later",
        "failed",
        "unknown",
        "gone",
        "skipped",
        "would",
    }


@pytest.fixture
def some(store: Store) -> Store:
    record(store, decided(1, flag(), move("A")), decided(2, flag(rule="r2"), message_id="<b@x>"))
    record(store, decided(3, flag(state="would")), account="home", mailbox="Team", when=at(100))
    return store


@pytest.mark.parametrize(
    ("query", "uids"),
    [
        (LogQuery(), [1, 1, 2, 3]),
        (LogQuery(rules=("filing",)), [1, 1, 3]),
        (LogQuery(rules=("r2", "filing"), accounts=("work",)), [1, 1, 2]),
        (LogQuery(mailboxes=("Team",)), [3]),
        (LogQuery(actions=("move",)), [1]),
        (LogQuery(states=("would",)), [3]),
        (LogQuery(states=("would", "planned"), accounts=("home",)), [3]),
        (LogQuery(message_id="b@x"), [2]),
        (LogQuery(message_id="<b@x>"), [2]),
        (LogQuery(since=at(100)), [3]),
        (LogQuery(since=at(101)), []),
        (LogQuery(limit=2), [2, 3]),
        (LogQuery(run=1, limit=1), [2]),
        (LogQuery(ids=(1, 4)), [1, 3]),
    ],
)
def test_filters(some: Store, query: LogQuery, uids: list[int]) -> None:
    """Each filter leaves what it names; several together must all hold."""
    assert [shown["uid"] for shown in some.log(query)] == uids


def test_since_is_about_the_last_change(some: Store) -> None:
    """An effect tried again in the last hour is shown, however long ago it was planned."""
    some.advance([1], frm="planned", to="done", at=at(5000))
    assert [shown["id"] for shown in some.log(LogQuery(since=at(4000)))] == [1]


def test_many_pages_are_one_log(store: Store) -> None:
    """Reading in pages leaves nothing out and shows nothing twice."""
    for start in range(0, 2500, 500):
        record(store, *[decided(uid, flag()) for uid in range(start + 1, start + 501)])
    assert [shown["uid"] for shown in store.log()] == list(range(1, 2501))


def test_following_shows_each_change(some: Store) -> None:
    """What is there comes first, then every new effect and every new state, as it comes."""
    steps = iter(
        [
            lambda: record(some, decided(7, flag()), when=at(1)),
            lambda: some.advance([5], frm="planned", to="done", at=at(2)),
            lambda: None,
        ]
    )

    def wait() -> bool:
        step = next(steps, None)
        if step is not None:
            step()
        return step is not None

    shown = [(o["uid"], o["state"]) for o in some.follow(LogQuery(accounts=("work",)), wait=wait)]
    assert shown == [(1, "planned"), (1, "planned"), (2, "planned"), (7, "planned"), (7, "done")]


def test_following_needs_no_clock(some: Store) -> None:
    """A change is seen even if the wall clock was put back meanwhile."""
    moments: Iterator[Any] = iter([lambda: record(some, decided(8, flag()), when=at(-86400)), None])

    def wait() -> bool:
        step = next(moments)
        if step is not None:
            step()
        return step is not None

    assert [o["uid"] for o in some.follow(wait=wait)][-1] == 8


def test_counts(some: Store) -> None:
    """Open effects are counted by state, rules by the messages they matched, dry runs left out."""
    some.advance([1], frm="planned", to="intent", at=at(1))
    some.advance([2], frm="planned", to="held", at=at(1))
    assert some.counts() == {"running": 1, "held": 1, "planned": 1}
    assert some.held_by_rule() == {"filing": 1}
    assert [(h.rule, h.hits, h.last_at) for h in some.rule_hits()] == [("filing", 1, T0), ("r2", 1, T0)]
    assert [o["id"] for o in some.open_log("held")] == [2]


def test_hits_of_rules_without_effects(store: Store) -> None:
    """A rule that only stops is counted where the run says so."""
    record(store, decided(1), hits={"stopper": 3})
    record(store, decided(2), hits={"stopper": 2}, when=at(9))
    assert [(h.rule, h.hits, h.last_at) for h in store.rule_hits()] == [("stopper", 5, at(9))]


def test_old_rows_are_forgotten(store: Store) -> None:
    """What ended long ago goes, with its message and its run; what waits for a person stays."""
    day = 86400
    rows = record(store, decided(1, flag()), decided(2, flag()), decided(3, forward()))
    store.end_run(rows[0].run, at=T0, judged=3, matched=3)
    for row in (rows[0], rows[2]):
        store.advance([row.id], frm="planned", to="done", at=at(1))
    store.advance([rows[1].id], frm="planned", to="held", at=at(1))
    assert store.expire(now=at(10 * day), keep=timedelta(days=30)) == 0
    assert store.expire(now=at(40 * day), keep=timedelta(days=30)) == 1
    assert [o["uid"] for o in store.log()] == [2, 3]
    assert store.known("work", ["id-1", "id-2", "id-3"]) == {"id-2", "id-3"}


def test_once_is_remembered_for_400_days(store: Store) -> None:
    """However short the log is kept, what was sent is not sent again within 400 days."""
    day = 86400
    (row,) = record(store, decided(1, forward(), identity="x"))
    store.advance([row.id], frm="planned", to="done", at=at(1))
    store.expire(now=at(399 * day), keep=timedelta(days=1))
    assert record(store, decided(1, forward(), identity="x")) == []
    assert store.expire(now=at(402 * day), keep=timedelta(days=1)) == 1
