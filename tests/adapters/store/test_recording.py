"""What happens once per message, rule and target, ever."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing

import pytest

from mailrules.adapters.store import Store
from mailrules.core.uidset import UidSet

from .journal_words import at, baseline, decided, flag, forward, move, record


def test_once_also_in_two_mailboxes_at_once(store: Store) -> None:
    """The same message in two watched mailboxes, judged by two threads: one row for each target."""
    barrier = threading.Barrier(2)
    planned: list[str] = []

    def work(mailbox: str) -> None:
        barrier.wait()
        for n in range(50):
            one = decided(n + 1, forward(), forward("carl@example.net"), identity=f"same-{n}")
            planned.extend(row.target for row in record(store, one, mailbox=mailbox))

    threads = [threading.Thread(target=work, args=(name,)) for name in ("INBOX", "Copies")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(planned) == ["bob@example.net"] * 50 + ["carl@example.net"] * 50


def test_another_rule_and_another_account_have_their_own(store: Store) -> None:
    """Once is per rule and target; what another rule sends is another send."""
    one = decided(1, forward(), forward(rule="other"), identity="same")
    assert len(record(store, one)) == 2
    assert len(record(store, one, account="home")) == 2
    assert record(store, one, mailbox="Other") == []


def test_a_dry_run_takes_nothing_away(store: Store) -> None:
    """What was only `would` is done later."""
    record(store, decided(1, forward(state="would"), identity="same"))
    (row,) = record(store, decided(1, forward(), identity="same"))
    assert row.state == "planned"


@pytest.mark.parametrize(
    ("way", "more"),
    [
        (("held",), 0), (("later",), 0),
        (("intent", "commit", "done"), 1), (("intent", "commit", "unknown"), 1), (("failed",), 1),
        (("skipped",), 1), (("gone",), 1),
    ],
)  # fmt: skip
def test_again_asks_for_one_more(store: Store, way: tuple[str, ...], more: int) -> None:
    """`--again` sends once more what was sent or given up; what waits is not sent twice."""
    one = decided(1, forward(), identity="same")
    (row,) = record(store, one)
    for frm, to in zip(("planned", *way), way, strict=False):
        store.advance([row.id], frm=frm, to=to, at=at(1))  # type: ignore[arg-type]
    assert record(store, one, kind="apply") == []
    rows = record(store, one, kind="apply", again=True)
    assert len(rows) == more
    assert all(new.effect_key != row.effect_key for new in rows)


def test_what_waits_to_be_judged_waits_on(store: Store) -> None:
    """A message that could not be judged yet, and that some rules are applied to, is still to be judged."""
    baseline(store)
    store.defer("work", "INBOX", 7, 1, reason="no answer", at=at(1))
    run = store.start_run(account="work", mailbox="INBOX", kind="apply", rules_hash="h", at=at(2))
    these = [decided(1, flag())]
    store.record(run, "work", "INBOX", 7, these, judged=UidSet(), high_uid=0, at=at(2))
    assert store.deferred("work", "INBOX", 7).keys() == {1}
    store.record(run, "work", "INBOX", 7, these, judged=UidSet([1]), high_uid=0, at=at(3))
    assert store.deferred("work", "INBOX", 7) == {}
    assert 1 in store.judged("work", "INBOX")


def test_a_second_start_writes_nothing(store: Store) -> None:
    """What is kept already is not written again: a start waits for no disk, and needs no room."""

    def start(text: str = "name: a") -> None:
        store.bury(at=at(1))
        store.keep_rules([("rev", "a", text), (text, "", text)])
        store.keep_schedules({}, at=at(1))
        store.take_up(at=at(1))
        store.remember_mailboxes("work", ["INBOX", "Work"])
        store.set("watched:work", '["INBOX"]')

    start()
    with closing(sqlite3.connect(store.path)) as other:
        before = other.execute("PRAGMA data_version").fetchone()
        start()
        assert other.execute("PRAGMA data_version").fetchone() == before
        start("name: b")
        assert other.execute("PRAGMA data_version").fetchone() != before
    assert store.rule_text("name: b", "") == "name: b"
    assert store.rule_text("rev", "a") == "name: a"


def test_what_goes_to_one_place_lies_side_by_side(store: Store) -> None:
    """Of many messages, those that leave for one mailbox get their ids in a row; their own order stays."""
    rows = record(store, *(decided(uid, flag(), move(f"Box{uid % 3}")) for uid in range(1, 61)))
    assert [row.uid for row in rows] == [uid for uid in range(1, 61) for _ in range(2)]
    by_id = sorted(rows, key=lambda row: row.id)
    assert [row.uid for row in by_id] == [
        uid for box in (0, 1, 2) for uid in range(1, 61) if uid % 3 == box for _ in range(2)
    ]
    assert all(one.action == "flag" for one in by_id[::2])


def test_a_few_keep_their_order(store: Store) -> None:
    """What a person sees of a small run is in the order of its messages."""
    rows = record(store, *(decided(uid, move(f"Box{uid % 3}")) for uid in range(1, 21)))
    assert sorted(row.id for row in rows) == [row.id for row in rows]
