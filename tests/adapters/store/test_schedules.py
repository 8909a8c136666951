"""What the journal keeps of scheduled rules."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import update

from mailrules.adapters.store import SCHEDULED, Store
from mailrules.adapters.store.schema import effect

from .journal_words import at, baseline, decided, flag, forward, move, record

HOURLY = ("every 1h", "UTC")
DAILY = ("cron 0 3 * * *", "Europe/Berlin")


def test_a_new_rule_is_counted_from_when_it_was_seen(store: Store) -> None:
    """And keeps that moment, however often it is seen again."""
    store.keep_schedules({("r", "work"): HOURLY}, at=at(0))
    store.keep_schedules({("r", "work"): HOURLY}, at=at(500))
    (row,) = store.schedules()
    assert (row.rule, row.account, row.schedule, row.timezone) == ("r", "work", "every 1h", "UTC")
    assert (row.since, row.begun_at, row.last_at) == (at(0), None, None)


def test_another_schedule_is_counted_anew_and_the_last_run_kept(store: Store) -> None:
    """So is another time zone; what another rule has stays as it is."""
    store.keep_schedules({("r", "work"): HOURLY, ("s", "work"): HOURLY}, at=at(0))
    begun, _ = store.begin_schedule("r", "work", at=at(10))
    store.end_schedule("r", "work", begun=begun, since=begun)
    store.keep_schedules({("r", "work"): DAILY, ("s", "work"): HOURLY}, at=at(20))
    changed, other = store.schedules("work")
    assert (changed.schedule, changed.since, changed.last_at) == ("cron 0 3 * * *", at(20), at(10))
    assert other.since == at(0)


def test_a_rule_without_a_schedule_is_forgotten(store: Store) -> None:
    """It misses nothing while it is away: when it comes back it is counted from then."""
    store.keep_schedules({("r", "work"): HOURLY}, at=at(0))
    store.mailbox_done("r", "work", "INBOX", begun=at(1))
    store.keep_schedules({}, at=at(10))
    assert store.schedules() == []
    store.keep_schedules({("r", "work"): HOURLY}, at=at(20))
    assert [row.since for row in store.schedules()] == [at(20)]


def test_an_interrupted_run_knows_how_far_it_came(store: Store) -> None:
    """It keeps the moment at which it began, and the mailboxes it is through with; the next one is new."""
    store.keep_schedules({("r", "work"): HOURLY}, at=at(0))
    assert store.begin_schedule("r", "work", at=at(10)) == (at(10), frozenset())
    store.mailbox_done("r", "work", "INBOX", begun=at(10))
    assert store.begin_schedule("r", "work", at=at(30)) == (at(10), frozenset({"INBOX"}))
    store.end_schedule("r", "work", begun=at(10), since=at(10), trouble="A: gone")
    (row,) = store.schedules()
    assert (row.since, row.begun_at, row.last_at, row.trouble) == (at(10), None, at(10), "A: gone")
    assert store.begin_schedule("r", "work", at=at(40)) == (at(40), frozenset())


def test_a_run_begun_in_the_future_is_begun_anew(store: Store) -> None:
    """It was written before somebody set the clock back."""
    store.keep_schedules({("r", "work"): HOURLY}, at=at(0))
    store.begin_schedule("r", "work", at=at(86400))
    assert store.begin_schedule("r", "work", at=at(10)) == (at(10), frozenset())


def standing(store: Store, *, leaves: bool = False, revision: str = "rev", **more: bool) -> frozenset[int]:
    return store.standing("work", "INBOX", 7, rule="filing", revision=revision, leaves=leaves, **more)


def test_what_waits_or_was_decided_is_left_alone(store: Store) -> None:
    """Open of this rule; skipped under the same text; and if the rule takes mail away, open of any rule."""
    baseline(store)
    mine, other, skipped, done = record(
        store, decided(1, flag()), decided(2, forward()), decided(3, flag("$A")), decided(4, flag("$B"))
    )
    store.skip([skipped.id], at=at(1))
    store.advance([done.id], frm="planned", to="intent", at=at(1))
    store.advance([done.id], frm="intent", to="done", at=at(1))
    assert standing(store) == {1, 3}
    assert standing(store, leaves=True) == {1, 2, 3}
    assert standing(store, revision="another") == {1}
    assert (mine.uid, other.uid) == (1, 2)


def test_what_was_undone_is_left_alone(store: Store) -> None:
    """An undo that the next run would undo again would be no use."""
    baseline(store)
    (row,) = record(store, decided(1, flag()))
    store.advance([row.id], frm="planned", to="intent", at=at(1))
    store.advance([row.id], frm="intent", to="done", at=at(1))
    assert standing(store) == frozenset()
    with store._database.write() as connection:
        connection.execute(update(effect).where(effect.c.id == row.id).values(undone=99))
    assert standing(store) == {1}


def test_a_dry_run_says_it_once(store: Store) -> None:
    """What it would have done stands, as long as it is a dry run."""
    baseline(store)
    record(store, decided(1, flag(state="would")))
    assert standing(store, simulated=True) == {1}
    assert standing(store) == frozenset()


def test_what_a_rule_has_done_is_known_wherever_the_message_is(store: Store) -> None:
    """By target for what happens once, by arguments for the rest; another rule's work is not its own."""
    baseline(store)
    sent, copied, moved = record(
        store,
        decided(1, forward(rule="filing"), flag("$A"), move(rule="another"), identity="x"),
    )
    for row in (copied, moved):
        store.advance([row.id], frm="planned", to="intent", at=at(1))
        store.advance([row.id], frm="intent", to="done", at=at(1))
    assert store.done_already("work", ["x", "y"], rule="filing") == {
        ("x", "forward", "bob@example.net"),
        ("x", "flag", '{"flags": ["$A"]}'),
    }
    assert sent.state == "planned"


def test_old_mail_that_was_in_hand_is_suspect_but_not_new(store: Store) -> None:
    """A process that dies over mail from before the baseline does not make new mail of it."""
    baseline(store, (1, 10))
    store.take("work", "INBOX", SCHEDULED, 7, [3, 4])
    assert store.bury(at=at(10)).suspects == 2
    assert store.died_with("work", "INBOX", 7) == {3, 4}
    assert store.suspects("work", "INBOX", 7) == frozenset()
    assert store.deferred("work", "INBOX", 7) == {}
    store.acquit("work", "INBOX", 7, 4)
    assert store.died_with("work", "INBOX", 7) == {3}
    store.take("work", "INBOX", SCHEDULED, 7, [3])
    assert store.bury(at=at(10) + timedelta(seconds=1)).found_out == ("work", "INBOX", 3)
    (troubled,) = store.troubled("quarantined")
    assert troubled.error == "mailrules died twice while this message was being judged"
    assert store.deadly("work", "INBOX", 7) == {3}
