"""Going on with a journal that was put back from a copy."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from mailrules.adapters.store import EffectRow, Store, StoreBroken
from mailrules.core.uidset import UidSet
from tests.lab.journal import opened

from .journal_words import at, baseline, decided, flag, forward, move, record
from .test_generation import copy

PATHS: dict[str, tuple[str, ...]] = {
    "planned": (), "later": ("later",), "held": ("held",), "intent": ("intent",),
    "commit": ("intent", "commit"), "done": ("intent", "commit", "done"), "failed": ("intent", "failed"),
    "skipped": ("skipped",), "unknown": ("intent", "commit", "unknown"),
}  # fmt: skip


def bring(store: Store, row: EffectRow, *states: Any) -> None:
    for frm, to in zip((row.state, *states), states, strict=False):
        store.advance([row.id], frm=frm, to=to, at=at(), next_try=at(60))


@pytest.mark.parametrize("state", PATHS)
def test_what_can_happen_only_once_is_not_guessed(store: Store, state: str) -> None:
    """A forward that was open becomes unknown, whatever its rule says; one that had ended stays."""
    (row,) = record(store, decided(1, forward(on_unknown="retry")))
    bring(store, row, *PATHS[state])
    open_ = state in ("planned", "later", "held", "intent", "commit")
    assert store.doubtful() == int(open_)
    done = store.resync(since=at(), at=at(5))
    assert done.unknown == ((row.id,) if open_ else ())
    after = store.effect(row.id)
    assert after is not None
    assert after.state == ("unknown" if open_ else state)
    assert ("put back from a copy" in after.detail.get("error", "")) == open_
    assert after.next_try is None or not open_
    (entry,) = store.log()
    assert entry["state"] == after.state


def test_what_the_server_can_be_asked_stays(store: Store) -> None:
    """Moves and flags go on; a copy is looked for in all of its mailbox first."""
    from mailrules.core.actions.base import PlannedEffect

    copying = PlannedEffect("r", "rev", 0, "copy", {"mailbox": "Copies"}, leaves=False, once=False)
    rows = record(store, decided(1, copying, flag(), move()))
    assert store.resync(since=at(), at=at()).unknown == ()
    now = {row.action: row for row in map(store.effect, [r.id for r in rows]) if row is not None}
    assert {row.state for row in now.values()} == {"planned"}
    assert now["copy"].detail == {"destination": {"mailbox": "Copies", "uidvalidity": 0, "uidnext": None}}
    assert now["move"].detail == {}


def test_every_mailbox_is_looked_at_once(store: Store) -> None:
    """From `since` on, until it was settled in either way; the sweep after that is a full one."""
    for mailbox in ("A", "B"):
        baseline(store, (1, 10), mailbox=mailbox)
    done = store.resync(since=at(30), at=at(40))
    assert done.mailboxes == (("work", "A"), ("work", "B"))
    assert store.resync_since("work", "A") == at(30)
    store.resynced("work", "A", uidvalidity=7, old=UidSet([12, 14]))
    store.set_baseline("work", "B", uidvalidity=8, judged=UidSet([1]), high_uid=1, at=at(50))
    assert store.resync_since("work", "A") is None and store.resync_since("work", "B") is None
    assert str(store.judged("work", "A")) == "1:10,12,14"
    row = store.mailbox("work", "A")
    assert row is not None and row.last_full_scan is None


def test_a_message_that_waited_does_not_wait_any_more(store: Store) -> None:
    """It may have been judged since: as old mail it counts as judged."""
    baseline(store, (1, 10))
    store.defer("work", "INBOX", 7, 11, reason="no body", at=at())
    store.resync(since=at(), at=at())
    store.resynced("work", "INBOX", uidvalidity=7, old=UidSet([11]))
    assert store.deferred("work", "INBOX", 7) == {}


def test_what_was_seen_is_forgotten(store: Store) -> None:
    """A mailbox that came into being after the copy must not count as new with all its mail."""
    store.remember_mailboxes("work", ["INBOX"])
    store.set("watched:work", '["Lists/*"]')
    store.set("other", "stays")
    store.resync(since=at(), at=at())
    assert store.seen_mailboxes("work") is None
    assert (store.get("watched:work"), store.get("other")) == (None, "stays")


def older(state: Path) -> None:
    """The state has a journal that is older than its generation file."""
    with Store.open(state) as store:
        baseline(store, (1, 10))
    copy(state, state.parent / "copy.db")
    with Store.open(state) as store:
        for uid in range(11, 15):
            (row,) = record(store, decided(uid, forward()))
            bring(store, row, "intent", "commit", "done")
    shutil.copy(state.parent / "copy.db", state / "journal.db")


def test_a_copy_from_before_a_forward_is_refused(tmp_path: Path) -> None:
    """However recent it is: the number grows with every commit point."""
    older(tmp_path / "state")
    with pytest.raises(StoreBroken, match="mailrules resync --baseline now"):
        Store.open(tmp_path / "state")


def test_it_is_accepted_afterwards(tmp_path: Path) -> None:
    """The journal is then the newest, and one put back later is refused again."""
    state = tmp_path / "state"
    older(state)
    with Store.open(state, put_back=True):
        pass  # looking alone accepts nothing
    with pytest.raises(StoreBroken):
        Store.open(state)
    with Store.open(state, put_back=True) as store:
        store.resync(since=at(), at=at())
    Store.open(state).close()
    shutil.copy(tmp_path / "copy.db", state / "journal.db")
    with pytest.raises(StoreBroken):
        Store.open(state)


def test_a_lost_journal_is_accepted_too(tmp_path: Path) -> None:
    """A new one has nothing to look at."""
    state = tmp_path / "state"
    older(state)
    (state / "journal.db").unlink()
    with pytest.raises(StoreBroken):
        Store.open(state)
    with Store.open(state, put_back=True) as store:
        assert store.resync(since=at(), at=at()) == store.resync(since=at(), at=at())
        assert store.mailboxes() == []
    Store.open(state).close()


def test_killed_before_the_file_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written counts: the copy is accepted, with all that is to be looked at."""
    from mailrules.adapters.store import generation

    state = tmp_path / "state"
    older(state)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(generation, "_write", killed)
    with Store.open(state, put_back=True) as store, pytest.raises(KeyboardInterrupt):
        store.resync(since=at(), at=at())
    monkeypatch.undo()
    with Store.open(state) as store:
        assert store.resync_since("work", "INBOX") == at()


def test_who_had_what_in_hand_is_forgotten(store: Store) -> None:
    """The process that had it when the copy was made did not die of it."""
    with store._database.write() as connection:
        connection.exec_driver_sql("INSERT INTO in_hand VALUES ('work', 'INBOX', 'judge', 7, '1:3')")
    store.resync(since=at(), at=at())
    with opened(store.path) as connection:
        assert connection.execute("SELECT count(*) FROM in_hand").fetchone() == (0,)
