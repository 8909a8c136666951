"""Where a message goes: move, copy, archive, trash, junk, delete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from mailrules.core.actions.base import Action, ActionContext, RenderContext
from mailrules.core.errors import Path, RenderError, Report
from mailrules.core.mailbox_name import name_problem
from mailrules.core.message import Fact, Message
from mailrules.core.template import Template

_TEXT: Mapping[str, Any] = {"type": "string"}


class _Named(Action):
    """An action that names a mailbox in the file."""

    mailbox: Template
    value_schema: ClassVar[Mapping[str, Any]] = _TEXT

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ActionContext) -> Self | None:
        mailbox = mailbox_template(value, key=cls.key, path=path, report=report, context=context)
        return None if mailbox is None else cls(mailbox=mailbox)

    def facts(self) -> frozenset[Fact]:
        return self.mailbox.facts()

    @property
    def constant(self) -> bool:
        return self.mailbox.literal

    def render(self, message: Message, context: RenderContext) -> tuple[str, dict[str, Any], str]:
        name = _spelled(self.mailbox.render(message, context))
        problem = name_problem(name)
        if problem:
            raise RenderError(f"the mailbox '{name[:80]}' of '{self.key}' {problem}.")
        return self.key, {"mailbox": name}, ""

    def conflicts_with(self, other: Action) -> str | None:
        if type(other) is type(self) and _spelled(str(other.mailbox)) == _spelled(str(self.mailbox)):
            return f"'{self.key}' to '{self.mailbox}' stands twice in one rule."
        return None


def _spelled(name: str) -> str:
    """INBOX has no case (RFC 9051 section 5.1); every other name has."""
    return "INBOX" if name.upper() == "INBOX" else name


class Move(_Named):
    """Move the message to a mailbox.

    `/` separates levels, whatever the server uses. The mailbox is created when it is missing.
    A value from the message fills one level, under one that is written out. ::

        - move: Accounting/{{ received.year }}
        - move: Lists/{{ message.list_id }}
    """

    key: ClassVar[str] = "move"
    leaves: ClassVar[bool] = True


class Copy(_Named):
    """Put a copy of the message into a mailbox; the message itself stays. Names are as in `move`. ::

    - copy: Projects/Apollo
    """

    key: ClassVar[str] = "copy"


class _SpecialUse(Action):
    """A move to what the server says is the mailbox for this (RFC 6154), never guessed."""

    leaves: ClassVar[bool] = True
    bare: ClassVar[bool] = True
    use: ClassVar[str]

    @property
    def constant(self) -> bool:
        return True

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ActionContext) -> Self | None:
        return cls()

    def render(self, message: Message, context: RenderContext) -> tuple[str, dict[str, Any], str]:
        mailbox = None
        if context.special_use is not None:
            mailbox = self._mailbox(context.special_use)
            if mailbox is None:
                raise RenderError(
                    f"the account '{context.account}' has no {self.key} mailbox that its server says is one."
                    f" Name it in the account: special_use: {{{self.key}: NAME}}."
                )
        return self.key, {"mailbox": mailbox, "special_use": self.use}, ""

    def _mailbox(self, special_use: Mapping[str, str]) -> str | None:
        return special_use.get(self.use)


class Archive(_SpecialUse):
    """Move the message to the account's archive mailbox (on Gmail: All Mail). ::

    - archive
    """

    key: ClassVar[str] = "archive"
    use: ClassVar[str] = "\\Archive"

    def _mailbox(self, special_use: Mapping[str, str]) -> str | None:
        everything = special_use.get("\\All", "")
        # Elsewhere than on Gmail, \All is a view that nothing can be moved to.
        gmail = everything if everything.startswith(("[Gmail]/", "[Google Mail]/")) else None
        return special_use.get(self.use) or gmail


class Trash(_SpecialUse):
    """Move the message to the account's trash. ::

    - trash
    """

    key: ClassVar[str] = "trash"
    use: ClassVar[str] = "\\Trash"


class Junk(_SpecialUse):
    """Move the message to the account's junk mailbox. ::

    - junk
    """

    key: ClassVar[str] = "junk"
    use: ClassVar[str] = "\\Junk"


class Delete(Action):
    """Delete the message for good: it can't be taken back. The word `permanently` is required;
    `trash` is what you want nearly always. ::

        - delete: permanently
    """

    key: ClassVar[str] = "delete"
    leaves: ClassVar[bool] = True
    value_schema: ClassVar[Mapping[str, Any]] = {"const": "permanently"}

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ActionContext) -> Self | None:
        if value != "permanently":
            report.error(
                path,
                "deleting can't be taken back: write 'delete: permanently' if that is meant,"
                " or 'trash' to move the message to the trash.",
            )
            return None
        return cls()

    def render(self, message: Message, context: RenderContext) -> tuple[str, dict[str, Any], str]:
        return self.key, {"permanently": True}, ""


def mailbox_template(
    value: Any, *, key: str, path: Path, report: Report, context: ActionContext, what: str = "mailbox"
) -> Template | None:
    """A mailbox's name as a template. What is literal is checked now, the rest when it is filled in."""
    if value is None:
        report.error(path, f"'{key}' needs the name of a {what}: '{key}: Archive/2026'.")
        return None
    name = Template.parse(value, path=path, report=report, context=context, levels=True)
    if name is None:
        return None
    problem = name_problem(name.source) if name.literal else None
    if problem:
        report.error(path, f"the name of the {what} {problem}.")
        return None
    if name.tainted and not name.prefix.split("/")[0].strip():
        report.error(
            path,
            "mail may not choose where it goes: a value from the message or from a match fills one level"
            f" under one that is written out, as in '{key}: Lists/{{{{ message.list_id }}}}'.",
        )
        return None
    if name.tainted and "/" not in name.prefix:
        report.error(
            path,
            f"mail may not choose the first level of a {what}: write a '/' before the value from the message,"
            f" as in '{key}: Lists/{{{{ message.list_id }}}}'.",
        )
        return None
    return name
