"""What tests of commands share: a state with a journal in it, and no environment of whoever runs them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mailrules.adapters.store import Store
from mailrules.cli import output
from tests.adapters.store.journal_words import baseline, decided, flag, forward, move, record


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory to be in, with no configuration, state or runtime directory anywhere else."""
    for name in ("MAILRULES_CONFIG", "STATE_DIRECTORY", "RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("TZ", "UTC")
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    output.console.cache_clear()
    return tmp_path / "here"


@pytest.fixture
def state(alone: Path) -> Path:
    """A state directory with a journal: one effect each that is done, held, failed, unknown and planned."""
    directory = alone / "state"
    with Store.open(directory) as store:
        baseline(store, (1, 10))
        store.keep_rules([("rev", "filing", "name: filing")])
        done, moving = record(store, decided(11, flag(), move("Work/2026"), subject="Minutes"))
        store.advance([done.id], frm="planned", to="done", at=done.created_at)
        (held,) = record(store, decided(12, move(), subject="Held one"))
        because = {held.id: {"because": "rule 'filing' is paused"}}
        store.advance([held.id], frm="planned", to="held", at=held.created_at, detail=because)
        (failed,) = record(store, decided(13, flag(), subject="Failed one\x1b[31m"))
        no_room = {failed.id: {"error": "the mailbox is full"}}
        store.advance([failed.id], frm="planned", to="failed", at=failed.created_at, detail=no_room)
        (unknown,) = record(store, decided(14, forward(), subject="Gone out?", message_id="<u@example.org>"))
        for frm, to in (("planned", "intent"), ("intent", "commit"), ("commit", "unknown")):
            store.advance([unknown.id], frm=frm, to=to, at=unknown.created_at)  # type: ignore[arg-type]
        assert [done.id, moving.id, failed.id, unknown.id] == [1, 2, 4, 5]
    return directory


@pytest.fixture
def store(state: Path) -> Iterator[Store]:
    """The journal of `state`, to look at."""
    with Store.open(state, read_only=True) as opened:
        yield opened
