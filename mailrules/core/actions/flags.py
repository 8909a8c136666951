"""What is marked on a message: flag, unflag, mark."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from mailrules.core.actions.base import Action, ActionContext, RenderContext
from mailrules.core.actions.reading import NAMES, read_names
from mailrules.core.errors import Path, RenderError, Report, did_you_mean
from mailrules.core.message import Fact, Message
from mailrules.core.search import Everything, Key, Search, any_of
from mailrules.core.template import Template
from mailrules.core.values import describe

SYSTEM = {"seen": "\\Seen", "flagged": "\\Flagged", "answered": "\\Answered", "draft": "\\Draft"}
# RFC 9051: flag-keyword is an atom; an atom has no CTL, no blank and none of these.
_KEYWORD = re.compile(r"[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]{1,100}", re.ASCII)
_NOT_FLAGS = {
    "deleted": "To delete a message, write 'trash' or 'delete: permanently'.",
    "recent": "Only the server sets it.",
    "read": "Write 'mark: read', or 'flag: seen'.",
    "unread": "Write 'mark: unread', or 'unflag: seen'.",
    "unseen": "Write 'mark: unread', or 'unflag: seen'.",
}


def flag_of(text: str) -> str:
    """The flag as IMAP spells it: `seen` is `\\Seen`, a keyword is itself. Raises ValueError."""
    name = text.lower().removeprefix("\\")
    if name in SYSTEM:
        return SYSTEM[name]
    if name in _NOT_FLAGS:
        raise ValueError(f"'{text}' can't be set here. {_NOT_FLAGS[name]}")
    if text.startswith("\\"):
        raise ValueError(f"there is no system flag '{text[:80]}'.{did_you_mean(name, SYSTEM)}")
    if not _KEYWORD.fullmatch(text):
        raise ValueError(
            f"'{text[:80]}' is not a keyword: ASCII letters, digits and signs other than"
            ' blank ( ) { % * " \\ ], at most 100.'
        )
    return text


class _FlagChange(Action):
    """An action that sets or clears flags."""

    flags: tuple[Template, ...]
    verb: ClassVar[Literal["flag", "unflag"]]
    value_schema: ClassVar[Mapping[str, Any]] = NAMES

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ActionContext) -> Self | None:
        def read(item: Any, where: Path) -> Template | None:
            template = Template.parse(item, path=where, report=report, context=context)
            if template is None or not template.literal:
                return template
            try:
                return Template.plain(flag_of(template.source))
            except ValueError as error:
                report.error(where, str(error))
                return None

        needs = f"a flag: '{cls.key}: seen' or '{cls.key}: $Todo'"
        flags = read_names(value, read, key=cls.key, needs=needs, path=path, report=report)
        return None if flags is None else cls(flags=flags)

    def facts(self) -> frozenset[Fact]:
        return frozenset().union(*(flag.facts() for flag in self.flags))

    @property
    def constant(self) -> bool:
        return all(flag.literal for flag in self.flags)

    def render(self, message: Message, context: RenderContext) -> tuple[str, dict[str, Any], str]:
        rendered = [self._render(flag, message, context) for flag in self.flags]
        return self._verb(), {"flags": list(dict.fromkeys(rendered))}, ""

    def _verb(self) -> Literal["flag", "unflag"]:
        return self.verb

    def _render(self, flag: Template, message: Message, context: RenderContext) -> str:
        text = flag.render(message, context)
        if flag.literal:
            return text
        try:
            name = flag_of(text)
        except ValueError as error:
            raise RenderError(f"'{self.key}': {error}") from None
        if flag.tainted and name.startswith("\\"):
            raise RenderError(f"'{self.key}': mail may choose a keyword, not the flag {name}.")
        return name

    def changes(self) -> frozenset[str]:
        return frozenset(flag.source.lower() if flag.literal else "*" for flag in self.flags)

    def change_flags(self, flags: frozenset[str], arguments: Mapping[str, Any]) -> frozenset[str]:
        named = {flag.lower() for flag in arguments["flags"]}
        others = frozenset(flag for flag in flags if flag.lower() not in named)
        return others | frozenset(arguments["flags"]) if self._verb() == "flag" else others

    def undone(self) -> Search:
        if not all(flag.literal for flag in self.flags):
            return Everything(exact=False)
        un = "UN" if self._verb() == "flag" else ""
        keys: list[Search] = []
        for name in (flag.source for flag in self.flags):
            system, argument = (name[1:].upper(), ()) if name.startswith("\\") else ("KEYWORD", (name,))
            keys.append(Key(un + system, argument, exact=True, changeable=name.lower()))
        return any_of(keys)

    def conflicts_with(self, other: Action) -> str | None:
        if not isinstance(other, _FlagChange):
            return None
        both = {f.source.lower(): f.source for f in self.flags}
        for flag in other.flags:
            name = both.get(flag.source.lower())
            if name is not None and self._verb() != other._verb():
                return f"{name} is both set and cleared in one rule."
            if name is not None:
                return f"{name} is {'set' if self._verb() == 'flag' else 'cleared'} twice in one rule."
        return None


class Flag(_FlagChange):
    """Set flags: `seen`, `flagged`, `answered`, `draft`, or a keyword of your own. One, or a list. ::

    - flag: flagged
    - flag: [$Invoice, seen]
    """

    key: ClassVar[str] = "flag"
    verb: ClassVar[Literal["flag", "unflag"]] = "flag"


class Unflag(_FlagChange):
    """Clear flags; the names are as in `flag`. ::

    - unflag: $Todo
    """

    key: ClassVar[str] = "unflag"
    verb: ClassVar[Literal["flag", "unflag"]] = "unflag"


class Mark(_FlagChange):
    """Mark the message as `read`, `unread`, `flagged` or `unflagged`: other words for `flag` and `unflag`. ::

    - mark: read
    """

    key: ClassVar[str] = "mark"
    mark: Literal["read", "unread", "flagged", "unflagged"]
    value_schema: ClassVar[Mapping[str, Any]] = {"enum": ["read", "unread", "flagged", "unflagged"]}

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ActionContext) -> Self | None:
        words = ("read", "unread", "flagged", "unflagged")
        if value not in words:
            hint = did_you_mean(str(value), words)
            report.error(path, f"expected read, unread, flagged or unflagged, found {describe(value)}.{hint}")
            return None
        flag = "\\Seen" if value.endswith("read") else "\\Flagged"
        return cls(mark=str(value), flags=(Template.plain(flag),))

    def _verb(self) -> Literal["flag", "unflag"]:
        return "unflag" if self.mark.startswith("un") else "flag"
