"""What is held until the brake has seen everything."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from mailrules.adapters.imap.identity import Identity
from mailrules.core.actions.base import PlannedEffect
from mailrules.core.decision import Decision, RuleOutcome
from mailrules.planning.holding import MANY, Brake, Held
from mailrules.planning.planned import Planned


def planned(uid: int, mailbox: str = "There", state: str = "planned") -> Planned:
    effect = PlannedEffect(
        rule="file", revision="r", step=0, action="move", arguments={"mailbox": mailbox}, leaves=True,
        once=False, state=state,  # type: ignore[arg-type]
    )  # fmt: skip
    identity = Identity(
        f"guid:{uid}", f"<{uid}@example.com>", f"Größe {uid}", "a@example.com",
        datetime(2026, 1, 1, 12, uid % 60, tzinfo=UTC), uid * 3, frozenset({"\\Seen"}),
    )  # fmt: skip
    return Planned("a", "INBOX", 7, uid, identity, Decision((RuleOutcome("file", True),), (effect,)))


@pytest.mark.parametrize("packed_at", [(), (1,), (MANY,), (MANY - 1, MANY + 1, 3 * MANY)])
def test_all_are_taken_as_they_were_in_their_order(packed_at: tuple[int, ...]) -> None:
    """Whenever they are packed, what is taken is what was added, also where one rule does various things."""
    many = [planned(uid, f"Box {uid % 3}") for uid in range(1, 2 * MANY + 12)]
    many[5] = replace(many[5], before=many[6].decision.effects)
    held = Held()
    for place, one in enumerate(many):
        if place in packed_at:
            held.pack()
        held.add(one)
    held.pack()
    assert list(held.take()) == many
    assert list(held.take()) == []


def test_a_brake_may_trip_until_too_few_are_left() -> None:
    """Of 200 messages 101 have to leave; what is held or simulated does not leave."""
    brake = Brake(200)
    for uid in range(1, 101):
        brake.count(planned(uid))
    brake.count(planned(101, state="held"))
    assert (brake.may_trip(to_come=1), brake.may_trip(to_come=0)) == (True, False)
    assert not Brake(200, off=True, leaving=200).may_trip(to_come=0)
    assert not Brake(100, leaving=100).may_trip(to_come=0), "few messages are no matter"
