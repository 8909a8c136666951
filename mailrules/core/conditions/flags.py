"""Conditions on flags: seen, flagged, answered, draft, deleted, keyword."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar, Self

from mailrules.core.conditions.base import Condition, ParseContext
from mailrules.core.conditions.reading import read_bool
from mailrules.core.conditions.text import TextCondition
from mailrules.core.errors import Path, Report
from mailrules.core.message import FLAGS, Fact, Message
from mailrules.core.search import Everything, Key, Search, any_of
from mailrules.core.text import Text


class _FlagCondition(Condition):
    """What the system flags have in common. `flag` is as in RFC 9051 section 2.3.2."""

    flag: ClassVar[str]
    wanted: bool

    def matches(self, message: Message) -> bool:
        return self._set(message) is self.wanted

    def _set(self, message: Message) -> bool:
        flags = message.flags
        if self.flag in flags:
            return True
        lower = self.flag.lower()
        return any(flag.lower() == lower for flag in flags)

    def value(self, message: Message) -> Any:
        return self._set(message)

    def facts(self) -> frozenset[Fact]:
        return frozenset([FLAGS])

    def search(self) -> Search:
        name = self.flag[1:].upper()
        return Key(name if self.wanted else "UN" + name, exact=True, changeable=self.flag.lower())

    def argument(self) -> Any:
        return self.wanted

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ParseContext) -> Self | None:
        wanted = read_bool(value, path, report, what=cls.key)
        return None if wanted is None else cls(wanted=wanted)


class Seen(_FlagCondition):
    """The message was read (true), or not (false).

    ```yaml
    when: {seen: false}
    ```
    A flag that a rule above sets or clears counts as it will be then.
    """

    key: ClassVar[str] = "seen"
    flag: ClassVar[str] = "\\Seen"


class Flagged(_FlagCondition):
    """The message is flagged (starred), or not.

    ```yaml
    when: {flagged: true}
    ```
    """

    key: ClassVar[str] = "flagged"
    flag: ClassVar[str] = "\\Flagged"


class Answered(_FlagCondition):
    """The message was answered, as the mail program that answered it noted.

    ```yaml
    when: {answered: false, older_than: 2d}
    ```
    """

    key: ClassVar[str] = "answered"
    flag: ClassVar[str] = "\\Answered"


class Draft(_FlagCondition):
    """The message is a draft, or not.

    ```yaml
    when: {draft: true}
    ```
    """

    key: ClassVar[str] = "draft"
    flag: ClassVar[str] = "\\Draft"


class Deleted(_FlagCondition):
    """The message is marked for deletion, or not.

    ```yaml
    when: {deleted: false}
    ```
    """

    key: ClassVar[str] = "deleted"
    flag: ClassVar[str] = "\\Deleted"


_ATOM = re.compile(r"[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+")  # RFC 9051 flag-keyword, without \ and ]


class Keyword(TextCondition):
    """The message has that keyword; of a list, any. Case does not matter.

    ```yaml
    when:
      keyword: [$Todo, $Later]
    ```
    A scalar means: is. Text operators look at each keyword.
    """

    key: ClassVar[str] = "keyword"
    default: ClassVar[str] = "is"

    def texts(self, message: Message) -> Sequence[Text]:
        return [Text(flag) for flag in sorted(message.flags) if not flag.startswith("\\")]

    def facts(self) -> frozenset[Fact]:
        return frozenset([FLAGS])

    def search(self) -> Search:
        test = self.test
        alone = test.is_ is not None and (test.contains, test.starts_with, test.ends_with) == (None,) * 3
        if not alone or test.glob or test.regex or test.also or test.case_sensitive or test.is_ is None:
            return Everything(exact=False)
        if not all(_ATOM.fullmatch(keyword) for keyword in test.is_):
            return Everything(exact=False)
        return any_of(
            [Key("KEYWORD", (keyword,), exact=True, changeable=keyword) for keyword in sorted(test.is_)]
        )

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ParseContext) -> Self | None:
        condition = super().parse(value, path=path, report=report, context=context)
        if condition is None:
            return None
        for name in sorted(condition.test.is_ or ()):
            if name.startswith("\\"):
                plain = name[1:]
                known = plain in ("seen", "flagged", "answered", "draft", "deleted")
                hint = f"Write {plain}: true." if known else "Keywords do not begin with a backslash."
                report.error(path, f"'{name}' is a system flag, not a keyword. {hint}")
                return None
        return condition
