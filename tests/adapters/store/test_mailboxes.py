"""Baselines, checkpoints, judged ranges."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailrules.adapters.store import Store
from mailrules.core.uidset import UidSet
from tests.lab.journal import opened

from .journal_words import T0, at, baseline, decided, flag, record


def ranges(store: Store) -> list[tuple[int, int]]:
    with opened(store.path) as connection:
        return connection.execute("SELECT low, high FROM judged ORDER BY low").fetchall()


def mark(store: Store, *pairs: tuple[int, int], when: float = 1, **more: bool) -> None:
    store.mark_judged(
        "work", "INBOX", uidvalidity=7, uids=UidSet.of_ranges(pairs), at=at(when), **more
    )  # fmt: skip


def test_a_mailbox_nobody_watched_is_none(store: Store) -> None:
    """Only a baseline makes a mailbox known."""
    assert store.mailbox("work", "INBOX") is None
    assert not store.judged("work", "INBOX")


def test_the_baseline_is_what_was_there(store: Store) -> None:
    """Exactly the UIDs of the baseline count as judged, gaps not spanned."""
    baseline(store, (1, 5), (8, 9))
    row = store.mailbox("work", "INBOX")
    assert row is not None
    assert (row.uidvalidity, row.high_uid, row.baseline_at) == (7, 9, T0)
    assert str(store.judged("work", "INBOX")) == "1:5,8:9"
    assert str(store.judged("work", "INBOX", low=4)) == "4:5,8:9"


def test_a_uidvalidity_of_64_bits(store: Store) -> None:
    """Some servers use all of them; a column has a sign, and gives back what it was given."""
    for uidvalidity in (0, 2**63 - 1, 2**63, 2**64 - 1):
        store.set_baseline(
            "work", "INBOX", uidvalidity=uidvalidity, judged=UidSet([3]), high_uid=3, at=T0
        )  # fmt: skip
        row = store.mailbox("work", "INBOX")
        assert row is not None and row.uidvalidity == uidvalidity
        assert str(store.judged("work", "INBOX")) == "3"


def test_new_mail_extends_one_row(store: Store) -> None:
    """A hundred thousand unmatched messages that come one after the other are one row."""
    baseline(store, (1, 10))
    for uid in range(11, 60):
        mark(store, (uid, uid))
    mark(store, (60, 100_000))
    assert ranges(store) == [(1, 100_000)]
    row = store.mailbox("work", "INBOX")
    assert row is not None
    assert row.high_uid == 100_000


def test_a_late_uid_closes_its_gap(store: Store) -> None:
    """A UID that the server showed late joins the ranges on both its sides."""
    baseline(store, (1, 4), (6, 10))
    mark(store, (5, 5))
    assert ranges(store) == [(1, 10)]


def test_the_checkpoint_never_goes_back(store: Store) -> None:
    """Judging a late, lower UID leaves the checkpoint where it was."""
    baseline(store, (1, 10))
    mark(store, (20, 20))
    mark(store, (15, 15))
    row = store.mailbox("work", "INBOX")
    assert row is not None
    assert row.high_uid == 20


def test_an_old_uidvalidity_changes_nothing(store: Store) -> None:
    """What a run judged under a UIDVALIDITY that is gone by now moves neither checkpoint nor sweep."""
    baseline(store, (1, 10))
    store.mark_judged("work", "INBOX", uidvalidity=6, uids=UidSet([50]), at=at(9), swept=True)
    row = store.mailbox("work", "INBOX")
    assert row is not None
    assert (row.high_uid, row.last_sweep) == (10, T0)
    assert 50 not in store.judged("work", "INBOX")


def test_a_new_uidvalidity_forgets_the_old_uids(store: Store) -> None:
    """After the server numbered anew, only the new baseline counts; when it began is remembered."""
    baseline(store, (1, 10))
    store.set_baseline("work", "INBOX", uidvalidity=8, judged=UidSet([1, 2]), high_uid=3, at=at(60))
    row = store.mailbox("work", "INBOX")
    assert row is not None
    assert (row.uidvalidity, row.high_uid, row.baseline_at) == (8, 3, T0)
    assert str(store.judged("work", "INBOX")) == "1:2"


def test_sweeps_and_full_scans_are_remembered(store: Store) -> None:
    """A sweep and a full scan each leave their time."""
    baseline(store, (1, 1))
    mark(store, when=5, swept=True)
    mark(store, when=9, swept=True, full_scan=True)
    mark(store, when=11, swept=True)
    row = store.mailbox("work", "INBOX")
    assert row is not None
    assert (row.last_sweep, row.last_full_scan) == (at(11), at(9))


def test_seen_mailboxes_tell_never_from_none(store: Store) -> None:
    """Before anybody looked the answer is None; afterwards names add up."""
    assert store.seen_mailboxes("work") is None
    store.remember_mailboxes("work", ["INBOX", "Team/A"])
    store.remember_mailboxes("work", ["INBOX", "Team/B"])
    assert store.seen_mailboxes("work") == {"INBOX", "Team/A", "Team/B"}
    assert store.seen_mailboxes("home") is None


pairs = st.tuples(st.integers(1, 40), st.integers(0, 6)).map(lambda p: (p[0], p[0] + p[1]))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(pairs, max_size=4), min_size=1, max_size=8))
def test_ranges_are_what_was_marked(store: Store, marks: list[list[tuple[int, int]]]) -> None:
    """Whatever is marked in whatever order: the ranges are its union, merged."""
    baseline(store)
    expected = UidSet()
    for these in marks:
        mark(store, *these)
        expected = expected | UidSet.of_ranges(these)
    assert store.judged("work", "INBOX") == expected
    assert tuple(ranges(store)) == tuple(expected.ranges())


@pytest.mark.parametrize("name", ["Entwürfe", "日本/語", "a'b\"c", "bad \udc80 surrogate"])
def test_any_name_is_a_name(store: Store, name: str) -> None:
    """Mailbox names come from servers: any of them can be written and found again."""
    store.set_baseline("work", name, uidvalidity=1, judged=UidSet([3]), high_uid=3, at=T0)
    assert str(store.judged("work", name)) == "3"
    assert store.mailbox("work", name) is not None


def test_effects_without_a_baseline_leave_no_mailbox(store: Store) -> None:
    """`apply` on a mailbox that nobody watches does not make it a watched one."""
    record(store, decided(3, flag()))
    assert store.mailbox("work", "INBOX") is None
