"""mailrules.adapters.store.earlier: what was done to messages since a moment."""

from __future__ import annotations

from mailrules.adapters.store import Acted, Store
from mailrules.core.rule import Limits
from mailrules.core.uidset import UidSet

from .journal_words import T0, at, decided, flag, forward, move, record


def test_what_was_recorded_since_is_known(store: Store) -> None:
    """The last run that acted on a message since then; what was before, elsewhere, or a dry run is none."""
    record(store, decided(1, flag()), when=at(0))
    rows = record(store, decided(2, flag()), decided(3, flag(state="would")), when=at(60))
    record(store, decided(4, flag()), when=at(60), mailbox="Other")
    last = record(store, decided(2, move()), when=at(120))
    assert rows[0].run != last[0].run
    assert store.acted("work", "INBOX", 7, [1, 2, 3, 4], since=at(30)) == {2: Acted(last[0].run, None)}


def test_a_plan_knows_its_own(store: Store) -> None:
    """What a run did for a plan is known as that plan's, whatever came after."""
    run = store.start_run(
        account="work", mailbox="INBOX", kind="apply", rules_hash="h", at=at(1), detail={"plan": "p"}
    )
    said = [decided(1, flag()), decided(2, flag(state="would"))]
    store.record(run, "work", "INBOX", 7, said, judged=UidSet(), high_uid=0, at=at(1))
    store.end_run(run, at=at(2), judged=1, matched=1, detail={"plan": "p"})
    record(store, decided(1, move()), when=at(3))
    own = Acted(run, "p")
    assert store.acted("work", "INBOX", 7, [1, 2], since=T0) == {1: own, 2: own}


def test_a_plan_can_ask_what_record_would_leave_out(store: Store) -> None:
    """`done_before` and `record` agree: what is done once and was, what waits on the same message."""
    record(store, decided(1, forward(), flag(state="held", because="paused"), identity="x"))
    again = [
        decided(1, forward(), flag(), move(), identity="x"),
        decided(2, forward(), forward(), identity="y"),
    ]
    left_out = store.done_before("work", "INBOX", 7, again)
    assert left_out == {(1, 0), (1, 1), (2, 1)}
    kept = {(row.uid, row.order) for row in record(store, *again, when=at(1))}
    assert kept == {(1, 2), (2, 0)}
    assert store.done_before("work", "INBOX", 7, [decided(5, forward(), identity="x")], again=True) == set()


def test_what_the_brakes_have_counted_can_be_asked(store: Store) -> None:
    """On how many messages a limited rule has acted within the hour; what an account has sent in a day."""
    store.limits = {"filing": Limits(per_hour=5)}
    record(store, decided(1, flag()), decided(2, flag(), move()))
    assert store.acted_in_hour("filing", now=at(60)) == 2
    assert store.acted_in_hour("filing", now=at(3601)) == 0 == store.acted_in_hour("other", now=at(60))
    (row,) = record(store, decided(3, forward()))
    store.advance([row.id], frm="planned", to="intent", at=at(1))
    store.advance([row.id], frm="intent", to="commit", at=at(2))
    assert (store.sent_in_day("work", now=at(60)), store.sent_in_day("home", now=at(60))) == (1, 0)
