"""The brake on what takes much mail out of a mailbox at once."""

from __future__ import annotations

import pytest

from mailrules.core.brakes import takes_most


@pytest.mark.parametrize(
    ("leaving", "there", "stops"),
    [
        (100, 100, False),
        (51, 101, True),
        (50, 101, False),
        (500, 1000, False),
        (501, 1000, True),
        (0, 0, False),
    ],
)
def test_more_than_half_of_a_large_mailbox(leaving: int, there: int, stops: bool) -> None:
    """More than half of more than a hundred messages; half may leave, and small mailboxes may empty."""
    assert takes_most(leaving=leaving, there=there) is stops
