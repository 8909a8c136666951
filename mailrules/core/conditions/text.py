"""Conditions that compare one text: the subject, and the base of its like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from mailrules.core.clue import Clues
from mailrules.core.conditions.base import Condition, ParseContext
from mailrules.core.conditions.clues import clues_of_test
from mailrules.core.conditions.reading import as_written, read_text_test
from mailrules.core.conditions.search_words import header_key, header_present, words_of_test
from mailrules.core.conditions.views import header_texts, shown
from mailrules.core.errors import Path, Report
from mailrules.core.message import Fact, Message, header_fact
from mailrules.core.search import Search
from mailrules.core.text import Text, TextTest


class TextCondition(Condition):
    """Base of conditions whose value is a text value (SPEC section 3, "Text operators")."""

    default: ClassVar[str] = "contains"
    """What a scalar means."""
    test: TextTest
    written: Any = None
    view: ClassVar[tuple[object, ...]] = ()
    """What `texts` gives, as clues name it; () where they have no name for it."""

    def texts(self, message: Message) -> Sequence[Text]:
        """The values that are compared; the test must hold of one of them."""
        raise NotImplementedError

    def matches(self, message: Message) -> bool:
        return self.test.any_holds(self.texts(message))

    def value(self, message: Message) -> Any:
        return shown(self.texts(message))

    def groups(self, message: Message) -> Mapping[str, str]:
        return self.test.groups(self.texts(message)) if self.test.regex is not None else {}

    def clues(self) -> Clues | None:
        return clues_of_test(self.test, self.view) if self.view else None

    def group_names(self) -> Mapping[str, bool]:
        return self.test.group_names()

    def argument(self) -> Any:
        return self.written

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ParseContext) -> Self | None:
        test = read_text_test(
            value, default=cls.default, path=path, report=report, context=context, what=cls.key
        )
        return None if test is None else cls(test=test, written=as_written(value))


class Subject(TextCondition):
    """The decoded Subject. A scalar means: contains.

    ```yaml
    when:
      subject: [invoice, "Rechnung"]         # any of them, in any case
    ---
    when:
      subject: {starts_with: "[ci]", regex: 'build (?P<number>\\d+)'}
    ```
    Operators: contains, is, starts_with, ends_with, glob, regex, in, exists; case_sensitive beside them.
    """

    lasting: ClassVar[bool] = True
    key: ClassVar[str] = "subject"
    view: ClassVar[tuple[object, ...]] = ("texts", "subject")

    def texts(self, message: Message) -> Sequence[Text]:
        return header_texts(message, "subject")

    def facts(self) -> frozenset[Fact]:
        return frozenset([header_fact("subject")])

    def search(self) -> Search:
        return words_of_test(self.test, header_key("Subject"), present=header_present("Subject"))
