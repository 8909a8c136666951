"""mailrules.core.uidset: sets of UIDs as ranges."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrules.core.uidset import UidSet

uids = st.sets(st.integers(1, 200))


@given(uids, uids)
def test_is_a_set(one: set[int], other: set[int]) -> None:
    """Membership, order, length, union and equality are those of a set of numbers."""
    first, second = UidSet(one), UidSet(other)
    assert list(first) == sorted(one)
    assert len(first) == len(one) and bool(first) == bool(one)
    assert all((uid in first) == (uid in one) for uid in range(202))
    assert set(first | second) == one | other
    assert (first == second) == (one == other)
    assert first.highest == max(one, default=0)
    assert hash(first) == hash(UidSet(sorted(one, reverse=True)))


@given(uids)
def test_text_is_the_shortest_and_comes_back(numbers: set[int]) -> None:
    """The text is IMAP's, with ranges neither overlapping nor adjacent, and parses to the same set."""
    made = UidSet(numbers)
    assert UidSet.parse(str(made)) == made
    assert all(high + 1 < low for (_, high), (low, _) in pairwise(made.ranges()))
    assert str(UidSet([1, 2, 3, 5])) == "1:3,5"


@given(st.lists(st.tuples(st.integers(1, 100), st.integers(0, 20))))
def test_ranges_in_any_order_are_joined(pairs: list[tuple[int, int]]) -> None:
    """Overlapping and adjacent ranges become one."""
    ranges = [(low, low + more) for low, more in pairs]
    assert UidSet.of_ranges(ranges) == UidSet(uid for low, high in ranges for uid in range(low, high + 1))


@given(st.sets(st.integers(1, 10_000_000), max_size=200), st.integers(1, 50), st.integers(20, 100))
def test_chunks(numbers: set[int], count: int, width: int) -> None:
    """Chunks are within both limits, ascending, and together the set."""
    chunks = list(UidSet(numbers).chunks(count=count, width=width))
    assert [uid for chunk in chunks for uid in chunk] == sorted(numbers)
    assert all(0 < len(chunk) <= count and len(str(chunk)) <= width for chunk in chunks)


def test_a_huge_range_costs_nothing() -> None:
    """A billion UIDs in a row are one range, in one step."""
    huge = UidSet.of_ranges([(1, 10**9)])
    assert len(huge) == 10**9 and 10**9 in huge and 10**9 + 1 not in huge
    assert [str(c) for c in UidSet.of_ranges([(1, 10**9)]).chunks(count=5 * 10**8)] == [
        "1:500000000",
        "500000001:1000000000",
    ]


@pytest.mark.parametrize("text", ["*", "1:*", "x", "1;2", "1-2"])
def test_what_is_no_set_is_refused(text: str) -> None:
    """`*` and anything but numbers raise ValueError."""
    with pytest.raises(ValueError, match=r"int\(\)"):
        UidSet.parse(text)


def test_reversed_ranges_are_read() -> None:
    """`5:3` is `3:5` (RFC 9051 section 9)."""
    assert str(UidSet.parse("5:3,1")) == "1,3:5"


@given(st.sets(st.integers(1, 60)), st.sets(st.integers(1, 60)))
def test_parting_is_asking_each(those: set[int], uids: set[int]) -> None:
    """Ascending UIDs are parted into what is in the set and what is not, in their order."""
    known, asked = UidSet(those), sorted(uids)
    inside, outside = known.part(asked)
    assert inside == [uid for uid in asked if uid in known]
    assert outside == [uid for uid in asked if uid not in known]


def test_a_uid_of_too_many_digits_is_no_uid() -> None:
    """What no server may send raises ValueError, like anything else that is no set."""
    with pytest.raises(ValueError, match="64 bits"):
        UidSet.parse(f"1:{2**64}")
