"""What a condition is: one pydantic model that parses, judges, searches, explains and documents itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from mailrules.core.clue import Clues
from mailrules.core.errors import Path, Report
from mailrules.core.message import Fact, Message, MissingFact, Unavailable, UnknownFact
from mailrules.core.search import Everything, Search

Truth = bool | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What judging gave. `truth` None means unknown, unless `needs` names facts to fetch first.

    `groups`: named regex groups of the conditions that hold, first in file order.
    `causes`: why it is unknown.
    """

    truth: Truth
    needs: frozenset[Fact] = frozenset()
    causes: tuple[Unavailable, ...] = ()
    groups: Mapping[str, str] = field(default_factory=dict)


TRUE = Verdict(True)
FALSE = Verdict(False)


@dataclass(frozen=True, slots=True)
class Trace:
    """One condition of `explain`: CONDITION in SPEC section 8."""

    condition: str
    argument: Any
    matched: Truth
    value: Any = None
    children: tuple[Trace, ...] = ()
    because: str = ""  # why it is unknown, for people

    def as_json(self) -> dict[str, Any]:
        return {
            "condition": self.condition,
            "argument": self.argument,
            "matched": self.matched,
            "value": self.value,
            "children": [c.as_json() for c in self.children],
        }


@dataclass(frozen=True, slots=True)
class ParseContext:
    """What a condition may need of the rest of the file while it is parsed."""

    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    timezone: tzinfo | None = None  # None: the system's
    rule: str = ""  # the rule that it stands in
    base_dir: str = "."  # directory of the file, for relative paths of scripts


class Condition(BaseModel):
    """Base of all conditions. A subclass sets `key`, one field of that name (or alias), and `matches`.

    The docstring of a subclass is its manual page; the model is its JSON Schema.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, defer_build=True)

    key: ClassVar[str]
    """The word in the file."""
    cost: ClassVar[Literal["header", "server", "body", "script"]] = "header"
    """What its facts cost; `all` and `any` judge the cheap ones first."""
    lasting: ClassVar[bool] = False
    """What it says of a message it says for ever: it reads only what is fixed under a UID, and not the time.
    For one with conditions in it: as long as they do."""

    # -- to be overridden ---------------------------------------------------------------------
    def matches(self, message: Message) -> bool:
        """Whether it holds. Reads facts through `message.get`; never raises for broken mail."""
        raise NotImplementedError

    def value(self, message: Message) -> Any:
        """What was compared, as plain JSON data, for `explain`; long text is cut by the caller."""
        return None

    def facts(self) -> frozenset[Fact]:
        """Every fact it may read, so that one FETCH can ask for the union."""
        return frozenset()

    def search(self) -> Search:
        """Selects at least every message that `matches` accepts. Default: everything."""
        return Everything(exact=False)

    def clues(self) -> Clues | None:
        """One of these is there whenever it holds; None: that can't be said."""
        return None

    def groups(self, message: Message) -> Mapping[str, str]:
        """Named regex groups, asked only after `matches` was true."""
        return {}

    def group_names(self) -> Mapping[str, bool]:
        """Named groups it can give: name -> whether it may be missing although the condition holds."""
        return {}

    def argument(self) -> Any:
        """What was written in the file, as plain data."""
        return None

    # -- the same for all ---------------------------------------------------------------------
    def judge(self, message: Message) -> Verdict:
        """Three-valued judgement, or the facts that are missing."""
        try:
            if not self.matches(message):
                return FALSE
            groups = self.groups(message)
            return Verdict(True, groups=groups) if groups else TRUE
        except MissingFact as missing:
            # All that it may read and nobody asked yet: one round trip instead of one for each.
            others = (fact for fact in self.facts() if not message.has(fact))
            return Verdict(None, needs=frozenset([missing.fact, *others]))
        except UnknownFact as unknown:
            return Verdict(None, causes=(unknown.unavailable,))

    def trace(self, message: Message) -> Trace:
        """The same, for `explain`."""
        verdict = self.judge(message)
        value = None
        if not verdict.needs and not verdict.causes:
            try:
                value = self.value(message)
            except (MissingFact, UnknownFact):
                value = None
        because = "; ".join(c.reason for c in verdict.causes)
        return Trace(self.key, self.argument(), verdict.truth, value, (), because)

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ParseContext) -> Condition | None:
        """Build one from the data under its key; problems go to the report, and then None comes back.

        `path` is the path of the value (it ends with `cls.key`).
        """
        raise NotImplementedError
