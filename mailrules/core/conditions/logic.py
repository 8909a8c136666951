"""How conditions are joined: all, any, not, always. Three-valued (SPEC section 3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, ClassVar, Literal

from mailrules.core.clue import Clues, any_clue, best_clues
from mailrules.core.conditions.base import FALSE, TRUE, Condition, ParseContext, Trace, Verdict
from mailrules.core.errors import Path, Report
from mailrules.core.message import Fact, Message, Unavailable
from mailrules.core.search import Everything, Search, all_of, any_of, negation
from mailrules.core.values import describe

COSTS = ("header", "server", "body", "script")
_TIERS = {
    "flags": 0, "internaldate": 0, "size": 0, "header": 0, "gmail_labels": 0, "history": 0,
    "sightings": 0, "structure": 1, "search": 1, "gmail": 1, "written_to": 1, "answer": 1, "body": 2,
    "script": 3,
}  # fmt: skip


def cheapest(needs: Iterable[Fact]) -> frozenset[Fact]:
    """The facts to ask for first: once they are known, the dearer ones may not be needed.

    So a body is fetched, and a script is started, only where the headers leave it open.
    """
    tiers: dict[int, list[Fact]] = {}
    for fact in needs:
        tiers.setdefault(_TIERS.get(fact.kind, 1), []).append(fact)
    return frozenset(tiers[min(tiers)]) if tiers else frozenset()


def _in_file_order(groups: Mapping[int, Mapping[str, str]]) -> dict[str, str]:
    """Named groups by the places of their conditions: of two with one name the first in the file counts."""
    joined: dict[str, str] = {}
    for place in sorted(groups, reverse=True):
        joined.update(groups[place])
    return joined


class _Joined(Condition):
    """What `all` and `any` share."""

    lasting: ClassVar[bool] = True
    conditions: tuple[Condition, ...]

    @cached_property
    def cost(self) -> Literal["header", "server", "body", "script"]:  # type: ignore[override]
        return max((condition.cost for condition in self.conditions), key=COSTS.index, default="header")

    @cached_property
    def by_cost(self) -> tuple[tuple[int, Condition], ...]:
        """The conditions with their places, the cheap ones first."""
        return tuple(sorted(enumerate(self.conditions), key=lambda one: COSTS.index(one[1].cost)))

    def facts(self) -> frozenset[Fact]:
        return frozenset().union(*(condition.facts() for condition in self.conditions))

    def argument(self) -> Any:
        return [{condition.key: condition.argument()} for condition in self.conditions]

    def children(self, message: Message) -> tuple[Trace, ...]:
        return tuple(condition.trace(message) for condition in self.conditions)

    def trace(self, message: Message) -> Trace:
        verdict = self.judge(message)
        because = "; ".join(dict.fromkeys(cause.reason for cause in verdict.causes))
        return Trace(self.key, self.argument(), verdict.truth, None, self.children(message), because)


class All(_Joined):
    """Every condition of the list holds. A mapping of conditions means the same.

    ```yaml
    when:
      all:
        - from: "@shop.example"
        - subject: [invoice, receipt]
    ```
    False if one is false, even if another can't be judged.
    """

    key: ClassVar[str] = "all"
    implicit: bool = False
    """It was written as a mapping: `explain` shows its conditions directly under an `all` above it."""

    def judge(self, message: Message) -> Verdict:
        needs: list[Fact] = []
        causes: list[Unavailable] = []
        groups: dict[int, Mapping[str, str]] = {}
        for place, condition in self.by_cost:
            verdict = condition.judge(message)
            if verdict.truth is False:
                return FALSE
            if verdict.needs:
                needs += verdict.needs
            elif verdict.truth is None:
                causes += verdict.causes
            elif verdict.groups:
                groups[place] = verdict.groups
        if needs:
            return Verdict(None, needs=cheapest(needs))
        if causes:
            return Verdict(None, causes=tuple(causes))
        if not groups:
            return TRUE
        return Verdict(True, groups=_in_file_order(groups))

    def search(self) -> Search:
        return all_of([condition.search() for condition in self.conditions])

    def clues(self) -> Clues | None:
        return best_clues(condition.clues() for condition in self.conditions)

    def group_names(self) -> Mapping[str, bool]:
        names: dict[str, bool] = {}
        for condition in self.conditions:
            for name, optional in condition.group_names().items():
                names[name] = names.get(name, True) and optional
        return names

    def children(self, message: Message) -> tuple[Trace, ...]:
        found: list[Trace] = []
        for condition in self.conditions:
            trace = condition.trace(message)
            found += trace.children if isinstance(condition, All) and condition.implicit else (trace,)
        return tuple(found)

    def argument(self) -> Any:
        if not self.implicit:
            return super().argument()
        return {condition.key: condition.argument() for condition in self.conditions}

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ParseContext) -> Condition | None:
        conditions = _parse_list(cls.key, value, path=path, report=report, context=context)
        return None if conditions is None else cls(conditions=conditions)


class AnyOf(_Joined):
    """One condition of the list holds, or several.

    ```yaml
    when:
      any:
        - from: boss@example.com
        - {subject: urgent, to: team@example.com}
    ```
    True if one is true, even if another can't be judged. A list directly under `when` means the same.
    """

    key: ClassVar[str] = "any"

    @cached_property
    def naming(self) -> frozenset[int]:
        """Places of the conditions that can give named groups."""
        return frozenset(i for i, condition in enumerate(self.conditions) if condition.group_names())

    def judge(self, message: Message) -> Verdict:
        needs: list[Fact] = []
        wanted: list[Fact] = []  # needed for named groups alone
        causes: list[Unavailable] = []
        groups: dict[int, Mapping[str, str]] = {}
        holds = False
        naming = self.naming
        for place, condition in self.by_cost:
            if holds and place not in naming:
                continue
            verdict = condition.judge(message)
            if verdict.truth:
                if not naming:
                    return TRUE
                holds = True
                groups[place] = verdict.groups
            elif verdict.needs:
                needs += verdict.needs
                if place in naming:
                    wanted += verdict.needs
            elif verdict.truth is None:
                causes += verdict.causes
        if holds and not wanted:
            return Verdict(True, groups=_in_file_order(groups))
        if holds or needs:
            return Verdict(None, needs=cheapest(wanted if holds else needs))
        return Verdict(None, causes=tuple(causes)) if causes else FALSE

    def search(self) -> Search:
        return any_of([condition.search() for condition in self.conditions])

    def clues(self) -> Clues | None:
        return any_clue(condition.clues() for condition in self.conditions)

    def group_names(self) -> Mapping[str, bool]:
        each = [condition.group_names() for condition in self.conditions]
        names = {name for names in each for name in names}
        return {name: any(names.get(name, True) for names in each) for name in sorted(names)}

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ParseContext) -> Condition | None:
        conditions = _parse_list(cls.key, value, path=path, report=report, context=context)
        return None if conditions is None else cls(conditions=conditions)


class Not(Condition):
    """The conditions under it do not all hold.

    ```yaml
    when:
      subject: invoice
      not: {from: "@example.com"}
    ```
    A list under `not` is an `any`: none of them may hold. What can't be judged stays unknown.
    """

    lasting: ClassVar[bool] = True
    key: ClassVar[str] = "not"
    condition: Condition

    @property
    def cost(self) -> Literal["header", "server", "body", "script"]:  # type: ignore[override]
        return self.condition.cost

    def judge(self, message: Message) -> Verdict:
        verdict = self.condition.judge(message)
        if verdict.truth is None:
            return verdict
        return FALSE if verdict.truth else TRUE

    def facts(self) -> frozenset[Fact]:
        return self.condition.facts()

    def search(self) -> Search:
        return negation(self.condition.search())

    def argument(self) -> Any:
        if isinstance(self.condition, All) and self.condition.implicit:
            return self.condition.argument()
        return {self.condition.key: self.condition.argument()}

    def trace(self, message: Message) -> Trace:
        child = self.condition.trace(message)
        implicit = isinstance(self.condition, All) and self.condition.implicit
        matched = None if child.matched is None else not child.matched
        children = child.children if implicit else (child,)
        return Trace(self.key, self.argument(), matched, None, children, child.because)

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ParseContext) -> Condition | None:
        condition = parse_conditions(value, path=path, report=report, context=context)
        return None if condition is None else cls(condition=condition)


class Always(Condition):
    """Matches every message.

    ```yaml
    when: always
    ```
    """

    lasting: ClassVar[bool] = True
    key: ClassVar[str] = "always"

    def judge(self, message: Message) -> Verdict:
        return TRUE

    def matches(self, message: Message) -> bool:
        return True

    def search(self) -> Search:
        return Everything()

    def argument(self) -> Any:
        return True

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ParseContext) -> Condition | None:
        report.error(path, "'always' stands alone: write `when: always`.", at="key")
        return None


def every(condition: Condition) -> Iterator[Condition]:
    """A condition and all that it is made of."""
    yield condition
    below = condition.conditions if isinstance(condition, _Joined) else ()
    for one in (condition.condition,) if isinstance(condition, Not) else below:
        yield from every(one)


def _parse_list(
    key: str, value: Any, *, path: Path, report: Report, context: ParseContext
) -> tuple[Condition, ...] | None:
    if not isinstance(value, list) or not value:
        what = "an empty list" if value == [] else describe(value)
        meant = " A mapping already means that all its keys must hold." if isinstance(value, dict) else ""
        report.error(path, f"'{key}' takes a list of conditions ('- subject: …' lines), not {what}.{meant}")
        return None
    parsed = [
        parse_conditions(item, path=(*path, place), report=report, context=context)
        for place, item in enumerate(value)
    ]
    good = tuple(condition for condition in parsed if condition is not None)
    return good if len(good) == len(parsed) else None


def parse_conditions(value: Any, *, path: Path, report: Report, context: ParseContext) -> Condition | None:
    """What may stand under `all`, `any` and `not`: the same as under `when`."""
    from mailrules.core.conditions import parse_when  # the table there holds the classes here

    return parse_when(value, path=path, report=report, context=context)
