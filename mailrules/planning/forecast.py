"""What the brakes would stop of a plan (SPEC section 7), counted while it is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mailrules.adapters.store import A_DAY, A_MINUTE, SENDS
from mailrules.core.brakes import takes_most
from mailrules.core.rule import Limits
from mailrules.planning.planned import Planned


def _none(name: str) -> int:
    return 0


@dataclass(slots=True)
class Forecast:
    """Counts what rules act on, what is sent, and what leaves.

    `in_hour`: on how many messages a rule has acted within the last hour; `in_day`: what an account has
    sent within a day. Both count against what may be done now.
    """

    limits: Mapping[str, Limits]
    in_hour: Callable[[str], int] = _none
    in_day: Callable[[str], int] = _none
    acting: Counter[str] = field(default_factory=Counter)
    sends: Counter[str] = field(default_factory=Counter)
    _halved: list[str] = field(default_factory=list)

    def count(self, planned: Planned) -> None:
        """One message more. What is held already, or a dry run, uses up nothing."""
        effects = [effect for effect in planned.decision.effects if effect.state == "planned"]
        self.acting.update({effect.rule for effect in effects})
        self.sends[planned.account] += sum(effect.action in SENDS for effect in effects)

    def left(self, account: str, mailbox: str, *, leaving: int, there: int) -> None:
        """A mailbox is through."""
        if takes_most(leaving=leaving, there=there):
            self._halved.append(
                f"{account}/{mailbox}: {leaving} of {there} messages would leave the mailbox, more than "
                "half: `apply` does nothing there without --over-brakes."
            )

    def lines(self) -> list[str]:
        """In words, one line for each brake."""
        return [*self._halved, *self._rules(), *self._sending()]

    def _rules(self) -> list[str]:
        found = []
        for rule, limits in self.limits.items():
            wanted = self.acting[rule]
            in_hour = self.in_hour(rule) if limits.per_hour is not None and wanted else 0
            room = {}
            if limits.per_run is not None:
                room["per_run"] = limits.per_run
            if limits.per_hour is not None:
                room["per_hour"] = max(limits.per_hour - in_hour, 0)
            if not room or wanted <= min(room.values()):
                continue
            which = min(room, key=lambda name: room[name])
            before = f", {in_hour} of them within the last hour" if which == "per_hour" and in_hour else ""
            found.append(
                f"rule '{rule}': {room[which]} of {wanted} messages, then its limit pauses it "
                f"({which}: {getattr(limits, which)}{before}); {wanted - room[which]} would be held."
            )
        return found

    def _sending(self) -> list[str]:
        found = []
        for account, wanted in self.sends.items():
            if not wanted:
                continue
            today = self.in_day(account)
            room = max(A_DAY - today, 0)
            if wanted > room:
                before = f", {today} of them sent already" if today else ""
                found.append(
                    f"{account}: {room} of {wanted} messages would be sent, {wanted - room} held: "
                    f"{A_DAY} a day go by themselves{before}."
                )
            if (going := min(wanted, room)) > A_MINUTE:
                found.append(
                    f"{account}: sending {going} messages takes about {-(-going // A_MINUTE)} minutes: "
                    f"{A_MINUTE} a minute go."
                )
        return found
