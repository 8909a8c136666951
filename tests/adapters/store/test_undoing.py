"""What was taken back, and by what."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailrules.adapters.store import EffectRow, LogQuery, PlannedUndo, Store, taken_back
from tests.adapters.store.journal_words import T0, Told, at, baseline, decided, flag, move, record


@pytest.fixture
def store(tmp_path: Path):  # type: ignore[no-untyped-def]
    with Store.open(tmp_path / "state") as opened:
        baseline(opened, (1, 10))
        yield opened


def done(store: Store, row: EffectRow) -> EffectRow:
    (now,) = store.advance([row.id], frm=("planned", "intent"), to="done", at=T0)
    return now


def undo(store: Store, row: EffectRow, *, also: tuple[int, ...] = ()) -> EffectRow:
    """An undo of an effect, done."""
    run = store.start_run(account="work", mailbox="", kind="undo", rules_hash="", at=at(1))
    back = PlannedUndo(
        99, Told(row.identity), row, "move", {"mailbox": row.mailbox}, leaves=True, also=also
    )  # fmt: skip
    (planned,) = store.plan_undo(run, "work", "Work", 3, [back], at=at(1))
    assert (planned.state, planned.undoes) == ("planned", row.id)
    assert undone(store, row) is None  # until it is done
    return done(store, planned)


def undone(store: Store, row: EffectRow) -> int | None:
    found = store.effect(row.id)
    assert found is not None
    return found.undone


def test_an_undo_and_its_undo(store: Store) -> None:
    """In the transaction in which an undo is done, its effect is undone; the undo's undo ends that again."""
    flagged, moved = record(store, decided(11, flag(), move()))
    done(store, flagged)
    moved = done(store, moved)
    first = undo(store, moved, also=(flagged.id,))
    assert taken_back(first) == (moved.id, flagged.id)
    assert undone(store, moved) == undone(store, flagged) == first.id
    second = undo(store, first)
    assert (undone(store, first), undone(store, moved), undone(store, flagged)) == (second.id, None, None)
    third = undo(store, second)
    assert (undone(store, second), undone(store, moved), undone(store, first)) == (
        third.id, third.id, second.id,
    )  # fmt: skip
    assert [e["undone"] for e in store.log(LogQuery(ids=(moved.id,)))] == [third.id]


def test_the_flags_that_an_effect_really_changes(store: Store) -> None:
    """A flag that was there before, or that an earlier effect has set, is not the effect's own."""
    rows = record(
        store,
        decided(11, flag("\\Seen"), flag("$New"), flag("$NEW"), flags=("\\Seen",)),
        decided(12, flag("$New"), flags=()),
    )
    assert [dict(row.detail) for row in rows] == [{"changed": []}, {}, {"changed": []}, {}]


def test_what_was_done_to_messages(store: Store) -> None:
    """In the order in which it was done; what is not done is only there if it is an undo."""
    first, second, third = record(store, decided(11, flag("$A"), flag("$B"), move()))
    store.advance([second.id], frm="planned", to="done", at=at(1))
    store.advance([first.id], frm="planned", to="done", at=at(2))
    assert [row.id for row in store.done_to("work", ["id-11", "id-12"])] == [second.id, first.id]
    assert store.states([third.id])[third.id].state == "planned"
    (recorded,) = store.recorded(LogQuery(since=at(1.5), until=at(3)))
    assert (recorded.row.id, recorded.subject) == (first.id, "Hello")
