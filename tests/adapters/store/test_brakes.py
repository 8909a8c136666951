"""Limits of rules: counted in the transaction that records, exact whoever records at once; what is held."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from datetime import timedelta

import pytest

from mailrules.adapters.store import Store
from mailrules.core.actions.base import PlannedEffect
from mailrules.core.rule import Limits

from .journal_words import at, decided, flag, move, record


def states(store: Store, rule: str = "filing") -> Counter[str]:
    return Counter(entry["state"] for entry in store.log() if entry["rule"] == rule)


def arrive(store: Store, *uids: int, when: float = 0, **more: object) -> list[str]:
    """Messages that rule `filing` flags and moves; the states of their effects."""
    rows = record(store, *(decided(uid, flag(), move()) for uid in uids), when=at(when), **more)  # type: ignore[arg-type]
    return [row.state for row in rows]


def test_at_the_limit_the_rule_is_paused(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Messages are counted, not effects; what is beyond is held, the rule is paused and it is said once."""
    store.limits = {"filing": Limits(per_hour=3)}
    assert arrive(store, 1, 2) == ["planned"] * 4
    with caplog.at_level(logging.ERROR):
        assert arrive(store, 3, 4, 5) == ["planned"] * 2 + ["held"] * 4
        assert arrive(store, 6) == ["held"] * 2
    (said,) = [r.getMessage() for r in caplog.records]
    assert said.startswith("rule 'filing' is paused: it has acted on 3 messages within an hour")
    (pause,) = store.pauses()
    assert (pause.target, pause.since) == ("rule:filing", at(0))
    assert "per_hour" in pause.reason
    (held, *_) = store.open_log("held")
    assert held["detail"] == {"because": "rule 'filing' is paused"}


def test_what_is_within_the_limit_goes_on(store: Store) -> None:
    """What was planned before the rule came to its limit is done, now or later; a person stops that, too."""
    store.limits = {"filing": Limits(per_hour=1)}
    rows = record(store, decided(1, flag(), move()), decided(2, flag()))
    assert store.hold(rows[:2], at=at(1)) == {}
    assert store.pause("rule:filing", reason="by hand", at=at(2))
    assert not store.pause("rule:filing", reason="by hand", at=at(3))
    assert store.hold(rows[:2], at=at(4)).keys() == {rows[0].id, rows[1].id}
    assert states(store) == {"held": 3}


def test_the_hour_moves_on(store: Store) -> None:
    """What was acted on more than an hour ago is not counted; a limit that was just met pauses nothing."""
    store.limits = {"filing": Limits(per_hour=2)}
    assert arrive(store, 1, 2, when=0) == ["planned"] * 4
    assert arrive(store, 3, when=3601) == ["planned"] * 2
    assert arrive(store, 4, when=3700) == ["planned"] * 2
    assert store.paused() == frozenset()
    assert arrive(store, 5, when=4000) == ["held"] * 2


def test_the_count_stays_over_restarts(store: Store) -> None:
    """A new process counts on."""
    store.limits = {"filing": Limits(per_hour=2, per_run=9)}
    arrive(store, 1, 2)
    store.close()
    with Store.open(store.path.parent) as again:
        again.limits = store.limits
        assert arrive(again, 3) == ["held"] * 2


def test_a_run_is_counted_by_itself(store: Store) -> None:
    """`per_run` begins anew with each run; runs that belong together are one."""
    store.limits = {"filing": Limits(per_run=2)}
    assert arrive(store, 1, 2) == ["planned"] * 4
    assert arrive(store, 3, 4, together=77) == ["planned"] * 4
    assert store.paused() == frozenset()
    assert arrive(store, 5, mailbox="Other", together=77) == ["held"] * 2
    assert "in one run" in store.pauses()[0].reason


def test_one_large_transaction_stops_in_its_middle(store: Store) -> None:
    """Also where all come at once, the first so many are acted on and the others held."""
    store.limits = {"filing": Limits(per_run=100)}
    got = arrive(store, *range(1, 301))
    assert got == ["planned"] * 200 + ["held"] * 400


def test_what_does_nothing_uses_up_nothing(store: Store) -> None:
    """Dry runs, failed templates, and messages on which nothing is left to be done are not counted."""
    store.limits = {"filing": Limits(per_hour=1)}
    record(store, decided(1, flag(state="would")), decided(2, flag(state="failed")), decided(3))
    record(store, decided(4, flag(state="skipped")))
    assert arrive(store, 5) == ["planned"] * 2
    assert arrive(store, 6) == ["held"] * 2
    (dry,) = record(store, decided(7, flag(state="would")))
    assert dry.state == "would", "a dry run is not held either"


def test_other_rules_go_on(store: Store) -> None:
    """A limit is its own rule's: others act on the same message and on others."""
    store.limits = {"filing": Limits(per_hour=1)}
    arrive(store, 1)
    rows = record(store, decided(2, flag(), flag("$B", rule="b")), decided(3, flag("$C", rule="c")))
    assert [(row.rule, row.state) for row in rows] == [("filing", "held"), ("b", "planned"), ("c", "planned")]


def test_it_is_exact_whoever_records_at_once(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Eight threads, two accounts, four mailboxes: exactly as many messages as allowed, and one pause."""
    store.limits = {"filing": Limits(per_hour=100)}
    barrier = threading.Barrier(8)

    def work(number: int) -> None:
        barrier.wait()
        for n in range(25):
            uid = number * 100 + n
            record(
                store, decided(uid, flag(), flag("$B")),
                account=f"a{number % 2}", mailbox=f"M{number % 4}", when=at(n),
            )  # fmt: skip

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert states(store) == {"planned": 200, "held": 200}
    assert len(store.pauses()) == 1
    assert sum("is paused" in r.getMessage() for r in caplog.records) == 1


# -- what a person decides ----------------------------------------------------------------------------
def test_resume_does_what_was_held_and_counts_from_nothing(store: Store) -> None:
    """A person has looked: what is held is done, and the rule has its whole limit again."""
    store.limits = {"filing": Limits(per_hour=2, per_run=2)}
    arrive(store, 1, 2, 3, 4, 5)
    assert store.resume("rule:filing", at=at(5)) == (True, 6)
    assert states(store) == {"planned": 10}
    assert arrive(store, 6, 7, when=6) == ["planned"] * 4
    assert arrive(store, 8, when=7) == ["held"] * 2
    assert "rule:filing" in store.paused()


def test_skip_drops_and_the_rule_stays_paused(store: Store) -> None:
    """What is skipped is not done by a later resume."""
    store.limits = {"filing": Limits(per_hour=1)}
    arrive(store, 1, 2, 3)
    held = [entry["id"] for entry in store.open_log("held")]
    store.skip(held[:2], at=at(1))
    assert "rule:filing" in store.paused()
    assert store.resume("rule:filing", at=at(2)) == (True, 2)
    assert states(store) == {"planned": 4, "skipped": 2}


def test_a_pause_of_the_account_counts_all_the_same(store: Store) -> None:
    """What is held for another reason is going to be acted on: it can't slip past the limit."""
    store.limits = {"filing": Limits(per_hour=2)}
    store.pause("account:work", reason="", at=at(0))
    arrive(store, 1, 2, 3)
    assert store.resume("account:work", at=at(1)) == (True, 0)
    assert "per_hour" in store.pauses()[0].reason
    assert store.resume("rule:filing", at=at(2)) == (True, 6)


@pytest.mark.parametrize("decide", ["resume", "skip"])
def test_the_leaving_waits_with_what_is_held(store: Store, decide: str) -> None:
    """Another rule's move is held with the message, and let go when nothing on it is held any more."""
    store.pause("rule:first", reason="", at=at(0))
    rows = record(store, decided(1, flag(rule="first"), flag("$B", rule="first"), move(rule="last")))
    assert [row.state for row in rows] == ["held", "held", "held"]
    assert "waits for what is held of rule 'first'" in store.open_log("held")[2]["detail"]["because"]
    if decide == "resume":
        assert store.resume("rule:first", at=at(1)) == (True, 3)
    else:
        store.skip([rows[0].id], at=at(1))
        assert states(store, "last") == {"held": 1}, "one is still held"
        store.skip([rows[1].id], at=at(2))
    assert states(store, "last") == {"planned": 1}


def test_the_leaving_of_a_paused_rule_stays_held(store: Store) -> None:
    """What a rule holds itself is not let go because something before it was skipped."""
    store.pause("rule:filing", reason="", at=at(0))
    flagging, moving = record(store, decided(1, flag(), move()))
    store.skip([flagging.id], at=at(1))
    row = store.effect(moving.id)
    assert row is not None and row.state == "held"


# -- a pause that comes or ends while a message is judged ----------------------------------------------
def test_a_pause_that_came_meanwhile_holds(store: Store) -> None:
    """Judged before the pause, recorded after it: held."""
    store.pause("mailbox:work/INBOX", reason="", at=at(0))
    (row,) = record(store, decided(1, flag()))
    assert (row.state, row.detail) == ("held", {"because": "mailbox 'work/INBOX' is paused"})


def test_a_pause_that_ended_meanwhile_holds_nothing(store: Store) -> None:
    """Judged during the pause, recorded after it: nobody would ever let it go."""
    held: PlannedEffect = flag(state="held", because="rule 'filing' is paused")
    (row,) = record(store, decided(1, held))
    assert (row.state, row.detail) == ("planned", {})


def test_the_clock_may_be_set(store: Store) -> None:
    """Set back by a day, what was counted was counted as long ago as before."""
    store.limits = {"filing": Limits(per_hour=2)}
    arrive(store, 1, 2, when=0)
    back = timedelta(days=-1)
    store.clock_set(back, ago=timedelta(seconds=5), now=at(60) + back)
    assert arrive(store, 3, when=60 - 86400) == ["held"] * 2
