"""When Python looks for cycles."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from mailrules import garbage


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.enable()
    gc.set_threshold(*before)


class Cycle:
    def __init__(self) -> None:
        self.me = self


def test_what_is_made_while_working_is_looked_through() -> None:
    """Cycles made before are left alone, those made since are found."""
    garbage.importing()
    Cycle()
    garbage.working()
    Cycle()
    gc.collect()
    gc.unfreeze()
    assert sum(isinstance(thing, Cycle) for thing in gc.get_objects()) == 1
    assert gc.get_threshold()[0] == garbage.WORKING


def test_nothing_is_at_the_end() -> None:
    """A process that ends looks through nothing."""
    garbage.ending()
    assert gc.get_freeze_count() > 1000
    assert not gc.isenabled()
