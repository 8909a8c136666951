"""Message-IDs: remembered in order, each message once, forgotten together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from mailrules.adapters.store import Sighting, Store
from mailrules.core.uidset import UidSet

T0 = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def saw(store: Store, message_id: str, identity: str, *, day: int = 0, uid: int = 1) -> None:
    store.note_sightings("work", [Sighting(message_id, identity, "INBOX", uid, T0 + day * DAY)])


def identities(store: Store, message_id: str, account: str = "work") -> list[str]:
    return [one.identity for one in store.sightings(account, [message_id]).get(message_id, ())]


def test_in_the_order_in_which_they_came(store: Store) -> None:
    """A message that is seen again, wherever, keeps its place; accounts are apart."""
    for identity in ("one", "two", "one", "three"):
        saw(store, "a@x", identity)
    assert identities(store, "a@x") == ["one", "two", "three"]
    assert identities(store, "a@x", "home") == [] == identities(store, "b@x")
    (first, *_) = store.sightings("work", ["a@x"])["a@x"]
    assert (first.mailbox, first.uid, first.seen) == ("INBOX", 1, T0)


def test_one_message_id_is_forgotten_as_a_whole(store: Store) -> None:
    """While one of them is young, the older ones stay: which was the first must not change."""
    saw(store, "old@x", "one")
    saw(store, "both@x", "one")
    saw(store, "both@x", "two", day=5)
    assert store.forget_sightings("work", before=T0 + 3 * DAY) == 1
    assert identities(store, "old@x") == [] and identities(store, "both@x") == ["one", "two"]
    assert store.forget_sightings("work", before=T0 + 6 * DAY) == 2


def test_where_nobody_asks_any_more(store: Store) -> None:
    """Other accounts' memories go."""
    saw(store, "a@x", "one")
    store.forget_sightings_but(["work"])
    assert identities(store, "a@x") == ["one"]
    store.forget_sightings_but([])
    assert identities(store, "a@x") == []


def test_hostile_text(store: Store) -> None:
    """NULs and lone surrogates are no trouble, and many are asked for at once."""
    saw(store, "a\0\udc80@x", "one")
    found = store.sightings("work", ["a\0\udc80@x", *(f"{n}@x" for n in range(2000))])
    assert [one.identity for (one,) in found.values()] == ["one"]


def test_a_mailbox_that_is_numbered_anew(store: Store) -> None:
    """What was seen there is forgotten: restored mail must not be taken for its own duplicate."""
    for uidvalidity, left in ((5, ["one"]), (5, ["one"]), (6, [])):
        store.set_baseline("work", "INBOX", uidvalidity=uidvalidity, judged=UidSet(), high_uid=0, at=T0)
        if uidvalidity == 5:
            saw(store, "a@x", "one")
        assert identities(store, "a@x") == left
