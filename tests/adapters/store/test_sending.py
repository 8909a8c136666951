"""So many a minute and account are sent, the rest waits; so many a day, the rest is held."""

from __future__ import annotations

import threading
from datetime import datetime

import pytest

from mailrules.adapters.store import EffectRow, Store, sending

from .journal_words import at, decided, flag, forward, record


def send(store: Store, row: EffectRow, when: datetime) -> bool:
    """As the performer does it: whether there was room."""
    with store.undisturbed():
        free, _, _ = store.room_to_send([row], at=when)
        if not free:
            return False
        (row,) = store.advance([row.id], frm=("planned", "later"), to="intent", at=when, known=free)
    (row,) = store.advance([row.id], frm="intent", to="commit", at=when, known=[row])
    store.advance([row.id], frm="commit", to="done", at=when, known=[row])
    return True


def planned(store: Store, count: int, *, first: int = 1, **more: object) -> list[EffectRow]:
    return record(store, *(decided(n, forward()) for n in range(first, first + count)), **more)  # type: ignore[arg-type]


def test_what_is_more_than_a_minute_takes_waits_its_turn(store: Store) -> None:
    """Of 60, 20 go now, 20 in a minute, 20 in two; that is not a try."""
    rows = planned(store, 60)
    free, others, _ = store.room_to_send(rows, at=at(1))
    assert (free, others) == (rows[:20], "later")
    for row in free:
        assert send(store, row, at(1))
    waiting = [row for row in map(store.effect, [row.id for row in rows[20:]]) if row]
    assert {row.state for row in waiting} == {"later"} and {row.tries for row in waiting} == {0}
    due = [(row.next_try - at(1)).total_seconds() for row in waiting if row.next_try]
    assert [len([d for d in due if low <= d < low + 3]) for low in (60, 120)] == [20, 20]
    assert "20 messages a minute" in waiting[0].detail["because"]
    assert store.unfinished("work", "INBOX", now=at(59)) == []
    for n, minute in enumerate((63, 126)):
        now_due = store.unfinished("work", "INBOX", now=at(minute))
        assert len(now_due) == 20, n
        assert all(send(store, row, at(minute)) for row in now_due)


def test_those_under_way_take_their_room(store: Store) -> None:
    """What has begun counts until it ends: more than there is room for never begin. One that fails gives
    its room back."""
    rows = planned(store, 21)
    begun = store.advance([r.id for r in rows[:20]], frm="planned", to="intent", at=at(1))
    assert not send(store, rows[20], at(2))
    store.advance([begun[0].id], frm="intent", to="failed", at=at(3))
    (row,) = [row for row in store.unfinished("work", "INBOX", now=at(100)) if row.state == "later"]
    assert send(store, row, at(4))


def test_what_a_dead_mailbox_has_begun_does_not_count_for_ever(store: Store) -> None:
    """Sends left at `intent` where nobody finishes them take no room after an hour."""
    rows = planned(store, 21)
    store.advance([r.id for r in rows[:20]], frm="planned", to="intent", at=at(1))
    assert send(store, rows[20], at(3700))


def test_scripts_and_flags_are_not_sends(store: Store) -> None:
    """Only what is sent is counted at its commit point."""
    (row,) = record(store, decided(1, flag()))
    store.advance([row.id], frm="planned", to="intent", at=at(0))
    rows = planned(store, 20, first=2)
    assert all(send(store, row, at(1)) for row in rows)


def test_accounts_have_each_their_own(store: Store) -> None:
    """One account's sends take no room from another's."""
    assert all(send(store, row, at(1)) for row in planned(store, 20))
    assert all(send(store, row, at(1)) for row in planned(store, 20, account="home"))
    assert not any(send(store, row, at(2)) for row in planned(store, 1, first=30))


def test_it_is_exact_whoever_sends_at_once(store: Store) -> None:
    """Two mailboxes of an account in eight threads: exactly 20 are sent, and each of the others waits."""
    rows = [*planned(store, 40), *planned(store, 40, first=50, mailbox="Other")]
    sent: list[int] = []
    barrier = threading.Barrier(8)

    def work(number: int) -> None:
        barrier.wait()
        sent.extend(row.id for row in rows[number::8] if send(store, row, at(1)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sent) == 20
    assert store.counts() == {"later": 60}


@pytest.fixture
def five(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five a day."""
    monkeypatch.setattr(sending, "A_DAY", 5)


@pytest.mark.usefixtures("five")
def test_what_is_more_than_a_day_takes_is_held(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """It is held until a person says `resume` for the account, and over restarts; nothing else is."""
    rows = planned(store, 9)
    for row in rows[:5]:
        assert send(store, row, at(1))
    free, others, _ = store.room_to_send(rows[5:], at=at(2))
    assert (free, others) == ([], "held")
    assert [p.target for p in store.pauses()] == ["sending:work"]
    assert "sending from account 'work' is paused" in caplog.text and "resume 'work'" in caplog.text
    new = record(store, decided(40, forward(), flag()), when=at(3))
    assert [row.state for row in new] == ["held", "planned"]
    store.close()
    with Store.open(store.path.parent) as again:
        assert again.resume("account:work", at=at(4)) == (True, 5)
        left = again.unfinished("work", "INBOX", now=at(200))
        went = [send(again, row, at(200)) for row in left if row.action == "forward"]
        assert went == [True] * 5, "counted from nothing"
        (last,) = planned(again, 1, first=60)
        assert not send(again, last, at(201))
        assert again.paused() == {"sending:work"}


@pytest.mark.usefixtures("five")
def test_the_last_of_the_day_wait_for_those_under_way(store: Store) -> None:
    """While some that would be the day's last are under way, others are put off: those may yet fail."""
    rows = planned(store, 6)
    store.advance([r.id for r in rows[:5]], frm="planned", to="intent", at=at(1))
    free, others, _ = store.room_to_send(rows[5:], at=at(2))
    assert (free, others) == ([], "later") and store.paused() == frozenset()


@pytest.mark.usefixtures("five")
def test_a_day_later_there_is_room(store: Store) -> None:
    """A day is the last 24 hours."""
    for row in planned(store, 5):
        assert send(store, row, at(1))
    assert all(send(store, row, at(86402)) for row in planned(store, 5, first=20))
