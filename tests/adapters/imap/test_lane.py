"""Bulk work takes turns; small work, and whoever waits for a server, holds nobody up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from mailrules.adapters.imap import lane as lane_
from mailrules.adapters.imap.connection import Connection, Login
from mailrules.adapters.imap.lane import BULK, Lane
from tests.lab.scripted import HANG, ScriptedServer


@contextmanager
def elsewhere(work: Callable[[threading.Event], None]) -> Iterator[threading.Event]:
    """Another thread at work; what is given is set when it has a place."""
    begun = threading.Event()
    thread = threading.Thread(target=work, args=(begun,), daemon=True)
    thread.start()
    try:
        yield begun
    finally:
        thread.join(10)
        assert not thread.is_alive()


def bulk(lane: Lane) -> Callable[[threading.Event], None]:
    def work(begun: threading.Event) -> None:
        with lane.work(BULK):
            begun.set()

    return work


def test_bulk_waits_for_bulk() -> None:
    """The second begins when the first has ended."""
    lane = Lane()
    with lane.work(BULK):
        held = elsewhere(bulk(lane))
        begun = held.__enter__()
        assert not begun.wait(0.2)
    assert begun.wait(10)
    held.__exit__(None, None, None)


def test_small_work_waits_for_nobody() -> None:
    """A few messages are judged whatever else is going on."""
    lane = Lane()

    def few(begun: threading.Event) -> None:
        with lane.work(BULK - 1):
            begun.set()

    with lane.work(BULK), elsewhere(few) as begun:
        assert begun.wait(10)


def test_bulk_within_bulk() -> None:
    """A thread that has the lane does not wait for itself, and leaves it once."""
    lane = Lane()
    with lane.work(BULK), lane.work(BULK), lane.left():
        pass
    with elsewhere(bulk(lane)) as begun:
        assert begun.wait(10)


def test_a_frozen_server_holds_nobody_up() -> None:
    """While one waits for its server in the midst of bulk work, others have the lane."""
    lane = Lane()
    with ScriptedServer() as server:
        server.script(rb"NOOP", HANG)
        login = Login("a", "127.0.0.1", server.port, "none", "me", lambda: "pw", timeout=3)
        connection = Connection(login, lane=lane)
        connection.open()

        def wait(begun: threading.Event) -> None:
            with lane.work(BULK):
                begun.set()
                try:
                    connection.noop()
                except Exception:
                    return

        with elsewhere(wait) as first:
            assert first.wait(10)
            with elsewhere(bulk(lane)) as second:
                assert second.wait(2)
            connection.abort()


def passing(lane: Lane) -> Callable[[threading.Event], None]:
    def work(begun: threading.Event) -> None:
        lane.let_pass()
        begun.set()

    return work


def test_bulk_lets_a_few_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its pieces bulk work waits until those who are at a few messages are through."""
    monkeypatch.setattr(lane_, "PATIENCE", 30)
    lane = Lane()
    with lane.few(BULK - 1):
        held = elsewhere(passing(lane))
        went_on = held.__enter__()
        assert not went_on.wait(0.2)
    assert went_on.wait(10)
    held.__exit__(None, None, None)


def test_bulk_does_not_wait_for_who_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for a server lets bulk work go on, and so does bulk work itself."""
    monkeypatch.setattr(lane_, "PATIENCE", 30)
    lane = Lane()
    with lane.few(1), lane.left(), elsewhere(passing(lane)) as went_on:
        assert went_on.wait(10)
    with lane.few(BULK), elsewhere(passing(lane)) as went_on:
        assert went_on.wait(10)


def test_a_few_do_not_wait_for_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that is at a few messages waits for none of the others."""
    monkeypatch.setattr(lane_, "PATIENCE", 30)
    lane = Lane()

    def few(begun: threading.Event) -> None:
        with lane.few(1):
            lane.let_pass()
            begun.set()

    with lane.few(1), elsewhere(few) as went_on:
        lane.let_pass()
        assert went_on.wait(10)


def test_bulk_goes_on_where_mail_never_stops() -> None:
    """The wait has an end."""
    lane = Lane()
    with lane.few(1), elsewhere(passing(lane)) as went_on:
        assert went_on.wait(10)
