"""How actions read what is written of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mailrules.core.errors import Path, Report
from mailrules.core.template_check import did_you_mean


def check_keys(
    form: Mapping[Any, Any], known: Sequence[str], *, key: str, path: Path, report: Report
) -> None:
    """Reports each name that the action `key` does not have."""
    for name in form:
        if name not in known:
            hint = did_you_mean(str(name), known) or f" There are: {', '.join(known)}."
            report.error((*path, name), f"'{key}' has no '{name}'.{hint}", at="key")
