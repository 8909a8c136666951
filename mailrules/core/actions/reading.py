"""How actions read what is written of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mailrules.core.errors import Path, Report, did_you_mean
from mailrules.core.template import Template


def check_keys(
    form: Mapping[Any, Any], known: Sequence[str], *, key: str, path: Path, report: Report
) -> None:
    """Reports each name that the action `key` does not have."""
    for name in form:
        if name not in known:
            hint = did_you_mean(str(name), known) or f" There are: {', '.join(known)}."
            report.error((*path, name), f"'{key}' has no '{name}'.{hint}", at="key")


NAMES: Mapping[str, Any] = {
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]
}
"""JSON Schema of what `read_names` reads."""


def read_names(
    value: Any,
    read: Callable[[Any, Path], Template | None],
    *,
    key: str,
    needs: str,
    path: Path,
    report: Report,
) -> tuple[Template, ...] | None:
    """One name or a list of them, each read by `read` and none twice, in any case; None after a problem.

    `needs`: what the action `key` needs, and how that is written.
    """
    values = value if isinstance(value, list) else [value]
    if value is None or not values:
        report.error(path, f"'{key}' needs {needs}.")
        return None
    names: dict[str, Template] = {}
    for index, item in enumerate(values):
        where = (*path, index) if isinstance(value, list) else path
        template = read(item, where)
        if template is None:
            continue
        if template.source.casefold() in names:
            report.error(where, f"'{item}' stands twice in '{key}'.")
            continue
        names[template.source.casefold()] = template
    return tuple(names.values()) if len(names) == len(values) else None
