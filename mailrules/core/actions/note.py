"""What only the run log sees: log, keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from mailrules.core.actions.base import Action, ActionContext, RenderContext
from mailrules.core.errors import Path, Report
from mailrules.core.message import Fact, Message
from mailrules.core.template import Template


class Log(Action):
    """Write a line into the run log. Nothing else happens. ::

    - log: "{{ message.from.address }} wrote about {{ message.subject }}"
    """

    key: ClassVar[str] = "log"
    text: Template
    value_schema: ClassVar[Mapping[str, Any]] = {"type": "string"}

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ActionContext) -> Self | None:
        text = Template.parse(value, path=path, report=report, context=context)
        return None if text is None else cls(text=text)

    def facts(self) -> frozenset[Fact]:
        return self.text.facts()

    def render(self, message: Message, context: RenderContext) -> tuple[str, dict[str, Any], str]:
        return self.key, {"text": self.text.render(message, context)}, ""

    def conflicts_with(self, other: Action) -> str | None:
        if isinstance(other, Log) and other.text == self.text:
            return "the same 'log' stands twice in one rule."
        return None


class Keep(Action):
    """Leave the message where it is: says "matched, and nothing is to be done". With `stop: true`
    the rules below don't see it. ::

        - keep
    """

    key: ClassVar[str] = "keep"
    bare: ClassVar[bool] = True

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ActionContext) -> Self | None:
        return cls()

    def render(self, message: Message, context: RenderContext) -> tuple[str, dict[str, Any], str]:
        return self.key, {}, ""

    def conflicts_with(self, other: Action) -> str | None:
        if isinstance(other, Keep):
            return "'keep' stands twice in one rule."
        if other.leaves:
            return f"'keep' leaves the message where it is, '{other.key}' takes it away."
        return None
