"""Conditions on the size: larger_than, smaller_than."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from mailrules.core.conditions.base import Condition, ParseContext
from mailrules.core.conditions.reading import as_written
from mailrules.core.errors import Path, Report
from mailrules.core.message import SIZE, Fact, Message
from mailrules.core.search import Key, Search
from mailrules.core.values import describe, parse_size

LARGEST_KEY = 2**32 - 1
"""SEARCH takes numbers of 32 bits (RFC 3501); 64 are for servers of RFC 9051 alone."""


def read_size(value: Any, path: Path, report: Report, *, what: str) -> int | None:
    """`500 KB`, `5MB`, a bare number of bytes."""
    try:
        return parse_size(value)
    except ValueError as error:
        problem = f"{error}" if isinstance(value, str) else f"{what} takes a size, not {describe(value)}."
        report.error(path, problem)
        return None


class _SizeCondition(Condition):
    """What both have in common."""

    lasting: ClassVar[bool] = True
    size: int
    written: Any = None

    def value(self, message: Message) -> Any:
        return message.size

    def facts(self) -> frozenset[Fact]:
        return frozenset([SIZE])

    def argument(self) -> Any:
        return self.written

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ParseContext) -> Self | None:
        size = read_size(value, path, report, what=cls.key)
        return None if size is None else cls(size=size, written=as_written(value))


class LargerThan(_SizeCondition):
    """The message is larger than this, as the server counts it (RFC822.SIZE).

    ```yaml
    when:
      larger_than: 10 MB
    ```
    """

    key: ClassVar[str] = "larger_than"

    def matches(self, message: Message) -> bool:
        return message.size > self.size

    def search(self) -> Search:
        if self.size > LARGEST_KEY:
            return Key("LARGER", (LARGEST_KEY,))
        return Key("LARGER", (self.size,), exact=True)


class SmallerThan(_SizeCondition):
    """The message is smaller than this, as the server counts it (RFC822.SIZE).

    ```yaml
    when:
      smaller_than: 20 KB
    ```
    """

    key: ClassVar[str] = "smaller_than"

    def matches(self, message: Message) -> bool:
        return message.size < self.size

    def search(self) -> Search:
        if self.size > LARGEST_KEY:
            return super().search()
        return Key("SMALLER", (self.size,), exact=True)
