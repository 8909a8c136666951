"""The words of the condition tests: `assert matches("larger_than: 10", size=11)`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from mailrules.config import yaml_source
from mailrules.core.conditions import parse_when
from mailrules.core.conditions.base import Condition, ParseContext, Trace, Verdict
from mailrules.core.errors import Problem, Report
from mailrules.core.message import INTERNALDATE, SIZE, Fact, Message, Unavailable
from mailrules.core.offline import message_from_bytes

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)  # a Wednesday
BERLIN = ZoneInfo("Europe/Berlin")


def problems(
    when: str, lists: Mapping[str, tuple[str, ...]] | None = None, zone: tzinfo | None = BERLIN
) -> list[Problem]:
    """What is wrong with a condition."""
    return _parse(when, lists, zone)[1]


def problem(when: str, lists: Mapping[str, tuple[str, ...]] | None = None) -> str:
    """The words of the one thing that is wrong."""
    (one,) = problems(when, lists)
    return one.message


def condition(
    when: str, lists: Mapping[str, tuple[str, ...]] | None = None, zone: tzinfo | None = BERLIN
) -> Condition:
    """A condition that is right."""
    parsed, wrong = _parse(when, lists, zone)
    assert parsed is not None and not wrong, wrong
    return parsed


def _parse(
    when: str, lists: Mapping[str, tuple[str, ...]] | None, zone: tzinfo | None
) -> tuple[Condition | None, list[Problem]]:
    report = Report()
    context = ParseContext(lists=lists or {}, timezone=zone)
    parsed = parse_when(
        yaml_source.parse(when, "when.yaml").data, path=("when",), report=report, context=context
    )
    assert (parsed is None) == report.failed
    return parsed, report.problems


def mail(*headers: str, body: str = "hello", **facts: Any) -> Message:
    """A message with these header lines; `size`, `received`, `flags`, `facts`, … as given."""
    raw = "".join(line + "\r\n" for line in headers) + "\r\n" + body
    return raw_mail(raw.encode("utf-8", "surrogateescape"), **facts)


def raw_mail(
    raw: bytes, *, size: int | None = None, facts: Mapping[Fact, Any] | None = None, **options: Any
) -> Message:
    """A message from its bytes."""
    message = message_from_bytes(raw, account="work", now=NOW, **{"received": NOW, **options})
    if size is not None:
        message.facts[SIZE] = size
    message.facts.update(facts or {})
    return message


def judge(
    when: str,
    message: Message | None = None,
    *,
    lists: Mapping[str, tuple[str, ...]] | None = None,
    **given: Any,
) -> Verdict:
    return condition(when, lists).judge(message or mail(**given))


def matches(
    when: str,
    *headers: str,
    message: Message | None = None,
    lists: Mapping[str, tuple[str, ...]] | None = None,
    zone: tzinfo | None = BERLIN,
    **given: Any,
) -> bool:
    """Whether the condition holds of a message with these header lines; it must be known."""
    verdict = condition(when, lists, zone).judge(message or mail(*headers, **given))
    assert verdict.truth is not None, verdict
    return verdict.truth


def groups(when: str, *headers: str, **given: Any) -> Mapping[str, str]:
    """Named groups of a condition that holds."""
    verdict = condition(when).judge(mail(*headers, **given))
    assert verdict.truth, verdict
    return verdict.groups


def trace(when: str, message: Message) -> Trace:
    return condition(when).trace(message)


CAN_T = Unavailable("can't be had")
WITHOUT_DATE = {INTERNALDATE: CAN_T}
