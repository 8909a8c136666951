"""Conditions on attachments: has_attachment, attachment. A message attached as such counts as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from mailrules.core.conditions.base import Condition, ParseContext
from mailrules.core.conditions.reading import as_written, read_bool, read_keys, read_text_test
from mailrules.core.conditions.size import read_size
from mailrules.core.errors import Path, Report
from mailrules.core.message import STRUCTURE, Fact, Message
from mailrules.core.mime import Part, attachments
from mailrules.core.text import Text, TextTest


@dataclass(frozen=True, slots=True)
class Attached:
    """One attachment in the forms that tests compare. `size`: about the octets of the decoded file."""

    name: tuple[Text, ...]
    type: tuple[Text, ...]
    size: int

    @classmethod
    def of(cls, part: Part) -> Attached:
        name = (Text(part.filename),) if part.filename else ()
        return cls(name=name, type=(Text(part.content_type),), size=part.decoded_size)


def attached(message: Message) -> tuple[Attached, ...]:
    """The message's attachments in order."""
    parts: tuple[Part, ...] = message.get(STRUCTURE)
    memo = message.memo
    found = memo.get("attached")
    if found is None:
        found = memo["attached"] = tuple([Attached.of(part) for part in attachments(parts)])
    return found


def _shown(message: Message) -> list[str]:
    return [file.name[0].plain if file.name else file.type[0].plain for file in attached(message)]


class HasAttachment(Condition):
    """A part with a file name or `attachment` disposition; images shown within the text do not count.

    ```yaml
    when: {has_attachment: true}
    ```
    """

    lasting: ClassVar[bool] = True
    key: ClassVar[str] = "has_attachment"
    cost: ClassVar[Literal["header", "server", "body", "script"]] = "server"
    wanted: bool

    def matches(self, message: Message) -> bool:
        return bool(attached(message)) is self.wanted

    def value(self, message: Message) -> Any:
        return _shown(message)

    def facts(self) -> frozenset[Fact]:
        return frozenset([STRUCTURE])

    def argument(self) -> Any:
        return self.wanted

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ParseContext) -> Self | None:
        if isinstance(value, dict | list):
            report.error(path, "has_attachment takes true or false. Names and types go under 'attachment'.")
            return None
        wanted = read_bool(value, path, report, what=cls.key)
        return None if wanted is None else cls(wanted=wanted)


class Attachment(Condition):
    """Some attachment fits. A scalar is a glob over its name.

    ```yaml
    when:
      attachment: ["*.pdf", "*.xlsx"]
    ---
    when:
      attachment: {name: "invoice*", type: application/pdf, larger_than: 1 MB}
    ```
    All keys of a mapping hold of the same attachment. Sizes are those of the decoded file, as near as
    the server's structure tells.
    """

    lasting: ClassVar[bool] = True
    key: ClassVar[str] = "attachment"
    cost: ClassVar[Literal["header", "server", "body", "script"]] = "server"
    name: TextTest | None = None
    type: TextTest | None = None
    larger_than: int | None = None
    smaller_than: int | None = None
    written: Any = None

    def matches(self, message: Message) -> bool:
        return any(self._fits(file) for file in attached(message))

    def _fits(self, file: Attached) -> bool:
        return (
            (self.name is None or self.name.any_holds(file.name))
            and (self.type is None or self.type.any_holds(file.type))
            and (self.larger_than is None or file.size > self.larger_than)
            and (self.smaller_than is None or file.size < self.smaller_than)
        )

    def value(self, message: Message) -> Any:
        return _shown(message)

    def groups(self, message: Message) -> dict[str, str]:
        for file in attached(message):
            if self._fits(file):
                kind = self.type.groups(file.type) if self.type is not None else {}
                return kind | (self.name.groups(file.name) if self.name is not None else {})
        return {}

    def group_names(self) -> dict[str, bool]:
        names: dict[str, bool] = {}
        for test in (self.name, self.type):
            for group, optional in (test.group_names() if test is not None else {}).items():
                names[group] = names.get(group, True) and optional
        return names

    def facts(self) -> frozenset[Fact]:
        return frozenset([STRUCTURE])

    def argument(self) -> Any:
        return self.written

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ParseContext) -> Self | None:
        if not isinstance(value, dict):
            data: dict[str, Any] = {"name": value}
            name_path = path
        elif set(value) == {"in"}:
            data = {"name": value}
            name_path = path
        else:
            keys = read_keys(
                value, ("name", "type", "larger_than", "smaller_than"), path, report, what=cls.key
            )
            if keys is None:
                return None
            data, name_path = keys, (*path, "name")
        before = len(report.problems)
        tests = {
            key: read_text_test(
                data[key],
                default="glob",
                path=name_path if key == "name" else (*path, key),
                report=report,
                context=context,
                what=cls.key if name_path == path else f"{cls.key} {key}",
            )
            for key in ("name", "type")
            if key in data
        }
        sizes = {
            key: read_size(data[key], (*path, key), report, what=key)
            for key in ("larger_than", "smaller_than")
            if key in data
        }
        if len(report.problems) > before:
            return None
        return cls(
            name=tests.get("name"),
            type=tests.get("type"),
            larger_than=sizes.get("larger_than"),
            smaller_than=sizes.get("smaller_than"),
            written=as_written(value),
        )
