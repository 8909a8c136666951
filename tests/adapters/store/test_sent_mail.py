"""What was learned from Sent: the latest counts, and how far it was read goes with it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from mailrules.adapters.store import Answered, SentTo, Store

T0 = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def read(store: Store, high_uid: int, *, uidvalidity: int = 5, at: datetime = T0) -> None:
    store.remember_sent(
        "work", mailbox="Sent", uidvalidity=uidvalidity, high_uid=high_uid,
        to=[SentTo("a@b", at)], answers=[Answered("id@x", at, f"{high_uid}@us")],
    )  # fmt: skip


def test_the_latest_counts(store: Store) -> None:
    """Whatever the order in which it is read; accounts are apart."""
    read(store, 1, at=T0)
    read(store, 2, at=T0 + HOUR)
    read(store, 3, at=T0 - HOUR)
    assert store.written_to("work", ["a@b", "c@d"]) == {"a@b": T0 + HOUR}
    assert store.answers_to("work", ["id@x", "y"]) == {"id@x": Answered("id@x", T0 + HOUR, "2@us")}
    assert store.written_to("home", ["a@b"]) == {} == store.answers_to("home", ["id@x"])


def test_how_far_it_was_read(store: Store) -> None:
    """It never goes back, except where the mailbox was numbered anew."""
    assert store.sent_read("work") is None
    read(store, 7)
    read(store, 5)
    assert store.sent_read("work") == ("Sent", 5, 7)
    read(store, 2, uidvalidity=6)
    assert store.sent_read("work") == ("Sent", 6, 2)
    assert store.written_to("work", ["a@b"]), "and nothing is forgotten"


def test_nothing_new(store: Store) -> None:
    """A mailbox without messages is read, too."""
    store.remember_sent("work", mailbox="Sent", uidvalidity=1, high_uid=0, to=[], answers=[])
    assert store.sent_read("work") == ("Sent", 1, 0)
