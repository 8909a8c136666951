"""Templates compiled and filled in: all that needs Jinja2, which a file without templates does not import."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jinja2
from jinja2.exceptions import TemplateError, TemplateSyntaxError

from mailrules.core import template_check as check
from mailrules.core.sandbox import BUDGET, LONGEST_OUTPUT, Budget, Environment, Limit

if TYPE_CHECKING:
    from mailrules.core.actions.base import ActionContext

_ENVIRONMENT = Environment()


class Unusable(Exception):
    """The template can't be read, or could not be filled in. `str()` says why."""


def compiled(
    source: str, context: ActionContext, *, levels: bool, url: bool
) -> tuple[check.Found, jinja2.Template | None]:
    """What is known of it, and the template; none if there are problems. Raises Unusable with a sentence."""
    try:
        tree = _ENVIRONMENT.parse(source)
        found = check.check(tree, context)
        if found.problems:
            return found, None
        if levels:
            check.fill_through(tree, "_level")
        if url:
            check.fill_through(tree, "_percent")
        return found, _ENVIRONMENT.from_string(tree)
    except TemplateSyntaxError as error:
        where = f" in its line {error.lineno}" if "\n" in source else ""
        raise Unusable(f"the template can't be read{where}: {sentence(error.message or '')}") from None
    except (RecursionError, MemoryError):
        raise Unusable("the template is nested too deep.") from None
    except (ValueError, OverflowError, SyntaxError) as error:
        raise Unusable(f"the template can't be read: {sentence(str(error))}") from None


def filled(template: jinja2.Template, values: Mapping[str, Any]) -> str:
    """Its output. Raises Unusable with a sentence."""
    pieces: list[str] = []
    length = 0
    try:
        frame = template.new_context({**values, BUDGET: Budget()})
        for piece in template.root_render_func(frame):
            pieces.append(piece)
            length += len(piece)
            if length > LONGEST_OUTPUT:
                raise Limit("its output is longer than 256 KB")
    except (TemplateError, Limit) as error:
        raise Unusable(sentence(str(error))) from None
    except (ArithmeticError, TypeError, ValueError, LookupError, RecursionError, MemoryError) as error:
        raise Unusable(sentence(f"{type(error).__name__}: {error}")) from None
    return "".join(pieces)


def sentence(text: str) -> str:
    text = " ".join(text.split())[:300].rstrip(".")
    return f"{text}."
