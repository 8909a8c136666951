"""Conditions on what kind of mail it is: is_bulk, is_auto."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from mailrules.core.address import without_comments
from mailrules.core.conditions.base import Condition, ParseContext
from mailrules.core.conditions.reading import read_bool
from mailrules.core.conditions.views import header_texts
from mailrules.core.errors import Path, Report
from mailrules.core.message import Fact, Message, header_fact


def bulk_sign(message: Message) -> str | None:
    """The header that says it is bulk mail, as `Name: value`, or None."""
    for name in ("List-Id", "List-Unsubscribe"):
        texts = header_texts(message, name.lower())
        if texts:
            return f"{name}: {texts[0].plain}"
    for text in header_texts(message, "precedence"):
        if _word(text.folded) in ("bulk", "list", "junk"):
            return f"Precedence: {text.plain}"
    return None


def auto_sign(message: Message) -> str | None:
    """The header that says that no person sent it (RFC 3834, RFC 3464), as `Name: value`, or None."""
    for text in header_texts(message, "auto-submitted"):
        if _word(text.folded) not in ("no", ""):
            return f"Auto-Submitted: {text.plain}"
    for text in header_texts(message, "return-path"):
        if text.plain.replace(" ", "") == "<>":
            return "Return-Path: <>"
    for text in header_texts(message, "x-auto-response-suppress"):
        if text.folded not in ("none", ""):
            return f"X-Auto-Response-Suppress: {text.plain}"
    for text in header_texts(message, "content-type")[:1]:
        if _word(text.folded) == "multipart/report":
            return f"Content-Type: {text.plain}"
    return None


def _word(text: str) -> str:
    """The first word of a structured value, without parameters and comments."""
    words = (without_comments(text) if "(" in text else text).partition(";")[0].split()
    return words[0] if words else ""


BULK_HEADERS = ("list-id", "list-unsubscribe", "precedence")
AUTO_HEADERS = ("auto-submitted", "return-path", "x-auto-response-suppress", "content-type")


class _KindCondition(Condition):
    """What both have in common."""

    lasting: ClassVar[bool] = True
    headers: ClassVar[tuple[str, ...]]
    wanted: bool

    def sign(self, message: Message) -> str | None:
        raise NotImplementedError

    def matches(self, message: Message) -> bool:
        return (self.sign(message) is not None) is self.wanted

    def value(self, message: Message) -> Any:
        return self.sign(message)

    def facts(self) -> frozenset[Fact]:
        return frozenset(header_fact(name) for name in self.headers)

    def argument(self) -> Any:
        return self.wanted

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ParseContext) -> Self | None:
        wanted = read_bool(value, path, report, what=cls.key)
        return None if wanted is None else cls(wanted=wanted)


class IsBulk(_KindCondition):
    """Mailing lists and newsletters: List-Id, List-Unsubscribe, or Precedence bulk, list or junk.

    ```yaml
    when: {is_bulk: true}
    ```
    """

    key: ClassVar[str] = "is_bulk"
    headers: ClassVar[tuple[str, ...]] = BULK_HEADERS

    def sign(self, message: Message) -> str | None:
        return bulk_sign(message)


class IsAuto(_KindCondition):
    """Mail that a machine sent: Auto-Submitted other than no, a null Return-Path,
    X-Auto-Response-Suppress, or a delivery report (multipart/report).

    ```yaml
    when: {is_auto: true}
    ```
    """

    key: ClassVar[str] = "is_auto"
    headers: ClassVar[tuple[str, ...]] = AUTO_HEADERS

    def sign(self, message: Message) -> str | None:
        return auto_sign(message)
