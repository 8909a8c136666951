"""Decisions of people: by way of the worker, or under the lock, by the same functions."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailrules import operations
from mailrules.adapters.store import Store
from mailrules.control import ControlServer
from mailrules.core.errors import PermanentError
from mailrules.operations import Names, perform, register, target_of
from mailrules.state import State, StateLocked
from tests.adapters.store.journal_words import decided, flag, record

NAMES = Names(frozenset({"filing"}), frozenset({"work"}))


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    """A state with one effect."""
    for name in ("XDG_RUNTIME_DIR", "RUNTIME_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    with Store.open(tmp_path / "state") as store:
        record(store, decided(1, flag()))
    return State(tmp_path / "state", "test")


@pytest.fixture
def worker(state: State) -> Iterator[list[str]]:
    """What stands for a worker: it holds the lock and listens. Gives the list of its wake-ups."""
    woken: list[str] = []
    server = ControlServer(state.socket())
    with state.lock("run", socket=state.socket()), Store.open(state.directory) as store:
        register(server, store, names=lambda: NAMES, changed=lambda: woken.append("woken"))
        with server:
            yield woken


def never() -> Names:
    raise AssertionError("the worker has its own names")


def test_a_worker_is_asked(state: State, worker: list[str]) -> None:
    """With a worker, it decides by its own rules, and looks at once whether there is something to do."""
    events = list(perform("pause", state, names=never, targets=["filing"], reason="x"))
    assert [(e["target"], e["changed"]) for e in events] == [("rule:filing", True)]
    assert worker == ["woken"]
    (entry,) = perform("skip", state, names=never, ids=[1])
    assert entry["state"] == "skipped"
    with pytest.raises(PermanentError, match=r"effect 1 .* is skipped"):
        list(perform("retry", state, names=never, ids=[1]))


def test_without_a_worker_the_lock_is_taken(state: State) -> None:
    """Without one, the same happens under the lock, which is free again afterwards."""
    events = list(perform("pause", state, names=lambda: NAMES, targets=[], reason="x"))
    assert [e["target"] for e in events] == ["*"]
    state.lock("run").close()


def test_the_lock_is_free_after_a_refusal(state: State) -> None:
    """Also when it was refused."""
    with pytest.raises(PermanentError):
        list(perform("retry", state, names=lambda: NAMES, ids=[99]))
    state.lock("run").close()


def test_another_command_is_waited_for(state: State) -> None:
    """Two commands at once take turns."""
    lock = state.lock("apply")
    threading.Timer(0.4, lock.close).start()
    begun = time.monotonic()
    assert len(list(perform("skip", state, names=lambda: NAMES, ids=[1]))) == 1
    assert time.monotonic() - begun >= 0.3


def test_a_worker_that_starts_is_waited_for(state: State) -> None:
    """It holds the lock a moment before it listens."""
    lock = state.lock("run", socket=state.socket())
    store = Store.open(state.directory)
    server = ControlServer(state.socket())
    register(server, store, names=lambda: NAMES, changed=lambda: None)
    threading.Timer(0.4, server.start).start()
    try:
        assert len(list(perform("skip", state, names=never, ids=[1]))) == 1
    finally:
        server.stop()
        store.close()
        lock.close()


def test_waiting_has_an_end(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever holds the state and never answers is named."""
    monkeypatch.setattr(operations, "LOCK_WAIT", 0.3)
    with state.lock("run"), pytest.raises(StateLocked, match="`mailrules run`, process"):
        list(perform("skip", state, names=lambda: NAMES, ids=[1]))


@pytest.mark.parametrize("ids", [None, "1", [1, "2"], {"a": 1}])
def test_a_malformed_request_is_refused(state: State, ids: object) -> None:
    """What comes over the socket is checked like anything else that comes from outside."""
    with pytest.raises(PermanentError, match="by their numbers"):
        list(perform("retry", state, names=lambda: NAMES, ids=ids))


def test_a_target_of_any_kind(state: State) -> None:
    """Names of the file and of the journal; a near miss is named."""
    with Store.open(state.directory) as store:
        assert target_of("filing", NAMES, store) == "rule:filing"
        assert target_of("work", NAMES, store) == "account:work"
        assert target_of("account:work", NAMES, store) == "account:work"
        with pytest.raises(PermanentError, match="Did you mean 'work'"):
            target_of("wrk", NAMES, store)
        with pytest.raises(PermanentError, match="`mailrules status` lists them"):
            target_of("zzz", NAMES, store)
