"""Gmail's labels: label, unlabel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from mailrules.core.actions.base import Action, ActionContext, RenderContext
from mailrules.core.actions.mailbox import mailbox_template
from mailrules.core.actions.reading import NAMES, read_names
from mailrules.core.errors import Path, RenderError, Report, did_you_mean
from mailrules.core.mailbox_name import name_problem
from mailrules.core.message import Fact, Message
from mailrules.core.template import Template

SYSTEM = {"inbox": "\\Inbox", "starred": "\\Starred", "important": "\\Important", "muted": "\\Muted"}
_NOT_LABELS = {
    "trash": "To throw the message away, write 'trash'.",
    "spam": "To call it spam, write 'junk'.",
    "sent": "Only Gmail sets it.",
    "draft": "Only Gmail sets it.",
    "drafts": "Only Gmail sets it.",
}
INBOX = SYSTEM["inbox"]


def label_of(text: str) -> str:
    """The label as IMAP spells it: `\\inbox` is `\\Inbox`, another one is itself. Raises ValueError."""
    name = text.lower().removeprefix("\\")
    if name in _NOT_LABELS:
        raise ValueError(f"'{text[:80]}' can't be set or taken off here. {_NOT_LABELS[name]}")
    if text.startswith("\\"):
        if name in SYSTEM:
            return SYSTEM[name]
        raise ValueError(f"Gmail has no label '{text[:80]}' of its own.{did_you_mean(name, SYSTEM)}")
    if name in SYSTEM:
        raise ValueError(f"'{text}' is one of Gmail's own labels: write '{SYSTEM[name]}'.")
    problem = name_problem(text)
    if problem:
        raise ValueError(f"the label '{text[:80]}' {problem}.")
    return text


class _LabelChange(Action):
    """An action that puts labels on or takes them off."""

    labels: tuple[Template, ...]
    value_schema: ClassVar[Mapping[str, Any]] = NAMES

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ActionContext) -> Self | None:
        def read(item: Any, where: Path) -> Template | None:
            return _label_template(item, key=cls.key, path=where, report=report, context=context)

        needs = f"a label: '{cls.key}: Travel'"
        labels = read_names(value, read, key=cls.key, needs=needs, path=path, report=report)
        return None if labels is None else cls(labels=labels)

    def facts(self) -> frozenset[Fact]:
        return frozenset().union(*(label.facts() for label in self.labels))

    def render(self, message: Message, context: RenderContext) -> tuple[str, dict[str, Any], str]:
        rendered = [self._render(label, message, context) for label in self.labels]
        return self.key, {"labels": list(dict.fromkeys(rendered))}, ""

    def _render(self, label: Template, message: Message, context: RenderContext) -> str:
        text = label.render(message, context)
        if label.literal:
            return text
        try:
            name = label_of(text)
        except ValueError as error:
            raise RenderError(f"'{self.key}': {error}") from None
        if name.startswith("\\"):
            raise RenderError(f"'{self.key}': Gmail's own label {name} is written out, not filled in.")
        return name

    def conflicts_with(self, other: Action) -> str | None:
        if not isinstance(other, _LabelChange):
            return None
        mine = {label.source.casefold() for label in self.labels}
        for label in other.labels:
            if label.source.casefold() in mine:
                if type(other) is type(self):
                    return f"'{self.key}: {label}' stands twice in one rule."
                return f"the label '{label}' is both put on and taken off in one rule."
        return None


class Label(_LabelChange):
    """Put Gmail labels on the message. One, or a list. A label that does not exist is made; `/` nests them.

    Gmail's own are `\\Inbox`, `\\Starred`, `\\Important` and `\\Muted`. A value from the message fills one
    level, under one that is written out. Later rules see the change with `gmail_label`. Only where the
    server has X-GM-EXT-1: elsewhere it fails, and says so. ::

        - label: Lists/{{ message.list_id }}
        - label: [Travel, '\\Important']
    """

    key: ClassVar[str] = "label"

    def change_labels(self, labels: frozenset[str], arguments: Mapping[str, Any]) -> frozenset[str]:
        return _without(labels, arguments["labels"]) | frozenset(arguments["labels"])


class Unlabel(_LabelChange):
    """Take Gmail labels off the message; the names are as in `label`. Without `\\Inbox` it is out of the
    inbox, as with `archive`: that is done last, and no later rule sees the message. ::

        - unlabel: [Waiting, '\\Starred']
    """

    key: ClassVar[str] = "unlabel"

    @property
    def leaves(self) -> bool:  # type: ignore[override]
        """Only without `\\Inbox`."""
        return any(label.source == INBOX for label in self.labels)

    def change_labels(self, labels: frozenset[str], arguments: Mapping[str, Any]) -> frozenset[str]:
        return _without(labels, arguments["labels"])


def _without(labels: frozenset[str], names: list[str]) -> frozenset[str]:
    """Gmail's labels have no case."""
    named = {name.casefold() for name in names}
    return frozenset(label for label in labels if label.casefold() not in named)


def _label_template(
    value: Any, *, key: str, path: Path, report: Report, context: ActionContext
) -> Template | None:
    if (isinstance(value, str) and value.startswith("\\")) or str(value).lower() in (*SYSTEM, *_NOT_LABELS):
        try:
            return Template.plain(label_of(str(value)))
        except ValueError as error:
            report.error(path, str(error))
            return None
    return mailbox_template(value, key=key, path=path, report=report, context=context, what="label")
