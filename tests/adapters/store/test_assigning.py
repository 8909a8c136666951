"""Whose turn it is: fair, remembered, chosen where it is planned."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from mailrules.adapters.store import Store
from mailrules.adapters.store.assigning import Assignments, Loads
from mailrules.core.actions.base import PlannedEffect

from .journal_words import T0, at, decided, record


def assign(*to: str, rule: str = "triage", by: str = "round_robin", how: str = "keyword", **more: Any) -> Any:
    arguments = {"to": list(to or ("alice", "bob", "carol")), "by": by, "with": how}
    return PlannedEffect(rule, "rev", 0, "assign", arguments, leaves=how == "mailbox", once=False, **more)


def people(rows: Any) -> list[str]:
    return [row.arguments["to"] for row in rows]


def test_in_turn(store: Store) -> None:
    """Everybody in the order of the file, over transactions and mailboxes; the arguments say what is done."""
    rows = record(store, *(decided(uid, assign()) for uid in range(1, 5)))
    assert people(rows) == ["alice", "bob", "carol", "alice"]
    assert rows[1].arguments["flags"] == ["$Assigned_bob"] and rows[1].verb == "flag"
    assert people(record(store, decided(9, assign()), mailbox="Team")) == ["bob"]
    assert people(record(store, decided(9, assign()), account="home")) == ["carol"]
    assert people(record(store, decided(10, assign(rule="other")))) == ["alice"], "each rule has its turns"


def test_somebody_comes_and_goes(store: Store) -> None:
    """Who is new has the next turn; who is gone is left out; the others go on."""
    record(store, *(decided(uid, assign("alice", "bob")) for uid in (1, 2, 3)))
    rows = record(store, *(decided(uid, assign("alice", "bob", "dora")) for uid in (4, 5, 6)))
    assert people(rows) == ["dora", "bob", "alice"]
    assert people(record(store, decided(7, assign("bob", "alice")))) == ["bob"]


def test_into_a_mailbox(store: Store) -> None:
    """The row moves the message, and knows where to."""
    (row,) = record(store, decided(1, assign("Team/Ann", "bob", how="mailbox")))
    assert (row.arguments["mailbox"], row.verb, row.leaves) == ("Team/Ann", "move", True)
    assert store.history("work", "Team/Ann", ["id-1"]) == {}
    store.advance([row.id], frm="planned", to="intent", at=at())
    store.advance([row.id], frm="intent", to="done", at=at())
    assert store.history("work", "Team/Ann", ["id-1"]) == {"id-1": "ours"}


def test_who_has_it_keeps_it(store: Store) -> None:
    """Judged again, a message stays with its person and uses up no turn."""
    record(store, decided(1, assign()), decided(2, assign()))
    assert people(record(store, decided(5, assign(), identity="id-1"), mailbox="Team")) == ["alice"]
    assert people(record(store, decided(3, assign()))) == ["carol"]
    assert record(store, decided(1, assign())) == [], "it waits already"


def test_a_dry_run_uses_up_nothing(store: Store) -> None:
    """What would be assigned is shown, and the next one is as if it had not been."""
    assert people(record(store, decided(1, assign(state="would")))) == ["alice"]
    assert people(record(store, decided(2, assign()))) == ["alice"]


def test_shown_and_not_used_up(store: Store) -> None:
    """A plan goes on in turn from message to message; the journal is as before."""
    record(store, decided(1, assign()))
    turns = Assignments("work")
    shown = [store.whose_turn(turns, f"id-{n}", [assign()], None)[0].arguments["to"] for n in (2, 3, 4, 2)]
    assert shown == ["bob", "carol", "alice", "bob"]
    assert [Assignments("work").choose(None, "x", assign()).arguments["to"]] == ["alice"]
    assert people(record(store, decided(2, assign()))) == ["bob"]


def test_what_was_shown_is_done(store: Store) -> None:
    """A choice that a plan made is kept, and counts."""
    chosen = Assignments("work").choose(None, "id-1", assign())
    record(store, decided(1, chosen), decided(2, chosen))
    assert people(record(store, decided(3, assign()))) == ["bob"]


def test_least_loaded(store: Store) -> None:
    """Whoever has the fewest on the server and on the way there; of those alike, whose turn it is."""
    by = {"by": "least_loaded"}
    loads = Loads(at(10), {"$Assigned_alice": 3, "$Assigned_bob": 1})
    rows = record(store, *(decided(uid, assign(**by)) for uid in range(1, 7)), when=at(11), loads=loads)
    assert people(rows) == ["carol", "bob", "carol", "bob", "carol", "alice"]
    for row in rows:
        store.advance([row.id], frm="planned", to="intent", at=at(12))
        store.advance([row.id], frm="intent", to="done", at=at(12))
    late = Loads(at(10), loads.of)  # asked before those were done
    assert people(record(store, decided(9, assign(**by)), when=at(13), loads=late)) == ["bob"]
    told = Loads(at(20), {"$Assigned_alice": 0, "$Assigned_bob": 5, "$Assigned_carol": 5})
    assert people(record(store, decided(10, assign(**by)), when=at(21), loads=told)) == ["alice"]


def test_least_loaded_without_a_server(store: Store) -> None:
    """By the journal alone: all that was assigned counts."""
    record(store, decided(1, assign("alice")), decided(2, assign("alice")))
    rows = record(store, *(decided(uid, assign("alice", "bob", by="least_loaded")) for uid in (3, 4, 5)))
    assert people(rows) == ["bob", "bob", "alice"]


def test_two_mailboxes_at_once(store: Store) -> None:
    """However many decide at the same moment, nobody's turn is taken twice."""
    found: list[str] = []
    gate = threading.Barrier(6)

    def decide(number: int) -> None:
        gate.wait()
        for uid in range(10):
            effects = decided(uid + 1, assign(), identity=f"{number}-{uid}")
            found.extend(people(record(store, effects, mailbox=f"M{number}")))

    threads = [threading.Thread(target=decide, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(found) == {"alice": 20, "bob": 20, "carol": 20}


def test_over_restarts(store: Store) -> None:
    """The turns are in the journal."""
    record(store, decided(1, assign()), when=T0)
    path = store.path.parent
    store.close()
    with Store.open(path) as again:
        assert people(record(again, decided(2, assign()))) == ["bob"]
