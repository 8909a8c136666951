"""SEARCH is asked first where that was quicker."""

from __future__ import annotations

import pytest

from mailrules.core.narrowing import AGAIN, ENOUGH, Narrowing


def measured(*, search: float, kept: float, fetch: float) -> Narrowing:
    narrowing = Narrowing()
    narrowing.searched(1000, int(1000 * kept), seconds=1000 * search)
    narrowing.fetched(1000, seconds=1000 * fetch)
    return narrowing


def test_nothing_known() -> None:
    """Until both ways have been measured, SEARCH comes first: it can't make much worse."""
    narrowing = Narrowing()
    assert narrowing.first()
    narrowing.searched(1000, 10, seconds=5)
    assert narrowing.first()
    assert str(narrowing) == "nothing measured yet"


@pytest.mark.parametrize(
    ("search", "kept", "fetch", "first"),
    [
        (6e-6, 0.5, 5e-6, False),  # loopback: the server searches longer than it takes to fetch all
        (6e-6, 0.5, 90e-6, True),  # 20 Mbit/s
        (6e-6, 0.01, 10e-6, True),  # selective
        (6e-6, 1.0, 1e-3, False),  # it leaves all of them
        (60e-6, 0.02, 5e-3, True),  # text has to be fetched
    ],
)
def test_the_quicker_way(search: float, kept: float, fetch: float, first: bool) -> None:
    """What SEARCH takes must be less than what it spares."""
    narrowing = measured(search=search, kept=kept, fetch=fetch)
    assert narrowing.first() is first
    assert ("SEARCH first is quicker" in str(narrowing)) is first


def test_it_is_tried_again() -> None:
    """A way that lost is tried again now and then, and few messages say nothing."""
    narrowing = measured(search=6e-6, kept=0.5, fetch=5e-6)
    assert [narrowing.first() for _ in range(2 * AGAIN)].count(True) == 2
    narrowing.fetched(ENOUGH - 1, seconds=60)
    narrowing.searched(ENOUGH - 1, 0, seconds=0)
    assert narrowing.fetch == pytest.approx(5e-6) and narrowing.kept == 0.5
