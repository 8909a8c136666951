"""mailrules.watching.poller: parking, waking, stopping."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from mailrules.watching.poller import Park, Poller, Why


class Member:
    """Records why it was woken and parks as it is told."""

    def __init__(
        self, *parks: Park | BaseException | None, default: Park | None = None, host: str = "one"
    ) -> None:
        self.name, self.host = "member", host
        self.parks = list(parks)
        self.default = default or Park(None, 60)
        self.whys: list[Why] = []
        self.errors: list[BaseException] = []
        self.aborted = threading.Event()
        self.woken = threading.Semaphore(0)
        self.hold: threading.Event | None = None

    def wake(self, why: Why) -> Park | None:
        self.whys.append(why)
        self.woken.release()
        if self.hold is not None:
            self.hold.wait(10)
        if why == "stop":
            return None
        answer = self.parks.pop(0) if self.parks else self.default
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def failed(self, error: BaseException) -> Park | None:
        self.errors.append(error)
        return Park(None, 0.05)

    def abort(self) -> None:
        self.aborted.set()
        if self.hold is not None:
            self.hold.set()

    def wait(self, times: int = 1) -> None:
        for _ in range(times):
            assert self.woken.acquire(timeout=5), f"not woken; so far {self.whys}"


@pytest.fixture
def poller() -> Iterator[Poller]:
    poller = Poller(threads=4)
    poller.start()
    yield poller
    poller.stop(grace=2)


def test_wakes_at_once_then_by_timer(poller: Poller) -> None:
    """A member is woken when it is added and again when its timer runs out."""
    member = Member(Park(None, 0.05))
    poller.add(member)
    member.wait(2)
    assert member.whys == ["start", "timer"]


def test_wakes_when_readable_and_only_then(poller: Poller) -> None:
    """A parked socket wakes its member when data comes, once for each time it is parked."""
    ours, theirs = socket.socketpair()
    member = Member(Park(ours.fileno(), 60))
    poller.add(member)
    member.wait()
    time.sleep(0.05)
    assert member.whys == ["start"]
    theirs.send(b"x")
    member.wait()
    time.sleep(0.1)
    assert member.whys == ["start", "readable"]
    ours.close()
    theirs.close()


def test_asking_a_busy_member_sends_it_round_again(poller: Poller) -> None:
    """What is asked of a member at work is not lost: it goes round once more."""
    member = Member()
    member.hold = threading.Event()
    poller.add(member)
    member.wait()
    poller.ask(member)
    poller.ask(member)
    time.sleep(0.05)
    member.hold.set()
    member.wait()
    time.sleep(0.05)
    assert member.whys == ["start", "asked"]


def test_a_bug_in_wake_does_not_lose_the_member(poller: Poller) -> None:
    """An exception nobody foresaw reaches `failed`, and the member is woken again."""
    member = Member(ZeroDivisionError("bug"), Park(None, 60))
    poller.add(member)
    member.wait(2)
    assert [type(e) for e in member.errors] == [ZeroDivisionError]
    assert member.whys == ["start", "timer"]


def test_one_slow_member_delays_no_other(poller: Poller) -> None:
    """A member stuck in its work leaves the others their turn."""
    stuck, quick = Member(), Member(Park(None, 0.01), Park(None, 0.01))
    stuck.hold = threading.Event()
    poller.add(stuck)
    poller.add(quick)
    quick.wait(3)
    stuck.hold.set()


def test_one_host_cannot_take_all_threads(poller: Poller) -> None:
    """Members of a host that hangs wait for each other; those of another host find a thread at once."""
    stuck = [Member(host="frozen") for _ in range(6)]
    for member in stuck:
        member.hold = threading.Event()
        poller.add(member)
    time.sleep(0.2)
    assert sum(bool(member.whys) for member in stuck) == 2, "half of the threads"
    quick = Member(Park(None, 0.01), Park(None, 0.01), host="healthy")
    poller.add(quick)
    quick.wait(3)
    for member in stuck:
        assert member.hold is not None
        member.hold.set()
    for member in stuck:
        member.wait()
        assert member.whys == ["start"]


def test_who_waits_for_a_thread_can_still_be_stopped(poller: Poller) -> None:
    """A member whose host has used up its share ends when it is told to, without waiting for the others."""
    stuck = [Member(host="frozen") for _ in range(3)]
    for member in stuck:
        member.hold = threading.Event()
        poller.add(member)
    stuck[0].wait()
    stuck[1].wait()
    poller.ask(stuck[2], "asked")
    poller.ask(stuck[2], "stop")
    stuck[2].hold.set()  # type: ignore[union-attr]
    stuck[2].wait()
    assert stuck[2].whys == ["stop"]
    for member in stuck:
        member.abort()


def test_a_system_without_threads_delays_and_doubles_nothing(
    poller: Poller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no thread can be started, a member is woken once, as soon as one can be."""
    start = threading.Thread.start

    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    member, other = Member(), Member()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refused)
        poller.add(member)
        time.sleep(0.2)
        assert member.whys == []
    assert threading.Thread.start is start
    poller.add(other)
    member.wait()
    other.wait()
    time.sleep(0.2)
    assert member.whys == other.whys == ["start"]


def test_stop_tells_parked_and_busy_members() -> None:
    """Stopping wakes the parked with "stop", lets the busy finish, and aborts who does not end."""
    poller = Poller(threads=4)
    poller.start()
    parked, busy, stuck = Member(), Member(), Member()
    busy.hold, stuck.hold = threading.Event(), threading.Event()
    for member in (parked, busy, stuck):
        poller.add(member)
        member.wait()
    threading.Timer(0.2, busy.hold.set).start()
    began = time.monotonic()
    assert poller.stop(grace=0.6) is False
    assert 0.5 < time.monotonic() - began < 5
    assert parked.whys == ["start", "stop"] and busy.whys == ["start", "stop"]
    assert stuck.aborted.is_set() and not parked.aborted.is_set() and not busy.aborted.is_set()


def test_a_removed_member_is_not_woken_again(poller: Poller) -> None:
    """After `remove` neither its socket nor its timer wakes a member."""
    member = Member(Park(None, 0.1))
    poller.add(member)
    member.wait()
    time.sleep(0.02)
    poller.remove(member)
    time.sleep(0.25)
    assert member.whys == ["start"] and member.aborted.is_set()
