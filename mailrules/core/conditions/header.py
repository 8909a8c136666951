"""Conditions on any header: header, list_id, exists."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from mailrules.core.clue import Clue, Clues, best_clues
from mailrules.core.conditions.base import Condition, ParseContext
from mailrules.core.conditions.clues import clues_of_test
from mailrules.core.conditions.reading import as_written, read_scalars, read_text_test
from mailrules.core.conditions.search_words import header_key, header_present, words_of_test
from mailrules.core.conditions.text import TextCondition
from mailrules.core.conditions.views import header_texts, list_ids, shown
from mailrules.core.errors import Path, Report
from mailrules.core.message import Fact, Message, header_fact
from mailrules.core.search import Search, all_of, any_of
from mailrules.core.text import Text, TextTest
from mailrules.core.values import describe

_NAME = re.compile(r"[!-9;-~]{1,200}")  # RFC 5322 section 3.6.8, ftext


def read_name(name: object, path: Path, report: Report) -> str | None:
    """A header's name, lower case."""
    if isinstance(name, str) and _NAME.fullmatch(name):
        return str(name).lower()
    hint = " Leave out the colon." if isinstance(name, str) and name.endswith(":") else ""
    report.error(path, f"{describe(name)} is not the name of a header.{hint}", at="key")
    return None


class Header(Condition):
    """One occurrence of each named header fits. A scalar means: contains.

    ```yaml
    when:
      header:
        X-Spam-Flag: {is: "yes"}
        Received: mx.example.org             # any of the Received lines
    ```
    Values are decoded and unfolded. Operators: those of text; all of one mapping hold of the same
    occurrence.
    """

    lasting: ClassVar[bool] = True
    key: ClassVar[str] = "header"
    tests: tuple[tuple[str, TextTest], ...]
    """(lower-case name, test)"""
    written: Any = None

    def matches(self, message: Message) -> bool:
        for name, test in self.tests:  # noqa: SIM110 — the generator of all() costs more than the test
            if not test.any_holds(header_texts(message, name)):
                return False
        return True

    def value(self, message: Message) -> Any:
        return {name: shown(header_texts(message, name.lower())) for name in self.written or ()}

    def groups(self, message: Message) -> Mapping[str, str]:
        found: dict[str, str] = {}
        for name, test in reversed(self.tests):
            if test.regex is not None:
                found.update(test.groups(header_texts(message, name)))
        return found

    def clues(self) -> Clues | None:
        return best_clues(clues_of_test(test, ("texts", name)) for name, test in self.tests)

    def group_names(self) -> Mapping[str, bool]:
        names: dict[str, bool] = {}
        for _, test in self.tests:
            for name, optional in test.group_names().items():
                names[name] = names.get(name, True) and optional
        return names

    def facts(self) -> frozenset[Fact]:
        return frozenset(header_fact(name) for name, _ in self.tests)

    def search(self) -> Search:
        return all_of(
            [
                words_of_test(t, header_key(name, whole=True), present=header_present(name))
                for name, t in self.tests
            ]
        )

    def argument(self) -> Any:
        return self.written

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ParseContext) -> Self | None:
        if not isinstance(value, dict) or not value:
            report.error(
                path, f"header takes names and values, as in header: {{X-Spam: yes}}, not {describe(value)}."
            )
            return None
        tests = []
        for name, wanted in value.items():
            lower = read_name(name, (*path, name), report)
            test = read_text_test(
                wanted,
                default="contains",
                path=(*path, name),
                report=report,
                context=context,
                what=f"header {name}",
            )
            if lower is not None and test is not None:
                tests.append((lower, test))
        return cls(tests=tuple(tests), written=as_written(value)) if len(tests) == len(value) else None


class ListId(TextCondition):
    """The id inside List-Id's `<…>`. A scalar means: is.

    ```yaml
    when:
      list_id: {ends_with: .lists.example.org}
    ```
    """

    lasting: ClassVar[bool] = True
    key: ClassVar[str] = "list_id"
    view: ClassVar[tuple[object, ...]] = ("list ids",)
    default: ClassVar[str] = "is"

    def texts(self, message: Message) -> Sequence[Text]:
        return list_ids(message)

    def facts(self) -> frozenset[Fact]:
        return frozenset([header_fact("list-id")])

    def search(self) -> Search:
        return words_of_test(self.test, header_key("List-Id"), present=header_present("List-Id"))


class Exists(Condition):
    """A header of that name is there; of a list, any.

    ```yaml
    when:
      exists: [X-Spam-Status, X-Spam-Flag]
    ```
    """

    lasting: ClassVar[bool] = True
    key: ClassVar[str] = "exists"
    names: tuple[str, ...]
    written: Any = None

    def matches(self, message: Message) -> bool:
        return any(message.header(name) for name in self.names)

    def clues(self) -> Clues | None:
        return frozenset(Clue(("texts", name), "there") for name in self.names)

    def value(self, message: Message) -> Any:
        return {name: len(message.header(name)) for name in self.names}

    def facts(self) -> frozenset[Fact]:
        return frozenset(header_fact(name) for name in self.names)

    def search(self) -> Search:
        return any_of([header_present(name) for name in self.names])

    def argument(self) -> Any:
        return self.written

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ParseContext) -> Self | None:
        scalars = read_scalars(value, path, report, what="exists")
        if scalars is None:
            return None
        names = [read_name(name, place, report) for name, place in scalars]
        good = tuple(name for name in names if name is not None)
        return cls(names=good, written=as_written(value)) if len(good) == len(names) else None
