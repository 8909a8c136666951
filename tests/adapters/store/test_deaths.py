"""The process died: who was in hand is suspect, who was in hand alone the second time is quarantined."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from mailrules.adapters.store import ACTING, JUDGING, EffectRow, Store, deaths, doing
from mailrules.adapters.store.rows import State
from mailrules.adapters.store.schema import message
from mailrules.core.uidset import UidSet

from .journal_words import at, baseline, decided, flag, forward, move, record


def counts(store: Store) -> dict[int, int]:
    """Messages with deaths: UID -> how many."""
    with store._database.read() as connection:
        rows = connection.execute(select(message.c.uid, message.c.deaths).where(message.c.deaths > 0))
        return {row.uid: row.deaths for row in rows}


def killed(store: Store, hand: str, *uids: int) -> deaths.Buried:
    """The process dies with these in hand, and the next one begins."""
    store.take("work", "INBOX", hand, 7, uids)
    return store.bury(at=at(10))


def state_of(store: Store, row: EffectRow) -> str:
    found = store.effect(row.id)
    assert found is not None
    return found.state


def test_an_empty_hand_makes_no_suspect(store: Store) -> None:
    """After an end that was no death there is nothing to bury."""
    assert store.bury(at=at(1)) == deaths.Buried()
    store.take("work", "INBOX", JUDGING, 7, [1, 2])
    store.let_go_of_all()
    assert store.bury(at=at(1)) == deaths.Buried()
    assert counts(store) == {}


def test_all_of_a_window_are_suspect(store: Store) -> None:
    """A first death makes every message in hand a suspect; they are still unjudged, and due."""
    baseline(store, (1, 10))
    assert killed(store, JUDGING, *range(11, 1211)) == deaths.Buried(suspects=1200)
    assert store.suspects("work", "INBOX", 7) == frozenset(range(11, 1211))
    assert store.deferred("work", "INBOX", 7)[11] == at(10)
    assert store.judged("work", "INBOX") == UidSet.of_ranges([(1, 10)])
    assert store.bury(at=at(11)) == deaths.Buried(), "they are not in hand any more"


def test_nobody_is_quarantined_for_having_been_among_others(store: Store) -> None:
    """However often a set was in hand, its members stay suspects."""
    baseline(store)
    for _ in range(4):
        assert killed(store, JUDGING, 11, 12).found_out is None
    assert counts(store) == {11: 1, 12: 1}


def test_the_second_death_alone_quarantines_what_was_judged(store: Store) -> None:
    """It counts as judged, `status` shows it, and a row in the log gives the ID to say `retry` to."""
    baseline(store, (1, 10))
    killed(store, JUDGING, 11, 12)
    assert killed(store, JUDGING, 11).found_out == ("work", "INBOX", 11)
    (troubled,) = store.troubled("quarantined")
    assert (troubled.uid, troubled.error) == (
        11, "mailrules died twice while this message was being judged",
    )  # fmt: skip
    assert 11 in store.judged("work", "INBOX") and 12 not in store.judged("work", "INBOX")
    assert store.suspects("work", "INBOX", 7) == {12}
    assert store.deadly("work", "INBOX", 7) == {11}
    (entry,) = store.log()
    assert (entry["state"], entry["uid"], entry["action"]) == ("failed", 11, "judge")
    assert entry["detail"]["quarantined"]


def test_two_suspects_in_hand_name_nobody(store: Store) -> None:
    """When two suspects were in hand, each alone in its mailbox, either may have done it."""
    baseline(store)
    killed(store, JUDGING, 11, 12)
    store.take("work", "INBOX", JUDGING, 7, [11])
    assert killed(store, ACTING[0], 12).found_out is None
    assert counts(store) == {11: 1, 12: 1}


def test_fresh_mail_beside_a_suspect_is_suspect_at_most(store: Store) -> None:
    """A suspect that was in hand both times is found out, though fresh mail was in hand beside it."""
    baseline(store)
    baseline(store, account="home")
    killed(store, JUDGING, 11)
    store.take("home", "INBOX", JUDGING, 7, [5])
    assert killed(store, JUDGING, 11).found_out == ("work", "INBOX", 11)
    assert store.suspects("home", "INBOX", 7) == {5}


def test_the_second_death_alone_quarantines_what_was_acted_on(store: Store) -> None:
    """Its unfinished effects have failed, what is past its commit point is unknown, others are untouched."""
    *_, moving, sending = rows = record(store, decided(1, flag(), move(), forward()), decided(2, flag()))[:3]
    rows = [*rows, *record(store, decided(3, flag()))]
    store.advance([sending.id], frm="planned", to="intent", at=at(1), hand=doing(sending.id))
    store.bury(at=at(2))
    store.advance([sending.id], frm="intent", to="intent", at=at(3), hand=doing(sending.id))
    store.advance([sending.id], frm="intent", to="commit", at=at(3))
    assert store.bury(at=at(4)).found_out == ("work", "INBOX", 1)
    assert [state_of(store, row) for row in rows] == ["failed", "failed", "unknown", "planned"]
    failed = store.effect(moving.id)
    assert failed is not None and failed.detail == {
        "error": "mailrules died twice while this message was being acted on", "quarantined": True,
    }  # fmt: skip
    assert [t.uid for t in store.troubled("quarantined")] == [1]
    assert len([e for e in store.log() if e["action"] == "judge"]) == 0, "its effects are there to retry"


@pytest.mark.parametrize("decision", ["retry", "skip"])
def test_a_decision_starts_anew(store: Store, decision: str) -> None:
    """After `retry` or `skip` it takes two more deaths; what is retried is tried by itself."""
    (row,) = record(store, decided(1, flag()))
    for _ in range(2):
        store.advance([row.id], frm=("planned", "intent"), to="intent", at=at(1), hand=ACTING[0])
        store.bury(at=at(2))
    getattr(store, decision)([row.id], at=at(3))
    assert counts(store) == {} and store.troubled() == []
    assert store.deadly("work", "INBOX", 7) == frozenset()
    assert store.suspects("work", "INBOX", 7) == ({1} if decision == "retry" else set())


def test_a_retried_message_is_judged_by_itself(store: Store) -> None:
    """What was quarantined unjudged is judged anew after `retry`, in a window of its own."""
    baseline(store)
    for _ in range(2):
        killed(store, JUDGING, 11)
    (entry,) = store.log()
    store.retry([entry["id"]], at=at(20))
    assert counts(store) == {}
    assert store.suspects("work", "INBOX", 7) == {11}
    assert store.deferred("work", "INBOX", 7) == {11: at(20)}
    assert killed(store, JUDGING, 11).found_out is None
    assert killed(store, JUDGING, 11).found_out == ("work", "INBOX", 11)


def test_a_deferred_message_is_no_suspect(store: Store) -> None:
    """What a server did not send goes with the others at its next try."""
    baseline(store)
    store.defer("work", "INBOX", 7, 11, reason="not sent", at=at(1))
    assert store.suspects("work", "INBOX", 7) == frozenset()


def test_a_suspect_that_is_through_is_none_any_more(store: Store) -> None:
    """After its turn a message has no deaths; one that could not be judged in its turn keeps them."""
    baseline(store)
    killed(store, JUDGING, 11, 12)
    store.take("work", "INBOX", JUDGING, 7, [11])
    record(store, decided(11, flag()))
    store.defer("work", "INBOX", 7, 12, reason="not sent", at=at(11))
    for uid in (11, 12):
        store.acquit("work", "INBOX", 7, uid)
    assert counts(store) == {12: 1}
    assert store.suspects("work", "INBOX", 7) == {12}


def test_one_turn_at_a_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one suspect has its turn no other has, in whichever mailbox; then the next may."""
    monkeypatch.setattr(deaths, "TURN", 0.01)
    with store.alone() as first:
        assert first
        with store.alone() as second:
            assert not second
    with store.alone() as third:
        assert third


def test_many_deaths_are_spread(store: Store) -> None:
    """Where one after the other is found out, suspects rest, so that others' mail is done meanwhile."""
    baseline(store)
    killed(store, JUDGING, *range(11, 20))
    for uid in (11, 12):
        killed(store, JUDGING, uid)
        with store.alone() as mine:
            assert mine
    killed(store, JUDGING, 13)
    with store.alone() as mine:
        assert not mine


@pytest.mark.parametrize("state", ["intent", "later"])
def test_suspects_have_something_to_be_done(store: Store, state: State) -> None:
    """A judged message is a suspect only while an effect of it waits for us."""
    (row,) = record(store, decided(1, flag()))
    store.advance([row.id], frm="planned", to="intent", at=at(1), hand=ACTING[0])
    store.bury(at=at(2))
    if state == "later":
        store.advance([row.id], frm="intent", to="later", at=at(3), next_try=at(9))
    assert store.suspects("work", "INBOX", 7) == {1}
    store.advance([row.id], frm=("intent", "later"), to="done", at=at(4))
    assert store.suspects("work", "INBOX", 7) == frozenset()
