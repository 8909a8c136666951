"""What no rule matched is kept by mailbox and rules, and forgotten with either."""

from __future__ import annotations

from datetime import timedelta

from mailrules.adapters.store import Store
from mailrules.core.uidset import UidSet
from tests.adapters.store.journal_words import at


def keep(store: Store, uids: str, mark: str = "a", *, uidvalidity: int = 7, when: float = 0) -> None:
    store.keep_unmatched(
        "work", "INBOX", uidvalidity, UidSet.parse(uids), fingerprint=mark, at=at(when)
    )  # fmt: skip


def known(store: Store, mark: str = "a", *, uidvalidity: int = 7, mailbox: str = "INBOX") -> str:
    return str(store.unmatched("work", mailbox, uidvalidity, fingerprint=mark))


def test_what_is_kept_is_known(store: Store) -> None:
    """Exactly that, for the same rules, mailbox and UIDVALIDITY; also of a number of 64 bits."""
    keep(store, "1:3,5")
    assert (known(store), known(store, "b"), known(store, uidvalidity=8)) == ("1:3,5", "", "")
    assert known(store, mailbox="Other") == ""
    keep(store, "2,9", when=1)
    assert known(store) == "2,9"
    keep(store, "4", uidvalidity=2**64 - 1, when=2)
    assert known(store, uidvalidity=2**64 - 1) == "4"


def test_two_sets_of_rules_are_kept(store: Store) -> None:
    """The two that looked last: a file that is edited again and again leaves nothing behind."""
    for number, mark in enumerate("abcab"):
        keep(store, str(number + 1), mark, when=number)
    assert [known(store, mark) for mark in "abc"] == ["4", "5", ""]


def test_another_uidvalidity_forgets_all(store: Store) -> None:
    """The old numbers never mean anything again."""
    keep(store, "1:3", "a")
    keep(store, "1:3", "b", uidvalidity=8, when=1)
    assert known(store, "a") == ""


def test_resync_forgets_all(store: Store) -> None:
    """A journal that was put back from a copy does not say what is known."""
    keep(store, "1:3")
    store.resync(since=at(), at=at())
    assert known(store) == ""


def test_what_is_old_is_forgotten(store: Store) -> None:
    """As long as the log: of a mailbox that is gone nobody will ask."""
    keep(store, "1:3")
    store.expire(now=at(100), keep=timedelta(seconds=200))
    assert known(store) == "1:3"
    store.expire(now=at(300), keep=timedelta(seconds=200))
    assert known(store) == ""
