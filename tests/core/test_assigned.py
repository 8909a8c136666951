"""core/assigned.py: the keyword or mailbox of a person."""

from __future__ import annotations

import pytest

from mailrules.core.assigned import assigned, place_of, undecided


@pytest.mark.parametrize(
    ("person", "how", "place"),
    [
        ("alice", "keyword", "$Assigned_alice"),
        ("$Alice", "keyword", "$Alice"),
        ("alice", "mailbox", "Assigned/alice"),
        ("Team/Alice", "mailbox", "Team/Alice"),
    ],
)
def test_places(person: str, how: str, place: str) -> None:
    """A name becomes a keyword or mailbox of ours; what is one already is used as it is written."""
    assert place_of(person, how) == place


def test_arguments() -> None:
    """Once somebody is chosen, `to` is that person, and what is done to the message is said."""
    before = {"to": ["a", "b"], "by": "round_robin", "with": "keyword"}
    after = assigned(before, "b")
    assert undecided(before) and not undecided(after)
    assert after == {"to": "b", "by": "round_robin", "with": "keyword", "flags": ["$Assigned_b"]}
    assert assigned({**before, "with": "mailbox"}, "b")["mailbox"] == "Assigned/b"
