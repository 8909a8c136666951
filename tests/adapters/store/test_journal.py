"""Effects through the journal: recording, arrows, what blocks, what is remembered."""

from __future__ import annotations

import sqlite3
from datetime import timedelta

import pytest

from mailrules.adapters.store import Fenced, Store
from mailrules.core.retry import next_try
from mailrules.core.uidset import UidSet
from tests.lab.journal import opened

from .journal_words import T0, at, baseline, decided, flag, forward, move, record


def states(store: Store) -> dict[int, str]:
    with opened(store.path) as connection:
        return dict(connection.execute("SELECT id, state FROM effect").fetchall())


def test_a_decision_is_effects_in_order_and_a_checkpoint(store: Store) -> None:
    """Recording plans the effects of each message in order, and judges every message of the window."""
    baseline(store, (1, 10))
    rows = record(store, decided(11, flag(), move("Work")), decided(12), decided(13, flag()))
    assert [(r.uid, r.action, r.order, r.state) for r in rows] == [
        (11, "flag", 0, "planned"), (11, "move", 1, "planned"), (13, "flag", 0, "planned"),
    ]  # fmt: skip
    assert str(store.judged("work", "INBOX")) == "1:13"
    assert store.unfinished("work", "INBOX", now=T0) == rows


def test_what_is_recorded_comes_back_whole(store: Store) -> None:
    """A row read back is the row that was written."""
    (row,) = record(store, decided(1, forward("bob@example.net", on_unknown="retry")))
    assert store.effect(row.id) == row
    assert row.target_message.effect_key == row.effect_key
    assert (row.arguments, row.once, row.leaves, row.on_unknown) == (
        {"to": ["bob@example.net"]}, True, False, "retry",
    )  # fmt: skip


def test_ids_are_never_given_twice(store: Store) -> None:
    """Not even when the newest row was forgotten: a person may still have its number."""
    (row,) = record(store, decided(1, flag(state="would")))
    assert store.expire(now=at(900 * 86400), keep=timedelta(days=1)) == 1
    (later,) = record(store, decided(2, flag()))
    assert later.id > row.id


# -- once -----------------------------------------------------------------------------------------
def test_once_is_once_per_message_rule_and_target(store: Store) -> None:
    """The same forward of the same message is not planned again, wherever the message is now."""
    assert len(record(store, decided(1, forward(), identity="x"))) == 1
    assert record(store, decided(9, forward(), identity="x"), mailbox="Team") == []
    assert len(record(store, decided(9, forward("eve@example.net"), identity="x"))) == 1
    assert len(record(store, decided(9, forward(rule="other"), identity="x"))) == 1
    assert len(record(store, decided(1, forward(), identity="x"), account="home")) == 1


def test_once_counts_within_one_window(store: Store) -> None:
    """Two copies of one message in the same window are forwarded once."""
    rows = record(store, decided(1, forward(), identity="x"), decided(2, forward(), identity="x"))
    assert [r.uid for r in rows] == [1]


def test_again_asks_for_one_more(store: Store) -> None:
    """`--again` plans it once more, under another key."""
    (first,) = record(store, decided(1, forward(), identity="x"))
    (second,) = record(store, decided(1, forward(), identity="x"), again=True)
    assert first.effect_key != second.effect_key
    assert record(store, decided(1, forward(), identity="x")) == []


def test_a_dry_run_uses_nothing_up(store: Store) -> None:
    """What a rule only said it would do can still be done."""
    assert record(store, decided(1, forward(state="would"), identity="x"))[0].state == "would"
    assert record(store, decided(1, forward(state="would"), identity="x"))[0].state == "would"
    assert len(record(store, decided(1, forward(), identity="x"))) == 1


def test_a_failed_template_uses_nothing_up(store: Store) -> None:
    """A forward whose template failed was never a forward."""
    record(store, decided(1, forward(state="failed", because="no group"), identity="x"))
    assert len(record(store, decided(1, forward(), identity="x"))) == 1


def test_the_database_itself_refuses_a_second_one(store: Store) -> None:
    """Even code that forgets to ask can't write a once-only effect twice."""
    (row,) = record(store, decided(1, forward()))
    with opened(store.path) as connection, pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        columns = [c[1] for c in connection.execute("PRAGMA table_info(effect)") if c[1] != "id"]
        names = ", ".join(columns)
        connection.execute(
            f"INSERT INTO effect (id, {names}) SELECT 999, {names} FROM effect WHERE id = {row.id}"
        )


def test_keys_are_stable_and_distinct(store: Store) -> None:
    """Effect keys are made for Message-IDs: short, plain, and another one for every effect."""
    rows = record(store, decided(1, flag(), flag("$B"), move()), decided(2, flag(), forward()))
    keys = {row.effect_key for row in rows}
    assert len(keys) == 5
    assert all(key.isalnum() and key == key.lower() and len(key) <= 64 for key in keys)


# -- arrows ---------------------------------------------------------------------------------------
def test_the_way_of_a_set(store: Store) -> None:
    """A set goes planned, intent, done, each arrow in one step, and the rows come back in order."""
    rows = record(store, *[decided(uid, flag()) for uid in range(1, 6)])
    ids = [row.id for row in rows][::-1]
    moved = store.advance(ids, frm="planned", to="intent", at=at(1))
    assert [(r.id, r.state, r.tries) for r in moved] == [(id_, "intent", 1) for id_ in ids]
    ended = store.advance(ids, frm="intent", to="done", at=at(2), detail={ids[0]: {"to_uid": 4}})
    assert [r.detail for r in ended] == [{"to_uid": 4}, {}, {}, {}, {}]
    assert store.unfinished("work", "INBOX", now=at(3)) == []


def test_fenced_writes_nothing(store: Store) -> None:
    """If one of a set is somebody else's now, none of the set moves."""
    first, second = record(store, decided(1, flag()), decided(2, flag()))
    store.advance([second.id], frm="planned", to="skipped", at=at(1))
    with pytest.raises(Fenced, match="1 of 2 effects can't go to intent"):
        store.advance([first.id, second.id], frm=("planned", "later"), to="intent", at=at(2))
    assert states(store) == {first.id: "planned", second.id: "skipped"}


def test_the_commit_point_is_passed_once(store: Store) -> None:
    """Two who both hold an effect at intent: one passes the commit point, the other is fenced."""
    (row,) = record(store, decided(1, forward()))
    store.advance([row.id], frm="planned", to="intent", at=at(1))
    store.advance([row.id], frm="intent", to="commit", at=at(2))
    with pytest.raises(Fenced):
        store.advance([row.id], frm="intent", to="commit", at=at(2))


@pytest.mark.parametrize("ending", ["done", "skipped", "would"])
def test_what_is_over_is_over(store: Store, ending: str) -> None:
    """No arrow leads out of an ending, whatever the caller says it comes from."""
    if ending == "would":
        (row,) = record(store, decided(1, flag(state="would")))
    else:
        (row,) = record(store, decided(1, flag()))
        store.advance([row.id], frm="planned", to=ending, at=at(1))  # type: ignore[arg-type]
    with pytest.raises(Fenced):
        store.advance([row.id], frm=("done", "skipped", "would"), to="intent", at=at(2))


def test_an_effect_that_is_not_there(store: Store) -> None:
    """A number nobody gave is said to be missing."""
    with pytest.raises(Fenced, match="effect 41 is no longer in the journal"):
        store.advance([41], frm="planned", to="intent", at=T0)


def test_later_waits_for_its_time(store: Store) -> None:
    """An effect to be tried later is unfinished from then on, and `due` says when."""
    (row,) = record(store, decided(1, flag()))
    store.advance([row.id], frm="planned", to="intent", at=at(1))
    store.advance(
        [row.id], frm="intent", to="later", at=at(2), next_try=at(60), detail={row.id: {"error": "x"}}
    )
    assert store.due("work", "INBOX", uidvalidity=7) == at(60)
    assert store.unfinished("work", "INBOX", now=at(59)) == []
    (again,) = store.unfinished("work", "INBOX", now=at(60))
    assert (again.state, again.tries, again.detail) == ("later", 1, {"error": "x"})
    (tried,) = store.advance([row.id], frm="later", to="intent", at=at(61))
    assert (tried.tries, tried.next_try) == (2, None)


def test_what_waits_moves_with_a_clock_that_is_set(store: Store) -> None:
    """Set back or forward, an effect is due after the time it was to wait; what is newer than that stays."""
    old, new = record(store, decided(1, flag()), decided(2, flag()))
    for row, seconds in ((old, 2), (new, 50)):
        store.advance([row.id], frm="planned", to="intent", at=at(seconds))
        store.advance([row.id], frm="intent", to="later", at=at(seconds), next_try=at(seconds + 60))
    assert store.clock_set(timedelta(hours=-1), ago=timedelta(seconds=20), now=at(55)) == 1
    tries = {row.id: store.effect(row.id).next_try for row in (old, new)}  # type: ignore[union-attr]
    assert tries == {old.id: at(62 - 3600), new.id: at(110)}


def test_what_a_clock_far_ahead_has_written_is_due(store: Store) -> None:
    """A next try further away than any wait was written under another time: it is not waited for."""
    (row,) = record(store, decided(1, flag()))
    store.advance([row.id], frm="planned", to="intent", at=at(1))
    store.advance([row.id], frm="intent", to="later", at=at(86400), next_try=at(86460))
    assert [r.id for r in store.unfinished("work", "INBOX", now=at(2))] == [row.id]
    assert store.unfinished("work", "INBOX", now=at(86400 - 3600)) == []


def test_unfinished_is_by_message_and_leaving_last(store: Store) -> None:
    """What a crash left comes back per message, and what takes it away comes last, whoever planned it."""
    record(store, decided(2, move(), identity="b"), decided(1, flag(), move(), identity="a"))
    record(store, decided(2, flag("$Late"), identity="b"))
    rows = store.unfinished("work", "INBOX", now=at(1))
    assert [(r.uid, r.action) for r in rows] == [(1, "flag"), (1, "move"), (2, "flag"), (2, "move")]
    assert store.unfinished("work", "Elsewhere", now=at(1)) == []


# -- leaving --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("state", "waits"),
    [
        ("planned", True), ("intent", True), ("later", True), ("failed", True), ("unknown", True),
        ("held", True), ("done", False), ("skipped", False), ("gone", False),
    ],
)  # fmt: skip
def test_a_message_leaves_when_the_rest_is_done(store: Store, state: str, waits: bool) -> None:
    """A move waits for every other effect on its message that is not done, or skipped by a person."""
    flagging, moving = record(store, decided(1, flag(), move()))
    way = {"intent": ["intent"], "unknown": ["intent", "unknown"]}.get(state, [state])
    if state != "planned":
        for to in way:
            store.advance([flagging.id], frm=("planned", "intent"), to=to, at=at(1))  # type: ignore[arg-type]
    assert store.blocking([moving]) == ({moving.id: flagging.id} if waits else {})


def test_another_rule_and_another_run_block_too(store: Store) -> None:
    """What an earlier run left undone on a message keeps it there."""
    (earlier,) = record(store, decided(1, forward()))
    (moving,) = record(store, decided(1, move(), identity="id-1"), kind="apply")
    assert store.blocking([moving]) == {moving.id: earlier.id}


def test_a_failed_template_blocks_its_own_run_only(store: Store) -> None:
    """Once the rule is mended and judged again, its old failure holds nothing."""
    record(store, decided(1, flag(state="failed", because="no such group")))
    (moving,) = record(store, decided(1, move()), kind="apply")
    assert store.blocking([moving]) == {}
    _, together = record(store, decided(2, flag(state="failed", because="x"), move()))
    assert list(store.blocking([together])) == [together.id]


def test_dry_runs_block_nothing(store: Store) -> None:
    """What a rule would do keeps no message."""
    _, moving = record(store, decided(1, flag(state="would"), move()))
    assert store.blocking([moving]) == {}


def test_answers_come_with_the_script_and_before_the_leaving(store: Store) -> None:
    """A script's answers are planned in the step that ends it, and stand before what leaves."""
    script, moving = record(store, decided(1, forward(), move()))
    assert store.leaving(script.id)
    store.advance([script.id], frm="planned", to="intent", at=at(1))
    store.advance([script.id], frm="intent", to="commit", at=at(1))
    (answer,) = store.answered(script.id, [flag("$A")], detail={"status": 0}, at=at(2))
    done = store.effect(script.id)
    assert done is not None
    assert (done.state, done.detail) == ("done", {"status": 0})
    assert store.blocking([moving]) == {moving.id: answer.id}
    assert [r.id for r in store.unfinished("work", "INBOX", now=at(3))] == [answer.id, moving.id]
    with pytest.raises(Fenced):
        store.answered(script.id, [flag("$A")], detail={}, at=at(4))


def test_leaving_knows_when_nothing_leaves(store: Store) -> None:
    """Without another effect that leaves, or with one that is skipped, nothing is on its way out."""
    (script,) = record(store, decided(1, forward()))
    assert not store.leaving(script.id)
    other, moving = record(store, decided(2, forward("c@example.net"), move()))
    store.advance([moving.id], frm="planned", to="skipped", at=at(1))
    assert not store.leaving(other.id)


# -- memory ---------------------------------------------------------------------------------------
def moved(store: Store, uid: int, *, identity: str, to: str, mailbox: str = "INBOX") -> int:
    (row,) = record(store, decided(uid, move(to), identity=identity), mailbox=mailbox)
    store.advance([row.id], frm="planned", to="intent", at=at(1))
    store.advance([row.id], frm="intent", to="done", at=at(2))
    return row.id


def test_what_we_put_there_is_ours(store: Store) -> None:
    """A message that our move brought into a watched mailbox is known there as ours, from the intent on."""
    (row,) = record(store, decided(1, move("Work"), identity="x"))
    assert store.history("work", "Work", ["x"]) == {}
    store.advance([row.id], frm="planned", to="intent", at=at(1))
    assert store.history("work", "Work", ["x", "y"]) == {"x": "ours"}
    store.advance([row.id], frm="intent", to="done", at=at(2))
    assert store.history("work", "Work", ["x"]) == {"x": "ours"}
    assert store.history("home", "Work", ["x"]) == {}


def test_what_comes_back_is_returned(store: Store) -> None:
    """A message that our move took out of a mailbox is known there as returned."""
    moved(store, 1, identity="x", to="Work")
    assert store.history("work", "INBOX", ["x"]) == {"x": "returned"}
    assert store.history("work", "Other", ["x"]) == {}


def test_the_last_thing_counts(store: Store) -> None:
    """Moved there and back by our own rules, it is ours; nobody plays ping-pong."""
    moved(store, 1, identity="x", to="Work")
    moved(store, 5, identity="x", to="INBOX", mailbox="Work")
    assert store.history("work", "INBOX", ["x"]) == {"x": "ours"}
    assert store.history("work", "Work", ["x"]) == {"x": "returned"}


def test_a_failed_move_is_no_history(store: Store) -> None:
    """A move that failed or was skipped took nothing anywhere."""
    (row,) = record(store, decided(1, move("Work"), identity="x"))
    store.advance([row.id], frm="planned", to="failed", at=at(1))
    assert store.history("work", "INBOX", ["x"]) == {}
    assert store.history("work", "Work", ["x"]) == {}


def test_known_are_those_with_a_decision(store: Store) -> None:
    """Identities with a row are known in their account."""
    record(store, *[decided(uid, flag()) for uid in range(1, 4)])
    assert store.known("work", ["id-1", "id-3", "id-9"]) == {"id-1", "id-3"}
    assert store.known("home", ["id-1"]) == set()


def test_rules_are_kept_by_their_content(store: Store) -> None:
    """The text a rule had is still there after it was changed."""
    store.keep_rules([("r1", "filing", "name: filing")])
    store.keep_rules([("r2", "filing", "name: filing\nstop: true")])
    store.keep_rules([("r1", "filing", "name: filing")])
    assert store.rule_text("r1", "filing") == "name: filing"
    assert store.rule_text("r2", "filing") == "name: filing\nstop: true"
    assert store.rule_text("r3", "filing") is None


def test_hostile_text_is_stored(store: Store) -> None:
    """Surrogates and NULs in what mail says break nothing, and once is still once."""
    told = {"subject": "a\udc80b\0c", "message_id": "<\udcff@x>", "identity": "id\udc80\0"}
    target = "x\udc80@example.net"
    (row,) = record(store, decided(1, forward(target), **told))
    assert record(store, decided(2, forward(target), **told)) == []
    (shown,) = store.log()
    assert shown["subject"] == "a?b\ufffdc"
    assert store.effects_of("work", row.identity) == [row]


# -- judging that fails ---------------------------------------------------------------------------
def test_a_deferred_message_waits_unjudged(store: Store) -> None:
    """A message that can't be judged now is not judged, and has a time for its next try."""
    baseline(store, (1, 10))
    assert store.defer("work", "INBOX", 7, 11, reason="no answer", at=at(0)) == 1
    assert 11 not in store.judged("work", "INBOX")
    (due,) = store.deferred("work", "INBOX", 7).values()
    assert at(30) <= due <= at(90)
    record(store, decided(11))
    assert store.deferred("work", "INBOX", 7) == {}


def test_too_many_tries_quarantine_it(store: Store) -> None:
    """After the last try it is left alone, counts as judged, and is in the log with an ID to retry."""
    baseline(store, (1, 10))
    tries = 0
    while next_try(tries) is not None:
        tries = store.defer("work", "INBOX", 7, 11, reason="boom", at=at(tries))
    assert tries == 6
    (message,) = store.troubled("quarantined")
    assert (message.uid, message.error, message.tries) == (11, "boom", 6)
    assert store.deferred("work", "INBOX", 7) == {}
    assert 11 in store.judged("work", "INBOX")
    (shown,) = store.log()
    assert (shown["rule"], shown["action"], shown["state"]) == (None, "judge", "failed")
    store.retry([shown["id"]], at=at(99))
    assert 11 not in store.judged("work", "INBOX")
    assert store.deferred("work", "INBOX", 7) == {11: at(99)}
    assert store.troubled("quarantined") == []


def test_a_waiting_uid_dies_with_its_uidvalidity(store: Store) -> None:
    """After the server numbered anew nobody waits for an old UID."""
    baseline(store, (1, 10))
    store.defer("work", "INBOX", 7, 11, reason="x", at=T0)
    store.set_baseline("work", "INBOX", uidvalidity=8, judged=UidSet(), high_uid=0, at=at(1))
    assert store.troubled() == []


def test_nothing_to_record_is_nothing_written(store: Store) -> None:
    """A window in which no rule matched writes its ranges and no row."""
    assert record(store) == []
    assert list(store.log()) == []
