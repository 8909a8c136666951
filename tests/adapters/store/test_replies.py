"""One automatic answer to a sender in a while, decided where it is planned."""

from __future__ import annotations

import threading
from typing import Any

from mailrules.adapters.store import Store
from mailrules.core.actions.base import PlannedEffect

from .journal_words import at, decided, record

DAY = 86400.0


def reply(to: str = "ann@acme.example", *, rule: str = "away", every: float = 7 * DAY, **more: Any) -> Any:
    arguments = {"to": [to], "text": "x", "once_every": every}
    return PlannedEffect(rule, "rev", 0, "reply", arguments, leaves=False, once=True, target=to, **more)


def states(rows: Any) -> list[str]:
    return [row.state for row in rows]


def test_one_in_the_time(store: Store) -> None:
    """The second message of a sender is not answered until the time is over; the log says why."""
    assert states(record(store, decided(1, reply()))) == ["planned"]
    (skipped,) = record(store, decided(2, reply()), when=at(6.9 * DAY))
    assert (
        skipped.state == "skipped" and "answered ann@acme.example on 2026-03-01" in skipped.detail["because"]
    )
    assert states(record(store, decided(3, reply()), when=at(7.1 * DAY))) == ["planned"]
    assert states(record(store, decided(4, reply()), when=at(8 * DAY))) == ["skipped"]


def test_two_in_one_transaction(store: Store) -> None:
    """Of two messages judged together one is answered."""
    rows = record(store, decided(1, reply()), decided(2, reply()), decided(3, reply("bob@acme.example")))
    assert states(rows) == ["planned", "skipped", "planned"]


def test_each_rule_and_account(store: Store) -> None:
    """Another rule, or another account, has its own answers."""
    record(store, decided(1, reply()))
    assert states(record(store, decided(2, reply(rule="other")))) == ["planned"]
    assert states(record(store, decided(3, reply()), account="home")) == ["planned"]
    assert states(record(store, decided(4, reply()), mailbox="Team")) == ["skipped"]


def test_what_was_never_sent(store: Store) -> None:
    """A reply that failed or was only a dry run answered nobody; one that may have been sent did."""
    assert states(record(store, decided(1, reply(state="would")))) == ["would"]
    (row,) = record(store, decided(2, reply()))
    store.advance([row.id], frm="planned", to="intent", at=at())
    store.advance([row.id], frm="intent", to="failed", at=at())
    (row,) = record(store, decided(3, reply()))
    assert row.state == "planned"
    for frm, to in (("planned", "intent"), ("intent", "commit"), ("commit", "unknown")):
        store.advance([row.id], frm=frm, to=to, at=at())  # type: ignore[arg-type]
    assert states(record(store, decided(4, reply()))) == ["skipped"]


def test_a_skipped_one_uses_up_nothing(store: Store) -> None:
    """A message that was not answered in its time may be, when it is judged again."""
    record(store, decided(1, reply()))
    assert states(record(store, decided(2, reply()))) == ["skipped"]
    assert states(record(store, decided(2, reply()), when=at(8 * DAY))) == ["planned"]
    assert record(store, decided(2, reply()), when=at(30 * DAY)) == [], "once per message"


def test_two_threads_at_once(store: Store) -> None:
    """Two mailboxes that decide at the same moment send one answer."""
    found: list[str] = []
    gate = threading.Barrier(8)

    def decide(number: int) -> None:
        gate.wait()
        found.extend(states(record(store, decided(number, reply()), mailbox=f"M{number}")))

    threads = [threading.Thread(target=decide, args=(n,)) for n in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["planned", *["skipped"] * 7]
