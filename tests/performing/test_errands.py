"""What runs beside the mailbox: places, whom it comes back to, and who is told when nobody waits."""

from __future__ import annotations

import threading

import pytest

from mailrules.core.message import MessageKey
from mailrules.performing.errands import MOST_OF_ACCOUNT, Errands, Returns


def key(account: str = "work", uid: int = 1) -> MessageKey:
    return MessageKey(account, "INBOX", 1, uid)


def test_one_account_cannot_take_all_places() -> None:
    """At its limit an account gets no more, another one does, and a free place is told to who wanted it."""
    told: list[str] = []
    errands = Errands(left_alone=told.append)
    assert all(errands.place("work") for _ in range(MOST_OF_ACCOUNT))
    assert not errands.place("work")
    assert errands.place("home")
    errands.give_back("work")
    assert told == ["work"] and errands.place("work")


def test_an_effect_is_under_way_until_its_end_is_written() -> None:
    """What the journal does not have yet is still named as under way."""
    errands = Errands()
    began, go_on = threading.Event(), threading.Event()

    def work() -> bool:
        began.set()
        return go_on.wait(10)

    assert errands.place("work") and errands.start(7, key(), work)
    assert began.wait(10)
    assert errands.under_way() == {7} and not errands.wait(0.01)
    go_on.set()
    assert errands.wait(10) and not errands.under_way()


def test_who_is_told_when_nobody_waits(caplog: pytest.LogCaptureFixture) -> None:
    """An errand that ends unattended, or breaks, wakes its account; an attended one does not. Bugs show."""
    told: list[str] = []
    errands = Errands(left_alone=told.append)

    def broken() -> bool:
        raise ValueError("a bug")

    for account, work in (("attended", lambda: True), ("alone", lambda: False), ("broken", broken)):
        assert errands.place(account) and errands.start(1, key(account), work)
        assert errands.wait(10)
    assert sorted(told) == ["alone", "broken"]
    assert "broken/INBOX uid=1 effect 1" in caplog.text and "a bug" in caplog.text


def test_nothing_comes_back_to_who_has_left() -> None:
    """Once closed, what comes is refused, and what came before and was not taken is told."""
    returns: Returns[int] = Returns()
    assert returns.get(0.0) is None
    assert returns.put(1) and returns.get(1.0) == 1
    assert returns.put(2) and returns.close()
    assert not returns.put(3)
