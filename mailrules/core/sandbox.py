"""The Jinja2 environment of templates: it can read what it is given, and little else.

Nothing of Python is reachable: an attribute is a dictionary's key or one of `METHODS`, filters and
tests are the ones listed here, there are no globals and no loader. What is left is bounded by a budget
of work for each rendering, because the sandbox of Jinja2 does not stop `'a' * 10**9` (RELIABILITY A2).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from types import BuiltinMethodType
from typing import Any
from urllib.parse import quote

from jinja2 import StrictUndefined, Undefined, pass_context
from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS as STOCK
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS

from mailrules.core.mailbox_name import safe_level

LONGEST_OUTPUT = 256 * 1024
WORK = 4 * 1024 * 1024
"""Characters one rendering may touch, an operation counting as 16: a few hundredths of a second."""
BUDGET = "\0budget"


class Limit(Exception):
    """A template asks for more than it may. `str()` says what."""


class Budget:
    """The work that is left for one rendering."""

    def __init__(self) -> None:
        self.left = WORK

    def charge(self, *values: Any) -> None:
        """Count one operation on these values. Raises Limit."""
        self.left -= 16 + sum(map(_weight, values))
        if self.left < 0:
            raise Limit("it takes too much work")


def _weight(value: Any) -> int:
    if isinstance(value, list | tuple):
        return len(value) + sum(map(_weight, value))
    return len(value) if isinstance(value, str) else 0


def text_of(value: Any) -> str:
    """How a value is printed: a time as RFC 3339, an address bare, a list with commas, nothing as ''."""
    if isinstance(value, str):
        return value
    if isinstance(value, Undefined):
        return str(value)  # StrictUndefined raises, and says which name
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ", ".join(text_of(item) for item in value)
    if isinstance(value, Mapping):
        return str(value.get("text", ""))
    return "" if value is None else str(value)


# -- filters ------------------------------------------------------------------------------------------
_STRFTIME = re.compile(r"(?:[^%]|%-?[aAbBdHIjmMpSuUVwWyYGzZFT%])*")


def _date(value: Any, form: str = "%Y-%m-%d") -> str:
    if isinstance(value, Undefined):
        return str(value)
    if not isinstance(value, Mapping) or "iso" not in value:
        raise Limit("the filter 'date' takes a time: received, now or message.date")
    if len(form) > 100 or not _STRFTIME.fullmatch(form):
        raise Limit(f"'{form[:100]}' is not a date format such as '%Y-%m-%d'")
    return datetime.fromisoformat(value["iso"]).strftime(form)


def _replace(value: Any, old: str, new: str) -> str:
    text, old, new = text_of(value), text_of(old), text_of(new)
    if len(text) + (text.count(old) if old else len(text) + 1) * len(new) > LONGEST_OUTPUT:
        raise Limit("its output is longer than 256 KB")
    return text.replace(old, new)


def _indent(value: Any, width: int = 4, first: bool = False) -> str:
    if not 0 <= width <= 40:
        raise Limit("indent takes a width up to 40")
    lines = text_of(value).split("\n")
    pad = " " * width
    return "\n".join(pad + line if line and (first or n) else line for n, line in enumerate(lines))


def _truncate(value: Any, length: int = 255, end: str = "…") -> str:
    text = text_of(value)
    return text if len(text) <= length else text[: max(0, length - len(end))] + end


def _join(value: Any, separator: str = "", attribute: str | None = None) -> str:
    if isinstance(value, Undefined):
        return str(value)
    items = _map(value, attribute) if attribute else value
    if len(separator) * len(items) > LONGEST_OUTPUT:
        raise Limit("its output is longer than 256 KB")
    return separator.join(text_of(item) for item in items)


def _map(value: Any, attribute: str) -> list[Any]:
    if not isinstance(value, list | tuple) or any(not isinstance(item, Mapping) for item in value):
        raise Limit("the filter 'map' takes a list such as message.to, and attribute='address'")
    return [item[attribute] for item in value]


def _concat(value: list[Any]) -> str:
    return "".join(text_of(item) for item in value)


def _level(value: Any) -> str:
    level = safe_level(text_of(value))
    if not level:
        raise Limit("a value from the message that would name a mailbox or directory is empty")
    return level


def _in_url(value: Any) -> str:
    """One value in a path or query: nothing in it begins another."""
    return quote(text_of(value), safe="", errors="replace")


def _format(value: str, *arguments: Any) -> str:
    return text_of(_percent(text_of(value), arguments))


def _items(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _unique(value: Any) -> list[Any]:
    found: dict[str, Any] = {}
    for item in _items(value):
        found.setdefault(text_of(item).casefold(), item)
    return list(found.values())


def _sort(value: Any) -> list[Any]:
    return sorted(_items(value), key=lambda item: text_of(item).casefold())


def _default(value: Any, otherwise: Any = "", boolean: bool = False) -> Any:
    return otherwise if isinstance(value, Undefined) or (boolean and not value) else value


def _on_text(function: Callable[[str], str]) -> Callable[[Any], str]:
    return lambda value: function(text_of(value))


FILTERS: dict[str, Callable[..., Any]] = {
    "date": _date, "default": _default, "d": _default, "replace": _replace, "indent": _indent,
    "truncate": _truncate, "join": _join, "map": _map, "format": _format, "unique": _unique, "sort": _sort,
    "lower": _on_text(str.lower), "upper": _on_text(str.upper), "title": _on_text(str.title),
    "capitalize": _on_text(str.capitalize), "trim": _on_text(str.strip), "string": text_of,
    "first": lambda value: value[0], "last": lambda value: value[-1],
    "length": len, "count": len, "list": _items,
    "int": STOCK["int"], "abs": STOCK["abs"], "filesizeformat": STOCK["filesizeformat"],
    "urlencode": STOCK["urlencode"],
}  # fmt: skip
TEST_NAMES = (
    "defined", "undefined", "none", "string", "number", "in", "eq", "equalto", "ne", "gt", "ge", "lt", "le",
    "odd", "even",
)  # fmt: skip
METHODS = (
    "lower", "upper", "title", "capitalize", "strip", "lstrip", "rstrip", "startswith", "endswith",
    "removeprefix", "removesuffix", "split", "replace", "count", "find", "isdigit",
)  # fmt: skip
"""Methods of text that a template may call."""


# -- operators ----------------------------------------------------------------------------------------
_DIRECTIVE = re.compile(r"%(?:\((\w*)\))?[-+ #0]*(\*|\d*)(?:\.(\*|\d*))?[a-zA-Z%]?")


def _percent(left: Any, right: Any) -> Any:
    if isinstance(left, str):
        for directive in _DIRECTIVE.finditer(left):
            if any(width == "*" or len(width or "") > 2 for width in (directive[2], directive[3])):
                raise Limit("'%' with a width over 99")
        arguments = right if isinstance(right, tuple) else (right,)
        return left % tuple(a if isinstance(a, int) else text_of(a) for a in arguments)
    return operator.mod(left, right)


def _number(value: Any) -> int | float:
    if not isinstance(value, int | float) or (isinstance(value, int) and value.bit_length() > 64):
        raise Limit("arithmetic is for numbers")
    return value


def _plus(left: Any, right: Any) -> Any:
    if isinstance(left, str) and isinstance(right, str):
        return left + right
    return _number(left) + _number(right)


_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "+": _plus,
    "-": lambda a, b: _number(a) - _number(b),
    "*": lambda a, b: _number(a) * _number(b),
    "/": lambda a, b: _number(a) / _number(b),
    "//": lambda a, b: _number(a) // _number(b),
    "%": _percent,
}


class Environment(ImmutableSandboxedEnvironment):
    """The one environment of all templates. It has no state of its own."""

    intercepted_binops = frozenset(_BINARY)

    def __init__(self) -> None:
        # A finalize that takes the context also keeps the compiler from folding constants.
        super().__init__(
            undefined=StrictUndefined, finalize=finalize, autoescape=False, optimized=False,
            keep_trailing_newline=True, cache_size=0,
        )  # fmt: skip
        self.globals = {}
        self.filters = {name: _charged(function) for name, function in FILTERS.items()}
        self.filters |= {
            "_concat": _charged(_concat), "_level": _charged(_level), "_percent": _charged(_in_url),
        }  # fmt: skip
        self.tests = {name: TESTS[name] for name in TEST_NAMES}

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Undefined):
            return obj  # so that `default` reaches what stands under an undefined name
        if isinstance(obj, Mapping):
            return obj[attribute] if attribute in obj else self.undefined(obj=obj, name=attribute)
        if isinstance(obj, str) and attribute in METHODS:
            return getattr(obj, attribute)
        if isinstance(obj, LoopContext) and attribute in ("index", "index0", "first", "last"):
            return getattr(obj, attribute)
        return self.undefined(obj=obj, name=attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, str | list | tuple) and isinstance(argument, int | slice):
            try:
                return obj[argument]
            except IndexError:
                return self.undefined(f"there is no number {argument}")
        return self.getattr(obj, argument) if isinstance(argument, str) else self.undefined(obj=obj)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(__obj, Undefined):
            return str(__obj)  # raises
        text = __obj.__self__ if isinstance(__obj, BuiltinMethodType) else None
        if not isinstance(text, str) or __obj.__name__ not in METHODS or kwargs:
            raise SecurityError("only methods of text can be called")
        __context[BUDGET].charge(text, *args)
        return _replace(text, *args) if __obj.__name__ == "replace" else __obj(*args)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        for side in (left, right):
            if isinstance(side, Undefined):
                return str(side)
        context[BUDGET].charge(left, right)
        return _BINARY[operator](left, right)


@pass_context
def finalize(context: Context, value: Any) -> str:
    """What stands in the output for a value."""
    text = text_of(value)
    context[BUDGET].charge(text)
    return text


def _charged(function: Callable[..., Any]) -> Callable[..., Any]:
    @pass_context
    def counted(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        context[BUDGET].charge(value, *args)
        if isinstance(value, Undefined) and function is not _default:
            return str(value)
        return function(value, *args, **kwargs)

    return counted
