"""Writes the generated part of docs/rules.md: each condition's and action's docstring is its manual page.

`make docs` runs it; tests/test_docs.py fails while the file is not what it would write.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from pydantic import BaseModel

from mailrules.core import actions, conditions

RULES = Path(__file__).with_name("rules.md")


def manual(model: type[BaseModel]) -> str:
    """The docstring as Markdown: indented blocks are YAML examples."""
    out: list[str] = []
    example: list[str] = []

    def close() -> None:
        if example:
            while not example[-1]:
                example.pop()
            out.extend(["```yaml", *example, "```", ""])
            example.clear()

    for line in inspect.cleandoc(model.__doc__ or "").splitlines():
        if line.startswith("    ") or (example and not line):
            example.append(line[4:])
        else:
            close()
            # A sentence that introduces an example ends with "::" in docstrings.
            out.append(re.sub(r"::$", ":", line))
    close()
    return "\n".join(out).strip()


def section(table: dict[str, type[BaseModel]]) -> str:
    """One heading for each class, with all the keys that lead to it."""
    keys: dict[type[BaseModel], list[str]] = {}
    for key, model in table.items():
        keys.setdefault(model, []).append(key)
    parts = []
    for model, names in keys.items():
        parts.append("### " + ", ".join(f"`{name}`" for name in names) + "\n\n" + manual(model) + "\n")
    return "\n".join(parts)


def build(text: str) -> str:
    """The page with its generated regions written anew."""
    for name, table in (("conditions", conditions.TABLE), ("actions", actions.TABLE)):
        begin, end = f"<!-- {name}: make docs -->", f"<!-- /{name} -->"
        head, _, rest = text.partition(begin)
        _, _, tail = rest.partition(end)
        text = f"{head}{begin}\n\n{section(dict(table))}\n{end}{tail}"
    return text


if __name__ == "__main__":
    RULES.write_text(build(RULES.read_text()))
