"""Templates: text of the file with `{{ … }}`, checked and compiled once, when the file is loaded.

A template reads only what `variables.NAMES` lists, through the environment of `sandbox`. What it reads is
known before it runs: `facts()` comes from its syntax tree, and so does whether a value from mail
(`message`, `match`) can stand in its text, which decides where the template may stand at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from mailrules.core.errors import Path, RenderError, Report
from mailrules.core.message import Fact, Message
from mailrules.core.values import describe
from mailrules.core.variables import Used, build

if TYPE_CHECKING:
    import jinja2

    from mailrules.core.actions.base import ActionContext, RenderContext

LONGEST_SOURCE = 16 * 1024
_MARKS = ("{{", "{%", "{#")


@dataclass(frozen=True)
class Template:
    """One string of the file. Two are equal if their text is.

    `tainted`: a value from mail can stand in its output. `prefix`: the literal text that surely stands
    before anything else. `literal`: there is nothing to fill in, the output is `source`.
    """

    source: str
    used: Used = field(default=Used(), compare=False)
    tainted: bool = field(default=False, compare=False)
    prefix: str = field(default="", compare=False)
    compiled: jinja2.Template | None = field(default=None, compare=False, repr=False)

    @classmethod
    def plain(cls, text: str) -> Template:
        """Text that is never a template, whatever it holds: what a script answered."""
        return cls(text, prefix=text)

    @classmethod
    def parse(
        cls,
        value: Any,
        *,
        path: Path,
        report: Report,
        context: ActionContext,
        levels: bool = False,
        url: bool = False,
    ) -> Template | None:
        """Compile a scalar of the file; problems go to the report, and then None comes back.

        `levels`: it is the name of a mailbox or directory. A value from mail then fills one level and is
        made safe. `url`: a value from mail is percent-encoded.
        """
        if not isinstance(value, str):
            report.error(path, f"expected text, found {describe(value)}.")
            return None
        source = str(value)
        if not context.templates or not any(mark in source for mark in _MARKS):
            return cls.plain(source)
        if len(source) > LONGEST_SOURCE:
            report.error(path, f"the template is longer than {LONGEST_SOURCE // 1024} KB.")
            return None
        from mailrules.core.template_compile import Unusable, compiled  # Jinja2: where it is needed

        try:
            found, template = compiled(source, context, levels=levels, url=url)
        except Unusable as error:
            report.error(path, str(error))
            return None
        if template is None:
            for problem in found.problems:
                report.error(path, problem)
            return None
        return cls(source, found.used, found.tainted, found.prefix, template)

    @property
    def literal(self) -> bool:
        return self.compiled is None

    def facts(self) -> frozenset[Fact]:
        """The facts that rendering reads."""
        return self.used.facts()

    def render(self, message: Message, context: RenderContext) -> str:
        """Fill it in. Raises RenderError, or MissingFact/UnknownFact for facts it has not got."""
        if self.compiled is None:
            return self.source
        return self._run(build(self.used, message, context))

    def _run(self, values: Mapping[str, Any]) -> str:
        from mailrules.core.template_compile import Unusable, filled

        assert self.compiled is not None
        try:
            return filled(self.compiled, values)
        except Unusable as error:
            shown = self.source if len(self.source) <= 80 else self.source[:79] + "…"
            why = f"the template '{shown}' could not be filled in: {error}"
        raise RenderError(why)

    def __str__(self) -> str:
        return self.source

    # In a model it is a string of the file.
    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.is_instance_schema(cls)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string"}
