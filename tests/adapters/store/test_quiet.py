"""Where nothing waits is not asked again; where something does is known at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection

from mailrules.adapters.store import Store, StoreFull
from tests.adapters.store.journal_words import at, baseline, decided, flag, forward, move, record


@pytest.fixture
def reads(store: Store, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], int]:
    """How many transactions that only read some work takes."""
    count = [0]
    read = store._database.read

    @contextmanager
    def counted() -> Iterator[Connection]:
        count[0] += 1
        with read() as connection:
            yield connection

    monkeypatch.setattr(store._database, "read", counted)

    def of(work: Callable[[], Any]) -> int:
        before = count[0]
        work()
        return count[0] - before

    return of


def through(store: Store, uid: int) -> None:
    """A new mail is judged, and moved."""
    (row,) = record(store, decided(uid, move()))
    (row,) = store.advance([row.id], frm="planned", to="intent", at=at(1), known=[row], hand="act")
    store.advance([row.id], frm="intent", to="done", at=at(2), known=[row], hand="act")


def test_a_quiet_mailbox_is_asked_once(store: Store, reads: Callable[[Callable[[], Any]], int]) -> None:
    """New mail that is moved without trouble leaves a mailbox as quiet as it was."""
    baseline(store)
    assert reads(lambda: store.quiet("work", "INBOX")) == 1
    for uid in range(1, 6):
        through(store, uid)

    def ask() -> None:
        assert store.quiet("work", "INBOX")
        assert store.unfinished("work", "INBOX", now=at(9)) == []
        assert store.due("work", "INBOX", uidvalidity=7) is None
        assert store.deferred("work", "INBOX", 7) == {}
        assert store.suspects("work", "INBOX", 7) == frozenset()

    assert reads(ask) == 0


@pytest.mark.parametrize("state", ["planned", "held"])
def test_what_is_planned_is_seen(store: Store, state: Any) -> None:
    """An effect that is not through makes its mailbox unquiet; others stay quiet."""
    baseline(store)
    baseline(store, mailbox="Team")
    assert store.quiet("work", "INBOX") and store.quiet("work", "Team")
    record(store, decided(1, flag(state=state)))
    assert not store.quiet("work", "INBOX")
    assert store.quiet("work", "Team")


@pytest.mark.parametrize("to", ["later", "failed", "unknown"])
def test_what_goes_wrong_is_seen(store: Store, to: Any) -> None:
    """So does one that ends in trouble, until somebody has dealt with it."""
    baseline(store)
    assert store.quiet("work", "INBOX")
    (row,) = record(store, decided(1, forward()))
    store.advance([row.id], frm="planned", to="intent", at=at(1))
    store.advance([row.id], frm="intent", to=to, at=at(2), next_try=at(3))
    assert not store.quiet("work", "INBOX")
    store.skip([row.id], at=at(4))
    assert store.quiet("work", "INBOX")


def test_what_waits_is_seen(store: Store) -> None:
    """A message that can't be judged yet, or that was in hand when the process died."""
    baseline(store)
    assert store.quiet("work", "INBOX")
    store.take("work", "INBOX", "judge", 7, [3])
    assert store.bury(at=at(1)).suspects == 1
    assert not store.quiet("work", "INBOX")
    assert store.suspects("work", "INBOX", 7) == {3}


def test_only_what_leaves_is_open(store: Store, reads: Callable[[Callable[[], Any]], int]) -> None:
    """Nothing blocks a message whose leaving is all that is open; what else is open is looked at."""
    baseline(store)
    assert store.quiet("work", "INBOX")
    (leaving,) = record(store, decided(1, move()))
    assert reads(lambda: store.blocking([leaving])) == 0
    (staying,) = record(store, decided(2, flag()))
    assert reads(lambda: store.blocking([leaving])) == 1
    assert store.blocking([leaving]) == {}
    assert staying.id not in store.blocking([leaving])


def test_a_reader_remembers_nothing(store: Store) -> None:
    """Another process writes what it reads."""
    baseline(store)
    with Store.open(store.path.parent, read_only=True) as reader:
        assert not reader.quiet("work", "INBOX")


def test_what_could_not_be_written_counts_for_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction that fails at its end, and is done once more, does not count twice."""
    baseline(store)
    assert store.quiet("work", "INBOX")
    rows = record(store, decided(1, flag(), move()))
    (flagging, moving) = rows
    (flagging,) = store.advance([flagging.id], frm="planned", to="intent", at=at(1), known=[flagging])
    before_commit, failures = store._database.before_commit, [StoreFull("no room")]

    def full_once(connection: Connection, irrevocable: bool) -> Callable[[], None] | None:
        if failures:
            raise failures.pop()
        return before_commit(connection, irrevocable)

    monkeypatch.setattr(store._database, "before_commit", full_once)
    store.advance([flagging.id], frm="intent", to="done", at=at(2), known=[flagging])
    assert not failures
    assert not store.quiet("work", "INBOX")
    assert [row.id for row in store.unfinished("work", "INBOX", now=at(9))] == [moving.id]
