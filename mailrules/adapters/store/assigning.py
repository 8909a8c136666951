"""Whose turn it is: chosen in the transaction that plans it, so that two mailboxes never take one turn twice.

The turns are the journal's own effects: nothing else is kept. A message that a rule has assigned before
stays with that person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Connection, func, select

from mailrules.adapters.store.schema import ASSIGN, clean, effect
from mailrules.core.assigned import assigned, place_of, undecided

if TYPE_CHECKING:  # templates and regexes are heavy, and reading the log needs none
    from mailrules.core.actions.base import PlannedEffect

_NOT_ASSIGNED = ("failed", "gone", "skipped", "would")
_COMING = ("planned", "held", "later", "intent", "copied", "commit")
_LATEST = 2**62
"""Beyond all ids: a turn taken in this transaction, or in what is only shown."""


@dataclass(frozen=True, slots=True)
class Loads:
    """How much everybody has on the server, by keyword or mailbox, and when it was asked."""

    at: datetime
    of: Mapping[str, int]


@dataclass(slots=True)
class Assignments:
    """The turns that are taken now: within one transaction, or in a plan that is only shown."""

    account: str
    _turns: dict[tuple[str, str], int] = field(default_factory=dict)
    _given: dict[str, int] = field(default_factory=dict)
    _kept: dict[tuple[str, str], str] = field(default_factory=dict)

    def choose(
        self,
        connection: Connection | None,
        identity: str,
        planned: PlannedEffect,
        loads: Loads | None = None,
    ) -> PlannedEffect:
        """The effect with the person it goes to; what is no `assign`, or decided, as it is. `connection`
        None: there is no journal yet.
        """
        if planned.action != "assign" or planned.state not in ("planned", "held", "would"):
            return planned
        how = str(planned.arguments["with"])
        if not undecided(planned.arguments):
            self._take(planned.rule, identity, place_of(planned.arguments["to"], how))
            return replace(planned, target=place_of(planned.arguments["to"], how))
        people = {place_of(person, how): person for person in planned.arguments["to"]}
        place = self._before(connection, planned.rule, identity, list(people))
        if place is None:
            load = self._load(connection, list(people), loads, by=str(planned.arguments["by"]))
            turns = {p: self._turn(connection, planned.rule, p) for p in people}
            place = min(people, key=lambda p: (load.get(p, 0), turns[p]))  # the first of those that are alike
            self._take(planned.rule, identity, place)
        return replace(planned, arguments=assigned(planned.arguments, people[place]), target=place)

    def _take(self, rule: str, identity: str, place: str) -> None:
        self._turns[rule, place] = _LATEST + len(self._kept)
        self._given[place] = self._given.get(place, 0) + 1
        self._kept[rule, identity] = place

    def _before(
        self, connection: Connection | None, rule: str, identity: str, places: Sequence[str]
    ) -> str | None:
        """Who has this message already, by this rule."""
        if (rule, identity) in self._kept:
            return self._kept[rule, identity]
        if connection is None:
            return None
        found = connection.scalar(
            select(effect.c.target)
            .where(
                effect.c.account == self.account,
                effect.c.identity == clean(identity),
                effect.c.action == "assign",
                effect.c.rule == rule,
                effect.c.state.not_in(_NOT_ASSIGNED),
                effect.c.undone.is_(None),
                effect.c.undoes.is_(None),
            )
            .order_by(effect.c.id.desc())
            .limit(1)
        )
        return found if found in places else None

    def _turn(self, connection: Connection | None, rule: str, place: str) -> int:
        """When it was their turn last; 0 if never."""
        taken = self._turns.get((rule, place))
        if taken is not None or connection is None:
            return taken or 0
        found = connection.scalar(
            select(effect.c.id)
            .where(ASSIGN, effect.c.rule == rule, effect.c.target == clean(place), effect.c.state != "would")
            .order_by(effect.c.id.desc())
            .limit(1)
        )
        return int(found or 0)

    def _load(
        self, connection: Connection | None, places: Sequence[str], loads: Loads | None, *, by: str
    ) -> dict[str, int]:
        """What each has: on the server, and what is on its way there. Without a server all that was ever
        assigned and not taken back.
        """
        if by != "least_loaded":
            return {}
        load = {
            place: self._given.get(place, 0) + (loads.of.get(place, 0) if loads else 0) for place in places
        }
        if connection is None:
            return load
        if loads is None:
            counted: ColumnElement[bool] = effect.c.state.not_in(_NOT_ASSIGNED)
        else:  # what came to the server after it was asked
            just_done = (effect.c.state == "done") & (effect.c.ended_at >= loads.at)
            counted = effect.c.state.in_(_COMING) | just_done
        for row in connection.execute(
            select(effect.c.target, func.count())
            .where(
                ASSIGN,
                effect.c.account == self.account,
                effect.c.target.in_([clean(place) for place in places]),
                effect.c.undone.is_(None),
                counted,
            )
            .group_by(effect.c.target)
        ):
            load[row[0]] = load.get(row[0], 0) + row[1]
        return load
