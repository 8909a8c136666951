"""mailrules.planning.forecast: what the brakes would stop of a plan."""

from __future__ import annotations

from typing import Any

from mailrules.adapters.imap.identity import Identity
from mailrules.core.actions.base import PlannedEffect
from mailrules.core.decision import Decision
from mailrules.core.rule import Limits
from mailrules.planning.forecast import Forecast
from mailrules.planning.planned import Planned


def planned(uid: int, action: str = "flag", *, state: Any = "planned", rule: str = "r") -> Planned:
    effect = PlannedEffect(
        rule, "rev", 0, action, {}, leaves=action == "move", once=False, state=state
    )  # fmt: skip
    return Planned("work", "INBOX", 7, uid, Identity(f"id-{uid}"), Decision((), (effect, effect)))


def of(count: int, action: str = "flag", *, state: Any = "planned", **more: Any) -> list[str]:
    forecast = Forecast(**({"limits": {}} | more))
    for uid in range(count):
        forecast.count(planned(uid, action, state=state))
    return forecast.lines()


def test_the_nearest_limit_speaks() -> None:
    """Messages are counted, not effects; of two limits the one that stops first is named."""
    limits = {"r": Limits(per_run=8, per_hour=10)}
    assert of(8, limits=limits) == []
    assert of(9, limits=limits) == [
        "rule 'r': 8 of 9 messages, then its limit pauses it (per_run: 8); 1 would be held."
    ]
    assert of(9, limits=limits, in_hour=lambda rule: 7) == [
        "rule 'r': 3 of 9 messages, then its limit pauses it "
        "(per_hour: 10, 7 of them within the last hour); 6 would be held."
    ]


def test_what_is_held_or_said_uses_up_nothing() -> None:
    """A paused rule and a dry run don't count."""
    for state in ("held", "would", "failed"):
        assert of(9, state=state, limits={"r": Limits(per_run=1)}) == []
        assert of(600, "forward", state=state) == []


def test_sending_has_its_pace_and_its_day() -> None:
    """Twenty a minute, so it takes time; five hundred a day, what was sent already included."""
    assert of(10, "redirect") == []
    assert of(100, "forward")[0].startswith("work: sending 200 messages takes about 10 minutes")
    (held, pace) = of(300, "reply", in_day=lambda account: 450)
    assert held.startswith("work: 50 of 600 messages would be sent, 550 held: 500 a day") and "450" in held
    assert "about 3 minutes" in pace


def test_more_than_half_of_a_large_mailbox() -> None:
    """Where `apply` would stop, `plan` says so."""
    forecast = Forecast({})
    forecast.left("work", "Small", leaving=100, there=100)
    forecast.left("work", "Half", leaving=100, there=200)
    forecast.left("work", "Most", leaving=101, there=200)
    (line,) = forecast.lines()
    assert line.startswith("work/Most: 101 of 200") and "--over-brakes" in line
