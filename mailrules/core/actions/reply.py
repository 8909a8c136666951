"""An automatic answer: reply. Whom it may go to: `core/answering.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from mailrules.core.actions.base import Action, ActionContext, RenderContext
from mailrules.core.actions.reading import check_keys
from mailrules.core.answering import return_address, sender_key, why_not_answered
from mailrules.core.errors import Declined, Path, Report
from mailrules.core.message import ALL_HEADERS, Fact, Message
from mailrules.core.recipient import recipient_problem
from mailrules.core.template import Template
from mailrules.core.values import describe, parse_duration

DEFAULT_SUBJECT = "Auto: {{ message.subject or 'your message' }}"
DEFAULT_EVERY = "7d"
SHORTEST = 24 * 3600
LONGEST = 366 * SHORTEST
_KEYS = ("text", "subject", "once_every", "addresses")
_TEXT: Mapping[str, Any] = {"type": "string"}


class Reply(Action):
    """Answer the sender with a short text: "I am away", "we have your request". The account needs `smtp`.

    Each sender is answered by a rule once in 7 days (`once_every`, at least `1d`), also over restarts. Never
    answered is what RFC 3834 and RFC 5230 forbid: mail from machines, lists, noreply addresses and the
    account itself, bounces, spam, and mail whose To and Cc name none of your addresses. Those are the
    account's own, and `addresses`. The log says `skipped`, and why; the rule's other actions are done.

    It goes to the Return-Path (where the server keeps none, to From), never to Reply-To, as
    `Auto-Submitted: auto-replied` with an empty return path of its own. ::

        - reply:
            text: |
              Hello {{ message.from.name or "there" }}, I am away until Monday.
            subject: "Away: {{ message.subject }}"
            once_every: 7d
            addresses: [info@example.org]
    """

    key: ClassVar[str] = "reply"
    once: ClassVar[bool] = True
    needs_smtp: ClassVar[bool] = True
    text: Template
    subject: Template
    once_every: float
    """Seconds."""
    addresses: tuple[str, ...] = ()
    value_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "properties": {
            "text": _TEXT,
            "subject": _TEXT,
            "once_every": _TEXT,
            "addresses": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}]},
        },
        "required": ["text"],
        "additionalProperties": False,
    }

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ActionContext) -> Self | None:
        if not isinstance(value, dict) or "text" not in value:
            found = f", found {describe(value)}" if not isinstance(value, dict) else ""
            report.error(path, f"'reply' needs a text: 'reply: {{text: I am away.}}'{found}.")
            return None
        before = len(report.problems)
        check_keys(value, _KEYS, key=cls.key, path=path, report=report)
        text = Template.parse(value["text"], path=(*path, "text"), report=report, context=context)
        if text is not None and not text.source.strip():
            report.error((*path, "text"), "the text of the reply is empty.")
        subject = Template.parse(
            value.get("subject", DEFAULT_SUBJECT), path=(*path, "subject"), report=report, context=context
        )
        every = _every(value.get("once_every", DEFAULT_EVERY), path=(*path, "once_every"), report=report)
        addresses = _addresses(value.get("addresses", []), path=(*path, "addresses"), report=report)
        if text is None or subject is None or len(report.problems) > before:
            return None
        return cls(text=text, subject=subject, once_every=every, addresses=addresses)

    def facts(self) -> frozenset[Fact]:
        return self.text.facts() | self.subject.facts() | {ALL_HEADERS}

    def render(self, message: Message, context: RenderContext) -> tuple[str, dict[str, Any], str]:
        headers = message.get(ALL_HEADERS)
        own = tuple(filter(None, (context.address, *context.addresses)))
        why = why_not_answered(headers, (*own, *self.addresses) if own else ())
        if why is not None:
            raise Declined(f"not answered: {why}")
        sender = return_address(headers)
        arguments = {
            "to": [sender],
            "subject": " ".join(self.subject.render(message, context).split())[:500],
            "text": self.text.render(message, context),
            "once_every": self.once_every,
        }
        return self.key, arguments, sender_key(sender)

    def conflicts_with(self, other: Action) -> str | None:
        return "one rule can answer once: 'reply' stands twice in it." if isinstance(other, Reply) else None


def _every(value: Any, *, path: Path, report: Report) -> float:
    try:
        seconds = parse_duration(value).total_seconds()
    except ValueError as error:
        report.error(path, str(error))
        return SHORTEST
    if not SHORTEST <= seconds <= LONGEST:
        report.error(
            path, "'once_every' is from 1d to 366d: answers must not pile up (RFC 5230 section 4.1)."
        )
    return seconds


def _addresses(value: Any, *, path: Path, report: Report) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    for index, item in enumerate(values):
        where = (*path, index) if isinstance(value, list) else path
        problem = (
            recipient_problem(item) if isinstance(item, str) else f"expected text, found {describe(item)}."
        )
        if problem:
            report.error(where, problem)
    return tuple(str(item) for item in values)
