"""Conditions that only the server can judge: search, gmail, gmail_label."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

from mailrules.core.conditions.base import Condition, ParseContext
from mailrules.core.conditions.reading import read_scalar
from mailrules.core.conditions.text import TextCondition
from mailrules.core.errors import Path, Report
from mailrules.core.message import GMAIL_LABELS, Fact, Message, gmail_fact, search_fact
from mailrules.core.text import Text

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*+"')
_LITERAL = re.compile(r"\{\d+\+?\}")


def why_not_search(expression: str) -> str | None:
    """What is wrong with a SEARCH expression, as far as can be told without a server; or None."""
    if not expression.strip():
        return "search is empty. Write a SEARCH expression, as in UNSEEN SINCE 1-Feb-2026."
    if any(character in expression for character in "\r\n\0"):
        return "search stands on one line: a line break would begin another command. Join the lines."
    bare = _QUOTED.sub("", expression)
    if '"' in bare:
        return 'search has a quote (") that does not close. Close it, or write \\" for a literal one.'
    if _LITERAL.search(bare):
        return "search can't hold a literal {…}. Put the text in quotes."
    depth = 0
    for character in bare:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            break
    if depth:
        return "the parentheses of search do not match."
    if (
        bare.split()[:1]
        and bare.split()[0].upper() in ("RETURN", "CHARSET", "UID", "SEARCH")
        and (bare.split()[0].upper() != "UID" or len(bare.split()) == 1)
    ):
        return "give the search keys alone, as in UNSEEN SINCE 1-Feb-2026."
    return None


class _Asked(Condition):
    """A question put to the server as it stands; its answer counts."""

    cost: ClassVar[Literal["header", "server", "body", "script"]] = "server"
    expression: str

    def fact(self) -> Fact:
        raise NotImplementedError

    @staticmethod
    def problem(expression: str) -> str | None:
        """Why it can't be asked, or None."""
        raise NotImplementedError

    def matches(self, message: Message) -> bool:
        return bool(message.get(self.fact()))

    def value(self, message: Message) -> Any:
        return message.get(self.fact())

    def facts(self) -> frozenset[Fact]:
        return frozenset([self.fact()])

    def argument(self) -> Any:
        return self.expression

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ParseContext) -> Self | None:
        expression = read_scalar(value, path, report, what=cls.key)
        if expression is None:
            return None
        problem = cls.problem(expression)
        if problem is not None:
            report.error(path, problem)
            return None
        return cls(expression=expression.strip())


class ServerSearch(_Asked):
    """The server's own SEARCH selects the message: its word counts, unconfirmed.

    ```yaml
    when:
      search: 'OR FROM "anna" FROM "bernd"'
    ```
    For what only the server knows. Servers differ (substrings or whole words, charsets): prefer the
    other conditions. Where the server refuses it, and in `explain FILE`, it can't be judged.
    """

    key: ClassVar[str] = "search"

    def fact(self) -> Fact:
        return search_fact(self.expression)

    @staticmethod
    def problem(expression: str) -> str | None:
        return why_not_search(expression)


class Gmail(_Asked):
    """A search in Gmail's own words (X-GM-RAW) selects the message.

    ```yaml
    when:
      gmail: "category:promotions older_than:7d"
    ```
    Only where the server has X-GM-EXT-1; elsewhere it can't be judged.
    """

    key: ClassVar[str] = "gmail"

    def fact(self) -> Fact:
        return gmail_fact(self.expression)

    @staticmethod
    def problem(expression: str) -> str | None:
        if expression.strip() and not any(character in expression for character in "\r\n\0"):
            return None
        return "gmail takes one line, as you would type it into Gmail's search box."


class GmailLabel(TextCondition):
    """The message has that Gmail label (X-GM-LABELS); of a list, any. Case does not matter.

    ```yaml
    when:
      gmail_label: [Travel, "\\\\Important"]
    ```
    A scalar means: is. Only where the server has X-GM-EXT-1; elsewhere it can't be judged.
    """

    key: ClassVar[str] = "gmail_label"
    default: ClassVar[str] = "is"
    cost: ClassVar[Literal["header", "server", "body", "script"]] = "server"

    def texts(self, message: Message) -> Sequence[Text]:
        return [Text(label) for label in sorted(message.get(GMAIL_LABELS))]

    def facts(self) -> frozenset[Fact]:
        return frozenset([GMAIL_LABELS])
