"""Templates: text of the file with `{{ … }}`, checked and compiled once, when the file is loaded.

A template reads only what `variables.NAMES` lists, through the environment of `sandbox`. What it reads is
known before it runs: `facts()` comes from its syntax tree, and so does whether a value from mail
(`message`, `match`) can stand in its text, which decides where the template may stand at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jinja2
from jinja2.exceptions import TemplateError, TemplateSyntaxError
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from mailrules.core import template_check as check
from mailrules.core.errors import Path, RenderError, Report
from mailrules.core.message import Fact, Message
from mailrules.core.sandbox import BUDGET, LONGEST_OUTPUT, Budget, Environment, Limit
from mailrules.core.values import describe
from mailrules.core.variables import Used, build

if TYPE_CHECKING:
    from mailrules.core.actions.base import ActionContext, RenderContext

LONGEST_SOURCE = 16 * 1024
_MARKS = ("{{", "{%", "{#")
_ENVIRONMENT = Environment()


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
        try:
            tree = _ENVIRONMENT.parse(source)
            found = check.check(tree, context)
            if found.problems:
                for problem in found.problems:
                    report.error(path, problem)
                return None
            if levels:
                check.fill_through(tree, "_level")
            if url:
                check.fill_through(tree, "_percent")
            compiled = _ENVIRONMENT.from_string(tree)
        except TemplateSyntaxError as error:
            where = f" in its line {error.lineno}" if "\n" in source else ""
            report.error(path, f"the template can't be read{where}: {_sentence(error.message or '')}")
            return None
        except (RecursionError, MemoryError):
            report.error(path, "the template is nested too deep.")
            return None
        except (ValueError, OverflowError, SyntaxError) as error:
            report.error(path, f"the template can't be read: {_sentence(str(error))}")
            return None
        return cls(source, found.used, found.tainted, found.prefix, compiled)

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
        assert self.compiled is not None
        pieces: list[str] = []
        length = 0
        try:
            frame = self.compiled.new_context({**values, BUDGET: Budget()})
            for piece in self.compiled.root_render_func(frame):
                pieces.append(piece)
                length += len(piece)
                if length > LONGEST_OUTPUT:
                    raise Limit("its output is longer than 256 KB")
        except (TemplateError, Limit) as error:
            raise self._failed(str(error)) from None
        except (ArithmeticError, TypeError, ValueError, LookupError, RecursionError, MemoryError) as error:
            raise self._failed(f"{type(error).__name__}: {error}") from None
        return "".join(pieces)

    def _failed(self, why: str) -> RenderError:
        shown = self.source if len(self.source) <= 80 else self.source[:79] + "…"
        return RenderError(f"the template '{shown}' could not be filled in: {_sentence(why)}")

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


def _sentence(text: str) -> str:
    text = " ".join(text.split())[:300].rstrip(".")
    return f"{text}."
