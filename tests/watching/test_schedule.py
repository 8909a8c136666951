"""The worker's schedules: an alarm clock, and whom it wakes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from mailrules import clock, config
from mailrules.adapters.store import Store
from mailrules.watching.schedule import LOOK, Alarm, ScheduledWorker
from mailrules.watching.service import Service
from mailrules.watching.worker import SHELVED


@pytest.fixture
def alarm() -> Iterator[Alarm]:
    alarm = Alarm()
    yield alarm
    alarm.stop()


def test_it_rings_once_at_its_moment(alarm: Alarm) -> None:
    """Not before, and not again."""
    rang: list[float] = []
    began = time.monotonic()
    alarm.set("a", clock.now() + timedelta(seconds=0.3), lambda: rang.append(time.monotonic() - began))
    time.sleep(0.8)
    assert len(rang) == 1 and rang[0] >= 0.25


def test_what_is_past_rings_at_once(alarm: Alarm) -> None:
    """A moment that went by while nobody looked is not lost, however long ago."""
    rang = threading.Event()
    alarm.set("a", clock.now() - timedelta(days=3), rang.set)
    assert rang.wait(5)


def test_set_anew_it_forgets_the_old_moment(alarm: Alarm) -> None:
    """Of one name there is one moment; None is none. Other names have their own."""
    rang: list[str] = []
    soon, later = clock.now() + timedelta(seconds=0.3), clock.now() + timedelta(days=1)
    alarm.set("a", soon, lambda: rang.append("a"))
    alarm.set("b", soon, lambda: rang.append("b"))
    alarm.set("c", soon, lambda: rang.append("c"))
    alarm.set("a", later, lambda: rang.append("a"))
    alarm.set("b", None, lambda: rang.append("b"))
    time.sleep(0.8)
    assert rang == ["c"]


def test_many_due_at_once_all_ring(alarm: Alarm) -> None:
    """A pool of ten that skips what is a second late is not for us."""
    rang: list[int] = []
    soon = clock.now() + timedelta(seconds=0.2)
    for number in range(200):
        alarm.set(str(number), soon, lambda number=number: rang.append(number))  # type: ignore[misc]
    deadline = time.monotonic() + 5
    while len(rang) < 200 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert sorted(rang) == list(range(200))


RULES = """
accounts:
  work: {host: 127.0.0.1, port: 1, security: none, username: me, password: {env: HOME}}
rules:
  - {name: hourly, schedule: {every: 1h}, when: always, then: [keep]}
"""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with Store.open(tmp_path / "state") as store:
        service = Service(config.parse(RULES), store)
        service.poller.start()
        service._open_desk("work")
        yield service
        service.stop()


def test_nothing_due_connects_to_nobody(service: Service) -> None:
    """It looks again when the alarm rings, and after five minutes anyway."""
    worker = ScheduledWorker("work", service, service.poller)
    park = worker.wake("start")
    assert park is not None and (park.fileno, park.seconds) == (None, LOOK)
    assert worker._connection is None


def test_a_server_that_is_away_is_tried_again(service: Service) -> None:
    """What is due stays due, and the wait grows to five minutes at most."""
    store = service.house.store
    store.keep_schedules({}, at=clock.now())
    store.keep_schedules({("hourly", "work"): ("every 1h", "UTC")}, at=clock.now() - timedelta(hours=2))
    worker = ScheduledWorker("work", service, service.poller)
    for _ in range(12):
        park = worker.wake("timer")
        assert park is not None and park.seconds <= LOOK
    (row,) = store.schedules()
    assert row.last_at is None


def test_a_refused_login_is_not_tried_by_schedules(service: Service) -> None:
    """The account's watchers and its schedules go through one gate: two refusals, and a person must act."""
    store = service.house.store
    store.keep_schedules({}, at=clock.now())
    store.keep_schedules({("hourly", "work"): ("every 1h", "UTC")}, at=clock.now() - timedelta(hours=2))
    gate = service.gate("work")
    assert gate is not None
    for _ in range(2):
        gate.refused("wrong")
    worker = ScheduledWorker("work", service, service.poller)
    park = worker.wake("timer")
    assert park is not None and park.seconds == SHELVED


def test_it_ends_when_it_is_told(service: Service) -> None:
    """After `stop` it is not woken again."""
    worker = ScheduledWorker("work", service, service.poller)
    assert worker.wake("stop") is None
