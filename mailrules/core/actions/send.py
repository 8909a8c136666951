"""What is sent on by mail: forward, redirect. How the message is built: `core/compose.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

from mailrules.core.actions.base import Action, ActionContext, RenderContext
from mailrules.core.actions.reading import check_keys
from mailrules.core.errors import Path, RenderError, Report
from mailrules.core.message import Fact, Message
from mailrules.core.recipient import allowed, pattern_problem, recipient_problem
from mailrules.core.template import Template
from mailrules.core.values import describe

MOST_RECIPIENTS = 20
DEFAULT_SUBJECT = "Fwd: {{ message.subject }}"
_MODES = ("attach", "inline")
_ADDRESSES: Mapping[str, Any] = {
    "anyOf": [
        {"type": "string"},
        {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MOST_RECIPIENTS},
    ]
}


class _Send(Action):
    """An action with recipients."""

    once: ClassVar[bool] = True
    needs_smtp: ClassVar[bool] = True
    to: tuple[Template, ...]
    only: tuple[str, ...] = ()

    def recipients(self, message: Message, context: RenderContext) -> list[str]:
        """The addresses, each once. Raises RenderError for one that nothing may be sent to."""
        found: dict[str, str] = {}
        for template in self.to:
            address = template.render(message, context).strip()
            problem = recipient_problem(address)
            if problem:
                raise RenderError(f"'{self.key}': {problem}")
            if self.only and not allowed(address, self.only):
                raise RenderError(f"'{self.key}': {address} is not among those that `only` allows.")
            if address.casefold() == context.address.casefold():
                raise RenderError(
                    f"'{self.key}': {address} is the account itself; it would go round in a loop."
                )
            found.setdefault(address.casefold(), address)
        return list(found.values())

    def facts(self) -> frozenset[Fact]:
        return frozenset().union(*(template.facts() for template in self.to))

    def conflicts_with(self, other: Action) -> str | None:
        if type(other) is not type(self):
            return None
        mine = {template.source.casefold() for template in self.to}
        for template in other.to:
            if template.source.casefold() in mine:
                return f"'{self.key}' to '{template}' stands twice in one rule."
        return None


class Forward(_Send):
    """Send the message on in a new mail from this account: attached (`mode: attach`), or quoted without
    its attachments (`mode: inline`). The account needs `smtp`. It is sent once per message, rule and
    recipients, ever.

    Mail may choose the recipient only among those that `only` lists: addresses, `@domain`s. ::

        - forward: boss@example.org
        - forward:
            to: "{{ match.name }}@our.example"
            only: ["@our.example"]
            mode: inline
            subject: "For you: {{ message.subject }}"
            text: Please have a look.
    """

    key: ClassVar[str] = "forward"
    mode: Literal["attach", "inline"] = "attach"
    subject: Template
    text: Template | None = None
    value_schema: ClassVar[Mapping[str, Any]] = {
        "anyOf": [
            *_ADDRESSES["anyOf"],
            {
                "type": "object",
                "properties": {
                    "to": _ADDRESSES,
                    "mode": {"enum": list(_MODES)},
                    "subject": {"type": "string"},
                    "text": {"type": "string"},
                    "only": _ADDRESSES,
                },
                "required": ["to"],
                "additionalProperties": False,
            },
        ]
    }

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ActionContext) -> Self | None:
        before = len(report.problems)
        form = value if isinstance(value, dict) else {"to": value}
        known = ("to", "mode", "subject", "text", "only")
        check_keys(form, known, key=cls.key, path=path, report=report)
        only = _only(form.get("only"), path=(*path, "only"), report=report) if "only" in form else ()
        where = (*path, "to") if isinstance(value, dict) and "to" in form else path
        to = _recipients(form.get("to"), key=cls.key, only=only, path=where, report=report, context=context)
        mode = form.get("mode", "attach")
        if mode not in _MODES:
            report.error((*path, "mode"), f"expected attach or inline, found {describe(mode)}.")
        texts: dict[str, Template | None] = {"text": None}
        texts["subject"] = Template.parse(DEFAULT_SUBJECT, path=path, report=report, context=context)
        for name in ("subject", "text"):
            if name in form:
                texts[name] = Template.parse(form[name], path=(*path, name), report=report, context=context)
        if any(p.severity == "error" for p in report.problems[before:]) or texts["subject"] is None:
            return None
        return cls(to=to, only=only, mode=mode, subject=texts["subject"], text=texts["text"])

    def facts(self) -> frozenset[Fact]:
        text = self.text.facts() if self.text else frozenset()
        return super().facts() | self.subject.facts() | text

    def render(self, message: Message, context: RenderContext) -> tuple[str, dict[str, Any], str]:
        to = self.recipients(message, context)
        arguments: dict[str, Any] = {
            "to": to,
            "mode": self.mode,
            "subject": " ".join(self.subject.render(message, context).split())[:500],
        }
        if self.text is not None:
            arguments["text"] = self.text.render(message, context)
        return self.key, arguments, target_of(to)


class Redirect(_Send):
    """Send the message itself on, unchanged, as if it had been sent there (RFC 5228); its From stays, and
    replies go to its author. Some providers refuse a From that is not yours: then use `forward`. The
    account needs `smtp`. It is sent once per message, rule and recipients, ever. ::

        - redirect: archive@example.org
    """

    key: ClassVar[str] = "redirect"
    value_schema: ClassVar[Mapping[str, Any]] = _ADDRESSES

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ActionContext) -> Self | None:
        to = _recipients(value, key=cls.key, only=(), path=path, report=report, context=context)
        return cls(to=to) if to else None

    def render(self, message: Message, context: RenderContext) -> tuple[str, dict[str, Any], str]:
        to = self.recipients(message, context)
        return self.key, {"to": to}, target_of(to)


def target_of(recipients: Sequence[str]) -> str:
    """What makes two sendings the same: their recipients, in any order and letter case."""
    return ",".join(sorted(address.casefold() for address in recipients))


def _recipients(
    value: Any, *, key: str, only: tuple[str, ...], path: Path, report: Report, context: ActionContext
) -> tuple[Template, ...]:
    values = value if isinstance(value, list) else [value]
    if value is None or not values:
        report.error(path, f"'{key}' needs an address: '{key}: somebody@example.org'.")
        return ()
    if len(values) > MOST_RECIPIENTS:
        report.error(path, f"'{key}' has more than {MOST_RECIPIENTS} recipients. Use a mailing list.")
        return ()
    found: dict[str, Template] = {}
    for index, item in enumerate(values):
        where = (*path, index) if isinstance(value, list) else path
        template = Template.parse(item, path=where, report=report, context=context)
        if template is None:
            continue
        problem = recipient_problem(template.source) if template.literal else None
        if problem:
            report.error(where, problem)
        elif template.tainted and not only:
            report.error(
                where,
                "mail may not choose who it is sent to: a value from the message or from a match can stand"
                ' here only if `only` lists what is allowed, as in {to: …, only: ["@our.example"]}.',
            )
        elif template.literal and only and not allowed(template.source, only):
            report.error(where, f"{template.source} is not among those that `only` allows.")
        elif template.source.casefold() in found:
            report.error(where, f"'{template}' stands twice.")
        else:
            found[template.source.casefold()] = template
    return tuple(found.values()) if len(found) == len(values) else ()


def _only(value: Any, *, path: Path, report: Report) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    if not values:
        report.error(path, "'only' is empty: list the addresses and domains that are allowed.")
    for index, item in enumerate(values):
        where = (*path, index) if isinstance(value, list) else path
        if not isinstance(item, str):
            report.error(where, f"expected an address or a domain, found {describe(item)}.")
        elif problem := pattern_problem(item):
            report.error(where, problem)
    return tuple(str(item) for item in values if isinstance(item, str))
