"""Writes the generated parts of docs/rules.md: each condition's and action's docstring is its manual page.

`make docs` runs it; tests/test_docs.py fails while the file is not what it would write.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Mapping
from pathlib import Path

from mailrules.core import actions, conditions

RULES = Path(__file__).with_name("rules.md")


def manual(model: type) -> str:
    """The docstring as Markdown. What follows `::` at its end is an example; `---` parts examples."""
    text, _, example = inspect.cleandoc(model.__doc__ or "").partition("::\n")
    if example:
        text = f"{text.rstrip()}\n\n```yaml\n{textwrap.dedent(example).strip()}\n```"
    return text.replace("\n---\n", "\n```\n```yaml\n")


def section(table: Mapping[str, type]) -> str:
    """A heading and a manual page for each class in the table."""
    return "\n".join(f"### `{key}`\n{manual(model)}\n" for key, model in table.items())


def build(page: str) -> str:
    """The page with its generated parts written anew."""
    for name, table in (("conditions", conditions.TABLE), ("actions", actions.TABLE)):
        begin, end = f"<!-- {name}, by make docs -->\n", f"<!-- end of {name} -->"
        head, rest = page.split(begin)
        page = f"{head}{begin}{section(table)}{end}{rest.split(end)[1]}"
    return page


if __name__ == "__main__":
    RULES.write_text(build(RULES.read_text()))
