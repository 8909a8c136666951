"""Conditions on what a message says: body, text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from mailrules.core.conditions.search_words import words_of_test
from mailrules.core.conditions.text import TextCondition
from mailrules.core.conditions.views import body, whole_text
from mailrules.core.message import ALL_HEADERS, BODY, Fact, Message
from mailrules.core.search import Key, Search
from mailrules.core.text import Text


class BodyText(TextCondition):
    """The decoded text parts: text/plain, and text/html as its visible text. Attachments are not read.

    ```yaml
    when:
      body: [unsubscribe, "abmelden"]
    ---
    when:
      body: {regex: '(?m)^Order: (?P<order>[0-9]+)$'}
    ```
    A scalar means: contains. The first `settings.body_limit` of text is judged.
    """

    lasting: ClassVar[bool] = True
    key: ClassVar[str] = "body"
    cost: ClassVar[Literal["header", "server", "body", "script"]] = "body"

    def texts(self, message: Message) -> Sequence[Text]:
        return body(message)

    def facts(self) -> frozenset[Fact]:
        return frozenset([BODY])

    def search(self) -> Search:
        return words_of_test(self.test, lambda word: Key("BODY", (word,), text=True))


class WholeText(TextCondition):
    """All decoded headers, a line each, then what `body` sees. A scalar means: contains.

    ```yaml
    when:
      text: "project-4711"
    ```
    """

    lasting: ClassVar[bool] = True
    key: ClassVar[str] = "text"
    cost: ClassVar[Literal["header", "server", "body", "script"]] = "body"

    def texts(self, message: Message) -> Sequence[Text]:
        return whole_text(message)

    def facts(self) -> frozenset[Fact]:
        return frozenset([ALL_HEADERS, BODY])

    def search(self) -> Search:
        return words_of_test(self.test, lambda word: Key("TEXT", (word,), text=True))
