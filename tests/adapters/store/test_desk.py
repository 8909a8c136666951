"""What people decide: pause, resume, retry, skip; what is given up."""

from __future__ import annotations

import pytest

from mailrules.adapters.store import Store
from mailrules.adapters.store.rows import State
from mailrules.core.errors import PermanentError

from .journal_words import at, baseline, decided, flag, forward, move, record


def state_of(store: Store, id_: int) -> str:
    row = store.effect(id_)
    assert row is not None
    return row.state


def bring(store: Store, id_: int, *way: State) -> None:
    for frm, to in zip(("planned", *way), way, strict=False):
        store.advance([id_], frm=frm, to=to, at=at(1))  # type: ignore[arg-type]


def test_a_pause_stays(store: Store) -> None:
    """A pause is there until it is ended, over restarts."""
    assert store.pause("rule:filing", reason="by hand", at=at(1))
    assert not store.pause("rule:filing", reason="again", at=at(2))
    store.close()
    with Store.open(store.path.parent) as again:
        assert again.paused() == {"rule:filing"}
        assert [(p.target, p.since, p.reason) for p in again.pauses()] == [("rule:filing", at(1), "by hand")]


def test_resume_lets_go_what_nothing_else_holds(store: Store) -> None:
    """Held effects are planned again when the last pause over them ends, others stay held."""
    for target in ("rule:filing", "account:work"):
        store.pause(target, reason="", at=at(1))
    mine, other = record(store, decided(1, flag()), decided(2, flag(rule="other")))
    assert store.resume("rule:filing", at=at(2)) == (True, 0)
    assert store.resume("account:work", at=at(3)) == (True, 2)
    assert (state_of(store, mine.id), state_of(store, other.id)) == ("planned", "planned")
    assert store.resume("account:work", at=at(4)) == (False, 0)


def test_resume_of_one_rule_leaves_another(store: Store) -> None:
    """Resuming a rule performs what that rule holds, and nothing else."""
    for target in ("rule:filing", "rule:other"):
        store.pause(target, reason="", at=at(1))
    mine, other = record(store, decided(1, flag()), decided(2, flag(rule="other")))
    assert store.resume("rule:filing", at=at(2)) == (True, 1)
    assert (state_of(store, mine.id), state_of(store, other.id)) == ("planned", "held")


def test_resume_of_everything(store: Store) -> None:
    """Many held effects are let go at once when `*` ends."""
    store.pause("*", reason="", at=at(1))
    record(store, *[decided(uid, flag()) for uid in range(1, 1202)])
    assert store.resume("*", at=at(2)) == (True, 1201)
    assert len(store.unfinished("work", "INBOX", now=at(3))) == 1201


@pytest.mark.parametrize(
    "way",
    [("failed",), ("intent", "unknown"), ("intent", "later"), ("gone",), ("intent", "commit", "unknown")],
)
def test_retry_starts_over(store: Store, way: tuple[State, ...]) -> None:
    """A person may have anything tried again that did not happen or may not have; tries start anew."""
    (row,) = record(store, decided(1, forward()))
    bring(store, row.id, *way)
    (again,) = store.retry([row.id], at=at(5))
    assert (again.state, again.tries, again.effect_key) == ("planned", 0, row.effect_key)


@pytest.mark.parametrize("way", [("done",), ("intent",), ("skipped",)])
def test_retry_refuses_what_is_done_or_running(store: Store, way: tuple[State, ...]) -> None:
    """What is done, dropped or running is not tried again, and nothing else of the request is either."""
    good, bad = record(store, decided(1, flag()), decided(2, flag()))
    bring(store, good.id, "failed")
    bring(store, bad.id, *way)
    with pytest.raises(
        PermanentError, match=rf"effect {bad.id} \(filing flag\) is (done|running now|skipped)"
    ):
        store.retry([good.id, bad.id, 99], at=at(5))
    assert state_of(store, good.id) == "failed"


@pytest.mark.parametrize("way", [("intent", "commit", "unknown"), ("intent", "failed")])
def test_what_was_begun_once_is_not_dropped(store: Store, way: tuple[State, ...]) -> None:
    """An undo drops what is planned and was never begun; what is planned again may have been done."""
    never, again = record(store, decided(1, flag()), decided(2, forward()))
    bring(store, again.id, *way)
    store.retry([again.id], at=at(5))
    assert store.unbegun([never.id, again.id]) == {never.id}
    assert store.drop([never.id, again.id], because="undone", at=at(6)) == {never.id}
    assert (state_of(store, never.id), state_of(store, again.id)) == ("skipped", "planned")


def test_retry_of_what_is_paused_names_the_pause(store: Store) -> None:
    """A held effect under a pause is not let go by the back door."""
    store.pause("rule:filing", reason="", at=at(1))
    (row,) = record(store, decided(1, flag()))
    with pytest.raises(PermanentError, match=r"rule 'filing' is paused\. `mailrules resume filing`"):
        store.retry([row.id], at=at(2))
    store.resume("rule:filing", at=at(3))
    with pytest.raises(PermanentError, match="is planned"):
        store.retry([row.id], at=at(4))


def test_retry_of_a_failed_template_judges_the_message_again(store: Store) -> None:
    """There is nothing to perform, so the message is judged anew and its other plans are dropped."""
    baseline(store, (1, 10))
    failed, flagging, sending = record(
        store, decided(11, flag(state="failed", because="x"), flag("$B"), forward())
    )
    store.retry([failed.id], at=at(5))
    assert 11 not in store.judged("work", "INBOX")
    assert store.deferred("work", "INBOX", 7) == {11: at(5)}
    assert state_of(store, failed.id) == "skipped"
    assert state_of(store, flagging.id) == "skipped"
    assert state_of(store, sending.id) == "planned"  # it has its one time; it is not planned again


def test_skip_lets_the_message_go(store: Store) -> None:
    """A skipped effect is over, and holds its message no longer."""
    failed, moving = record(store, decided(1, flag(), move()))
    bring(store, failed.id, "failed")
    assert store.blocking([moving])
    (row,) = store.skip([failed.id], at=at(5))
    assert row.state == "skipped"
    assert not store.blocking([moving])


def test_skip_refuses_what_is_running(store: Store) -> None:
    """What is under way can't be dropped."""
    (row,) = record(store, decided(1, forward()))
    bring(store, row.id, "intent", "commit")
    with pytest.raises(PermanentError, match="running now"):
        store.skip([row.id], at=at(5))


def test_giving_up_quarantines_the_message(store: Store) -> None:
    """An effect given up is failed, its message quarantined, and `retry` or `skip` ends that."""
    first, second = record(store, decided(1, flag()), decided(2, flag()))
    store.quarantine([first.id, second.id], reason="six tries", at=at(5))
    assert [t.uid for t in store.troubled("quarantined")] == [1, 2]
    assert state_of(store, first.id) == "failed"
    store.retry([first.id], at=at(6))
    store.skip([second.id], at=at(6))
    assert store.troubled() == []


def test_what_is_put_off_has_not_failed(store: Store) -> None:
    """It waits until then, is no suspect and counts no try; what another process put off is due at once."""
    baseline(store)
    for until in (at(30), at(60)):
        store.put_off("work", "INBOX", 1, [7, 8], until=until)
    waiting = store.deferred("work", "INBOX", 1)
    assert waiting == {7: at(60), 8: at(60)} and not store.suspects("work", "INBOX", 1)
    assert {one.tries for one in store.troubled("waiting")} == {1}
    store.defer("work", "INBOX", 1, 8, reason="the server says no", at=at(1))
    store.take_up(at=at(2))
    assert store.deferred("work", "INBOX", 1)[7] == at(2) < store.deferred("work", "INBOX", 1)[8]
