"""Sharing mail out among people: assign. Who is next is chosen by the journal: `store/assigning.py`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from mailrules.core.actions.base import Action, ActionContext, RenderContext
from mailrules.core.actions.flags import flag_of
from mailrules.core.actions.reading import check_keys
from mailrules.core.assigned import assigned, place_of
from mailrules.core.errors import Path, RenderError, Report, did_you_mean
from mailrules.core.mailbox_name import name_problem
from mailrules.core.message import Fact, Message
from mailrules.core.template import Template
from mailrules.core.values import describe

MOST_PEOPLE = 100
_BY = ("round_robin", "least_loaded")
_WITH = ("keyword", "mailbox")
_KEYS = ("to", "by", "with")
_NAME = re.compile(r"\$?[A-Za-z0-9][A-Za-z0-9._\-]{0,59}", re.ASCII)
_TEXT: Mapping[str, Any] = {"type": "string"}
_PEOPLE: Mapping[str, Any] = {
    "anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": MOST_PEOPLE}]
}


class Assign(Action):
    """Share mail out in a team: each message to one of these people. `by: round_robin` (default) takes them
    in turn, `least_loaded` whoever has the fewest: messages in this mailbox that carry their keyword, or
    in their mailbox, as the server tells. Who was chosen keeps the message when it is judged again.

    `with: keyword` (default) sets `$Assigned_alice`, and the message stays: mail programs show, search and
    sort by it, and taking it off ends the assignment. `with: mailbox` moves it to `Assigned/alice`. A name
    that is a keyword (`$Alice`) or has a `/` (`Team/Alice`) is used as it is written.

    Turns are counted per rule over all its mailboxes and over restarts; `plan` and `explain` show who
    would be next without using it up. Later rules don't see the choice. ::

        - assign: {to: [alice, bob], by: round_robin, with: keyword}
        - assign: {to: [Team/Alice, Team/Bob], by: least_loaded, with: mailbox}
    """

    key: ClassVar[str] = "assign"
    to: tuple[Template, ...]
    by: Literal["round_robin", "least_loaded"] = "round_robin"
    how: Literal["keyword", "mailbox"] = "keyword"
    value_schema: ClassVar[Mapping[str, Any]] = {
        "anyOf": [
            *_PEOPLE["anyOf"],
            {
                "type": "object",
                "properties": {"to": _PEOPLE, "by": {"enum": list(_BY)}, "with": {"enum": list(_WITH)}},
                "required": ["to"],
                "additionalProperties": False,
            },
        ]
    }

    @property
    def leaves(self) -> bool:  # type: ignore[override]
        """Only into a mailbox."""
        return self.how == "mailbox"

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ActionContext) -> Self | None:
        before = len(report.problems)
        form = value if isinstance(value, dict) else {"to": value}
        check_keys(form, _KEYS, key=cls.key, path=path, report=report)
        words = {"by": "round_robin", "with": "keyword"}
        for name, known in (("by", _BY), ("with", _WITH)):
            if name in form and form[name] not in known:
                hint = did_you_mean(str(form[name]), known)
                expected = " or ".join(known)
                report.error((*path, name), f"expected {expected}, found {describe(form[name])}.{hint}")
            elif name in form:
                words[name] = str(form[name])
        where = (*path, "to") if isinstance(value, dict) and "to" in form else path
        to = _people(form.get("to"), how=words["with"], path=where, report=report, context=context)
        if len(report.problems) > before:
            return None
        return cls(to=to, by=words["by"], how=words["with"])

    def places(self, how: str) -> list[str]:
        """The keywords or mailboxes of those who are written out, if it assigns by those."""
        return [place_of(person.source, how) for person in self.to if person.literal and how == self.how]

    def facts(self) -> frozenset[Fact]:
        return frozenset().union(*(person.facts() for person in self.to))

    def render(self, message: Message, context: RenderContext) -> tuple[str, dict[str, Any], str]:
        people = list(dict.fromkeys(person.render(message, context).strip() for person in self.to))
        for person in people:
            problem = person_problem(person, self.how)
            if problem:
                raise RenderError(f"'assign': {problem}")
        arguments: dict[str, Any] = {"to": people, "by": self.by, "with": self.how}
        if len(people) > 1:
            return self.key, arguments, ""
        return self.key, assigned(arguments, people[0]), place_of(people[0], self.how)

    def changes(self) -> frozenset[str]:
        if self.how == "mailbox":
            return frozenset()
        return frozenset(
            place_of(person.source, "keyword").lower() if person.literal else "*" for person in self.to
        )

    def conflicts_with(self, other: Action) -> str | None:
        return (
            "one rule assigns a message once: 'assign' stands twice." if isinstance(other, Assign) else None
        )


def person_problem(person: str, how: str) -> str | None:
    """Why mail can't be assigned to this, in a sentence; None if it can."""
    if how == "mailbox":
        problem = name_problem(person)
        return f"the name '{person[:80]}' {problem}." if problem else None
    if not _NAME.fullmatch(person):
        return (
            f"'{person[:80]}' can't be part of a keyword: ASCII letters, digits, '.', '_' and '-'."
            " Or write 'with: mailbox'."
        )
    try:
        flag_of(place_of(person, how))
    except ValueError as error:
        return str(error)
    return None


def _people(
    value: Any, *, how: str, path: Path, report: Report, context: ActionContext
) -> tuple[Template, ...]:
    values = value if isinstance(value, list) else [value]
    if value is None or not values:
        report.error(path, "'assign' needs people: 'assign: {to: [alice, bob]}'.")
        return ()
    if len(values) > MOST_PEOPLE:
        report.error(path, f"'assign' has more than {MOST_PEOPLE} people.")
        return ()
    found: dict[str, Template] = {}
    for index, item in enumerate(values):
        where = (*path, index) if isinstance(value, list) else path
        person = Template.parse(item, path=where, report=report, context=context)
        if person is None:
            continue
        problem = person_problem(person.source, how) if person.literal else None
        if person.tainted:
            problem = "mail may not choose who it is assigned to: write the names out."
        elif person.source.casefold() in found:
            problem = f"'{person}' stands twice."
        if problem:
            report.error(where, problem)
        else:
            found[person.source.casefold()] = person
    return tuple(found.values())
