"""mailrules.watching.crew: threads that come with the work and go without it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import pytest

from mailrules import clock
from mailrules.watching.crew import AT_ONCE, KEPT, LONG, PATIENCE, Crew


class Gate:
    """Work that waits until it is let through, and counts who has come."""

    def __init__(self) -> None:
        self.come = threading.Semaphore(0)
        self.open = threading.Event()

    def __call__(self) -> None:
        self.come.release()
        self.open.wait(10)

    def wait(self, times: int = 1) -> None:
        for _ in range(times):
            assert self.come.acquire(timeout=5)


@pytest.fixture
def crews() -> Iterator[Callable[..., Crew]]:
    made: list[Crew] = []

    def make(most: int = 50, rest: float = 10.0) -> Crew:
        made.append(Crew(most, name="test-crew", rest=rest))
        return made[-1]

    yield make
    for crew in made:
        crew.close()


def _until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 5
    while not true():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_quick_work_needs_few_threads(crews: Callable[..., Crew]) -> None:
    """A thousand pieces of work that wait for nobody are done by those that start without hesitating."""
    crew, done = crews(), threading.Semaphore(0)
    for _ in range(1000):
        crew.do(done.release)
    for _ in range(1000):
        assert done.acquire(timeout=5)
    assert crew.size <= AT_ONCE


def test_grows_where_all_wait(crews: Callable[..., Crew]) -> None:
    """Where every thread waits for a server, work that has waited for a moment gets one more."""
    crew, gate, done = crews(), Gate(), threading.Event()
    for _ in range(AT_ONCE):
        crew.do(gate)
    gate.wait(AT_ONCE)
    crew.do(done.set)
    assert 0 < crew.stretch() <= PATIENCE
    assert not done.is_set() and crew.size == AT_ONCE
    time.sleep(PATIENCE * 1.5)
    crew.stretch()
    assert done.wait(5)
    assert crew.stretch() == float("inf"), "nobody waits any more"
    gate.open.set()


def test_grows_slowly_where_threads_come_free(
    crews: Callable[..., Crew], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who comes free in time puts off one more thread, but not for as long as work waits all the same."""
    now = 100.0
    monkeypatch.setattr(clock, "timer", lambda: now)
    crew, gates = crews(), [Gate() for _ in range(AT_ONCE + 20)]
    for gate in gates:
        crew.do(gate)
    for gate in gates[:AT_ONCE]:
        gate.wait()
    step = PATIENCE * 0.9
    for ended, begun in zip(gates, gates[AT_ONCE:], strict=False):
        if now + step > 100.0 + LONG:
            break
        now += step
        ended.open.set()
        begun.wait()
        assert crew.stretch() > 0 and crew.size == AT_ONCE, "one has come free just now"
    now = 100.0 + LONG
    crew.stretch()
    assert crew.size == AT_ONCE + 1
    assert crew.stretch() > 0 and crew.size == AT_ONCE + 1
    for gate in gates:
        gate.open.set()


def test_in_a_hurry_nobody_waits_for_a_thread(crews: Callable[..., Crew]) -> None:
    """When the program stops, hundreds say goodbye side by side; the bound stays."""
    crew, gate = crews(40), Gate()
    crew.hurry()
    for _ in range(60):
        crew.do(gate)
    gate.wait(40)
    assert crew.size == 40
    gate.open.set()
    gate.wait(20)


def test_never_more_than_it_may(crews: Callable[..., Crew]) -> None:
    """Past its bound work waits for a thread that becomes free, in the order in which it came."""
    crew, gate, order = crews(2), Gate(), list[int]()
    for _ in range(2):
        crew.do(gate)
    gate.wait(2)
    for number in range(3):
        crew.do(lambda number=number: order.append(number))  # type: ignore[misc]
    time.sleep(PATIENCE * 1.5)
    assert crew.stretch() == float("inf") and crew.size == 2 and order == []
    gate.open.set()
    _until(lambda: len(order) == 3)
    assert order[0] == 0


def test_who_rests_for_long_ends(crews: Callable[..., Crew]) -> None:
    """After a while without work only a few threads are left, and these still take what comes."""
    crew, gate = crews(rest=0.05), Gate()
    for _ in range(AT_ONCE):
        crew.do(gate)
    gate.wait(AT_ONCE)
    gate.open.set()
    _until(lambda: crew.size == KEPT)
    time.sleep(0.15)
    assert crew.size == KEPT
    crew.do(gate)
    gate.wait()


def test_work_is_not_held_by_who_rests(crews: Callable[..., Crew]) -> None:
    """A thread without work keeps nothing of what it has done alive."""

    class Thing:
        done = threading.Event()

        def work(self) -> None:
            self.done.set()

    crew, thing = crews(), Thing()
    gone = weakref.ref(thing)
    crew.do(thing.work)
    del thing
    assert Thing.done.wait(5)
    _until(lambda: gone() is None)


def test_a_system_without_threads_keeps_the_work(
    crews: Callable[..., Crew], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no thread can be started, who asks is told, and the work is done as soon as there is one."""

    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    crew, first, second = crews(), threading.Event(), threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refused)
        with pytest.raises(RuntimeError, match="new thread"):
            crew.do(first.set)
        assert crew.size == 0 and crew.stretch() > PATIENCE, "not asked again at once"
    crew.do(second.set)
    assert first.wait(5) and second.wait(5)


def test_after_closing_nothing_is_done(crews: Callable[..., Crew]) -> None:
    """`close` ends who rests, lets the others finish, and forgets what waits."""
    crew, gate, late = crews(1), Gate(), threading.Event()
    crew.do(gate)
    gate.wait()
    crew.do(late.set)
    crew.close()
    crew.do(late.set)
    gate.open.set()
    _until(lambda: crew.size == 0)
    assert not late.is_set()


def test_a_program_that_ends_without_a_word_does_end() -> None:
    """Where nobody closes it, no thread keeps the process: who rests ends, and nothing more is done."""
    script = (
        "import threading, time\n"
        "from mailrules.watching.crew import Crew\n"
        "crew = Crew(4, name='crew', rest=0.2)\n"
        "def work():\n"
        "    while True:\n"
        "        crew.do(lambda: None)\n"
        "        time.sleep(0.01)\n"
        "threading.Thread(target=work, daemon=True).start()\n"
        "time.sleep(0.3)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=20, check=False).returncode == 0
