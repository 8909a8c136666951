"""Backoff."""

import random
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrules.core.retry import LADDER, OUTAGE, full_jitter, next_try


@pytest.mark.parametrize(("tries", "rung"), list(enumerate(LADDER, 1)))
def test_each_rung_is_spread_by_half(tries: int, rung: timedelta) -> None:
    """The n-th failure waits the n-th rung, half more or less, and uses the whole of that span."""
    rng = random.Random(tries)
    waits = [next_try(tries, rng) for _ in range(500)]
    assert all(wait is not None and rung * 0.5 <= wait <= rung * 1.5 for wait in waits)
    assert min(w for w in waits if w) < rung * 0.6
    assert max(w for w in waits if w) > rung * 1.4


def test_after_the_ladder_it_is_enough() -> None:
    """After the first try and five more there is no next one."""
    assert next_try(5) is not None
    assert next_try(6) is None


def test_an_outage_is_waited_out_for_days() -> None:
    """A server that is away is asked at most every hour or so, for four to six days."""
    waits = [next_try(tries, random.Random(tries), ladder=OUTAGE) for tries in range(1, len(OUTAGE) + 1)]
    assert all(wait is not None and wait <= timedelta(hours=1.5) for wait in waits)
    assert timedelta(days=4) < sum(filter(None, waits), timedelta()) < timedelta(days=6)
    assert next_try(len(OUTAGE) + 1, ladder=OUTAGE) is None


@given(st.integers(0, 10_000), st.integers())
def test_full_jitter_stays_in_bounds(failures: int, seed: int) -> None:
    """However many failures: never negative, never over five minutes, never over 2^n."""
    wait = full_jitter(failures, random.Random(seed))
    assert 0 <= wait <= 300
    assert failures > 8 or wait <= 2**failures


def test_full_jitter_can_be_bounded_further() -> None:
    """`most` bounds the wait however many failures there were."""
    assert max(full_jitter(9, random.Random(seed), most=8.0) for seed in range(200)) <= 8.0
