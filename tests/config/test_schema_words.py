"""mailrules.config.schema_words: an editor has something to say of every word of the file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mailrules.config.schema import file_schema
from mailrules.config.schema_words import markdown


def properties(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property anywhere in a schema, by its path."""
    if isinstance(schema, list):
        for item in schema:
            yield from properties(item, path)
    elif isinstance(schema, dict):
        for key, value in schema.items():
            if key == "properties":
                for name, entry in value.items():
                    yield f"{path}/{name}", entry
                    yield from properties(entry, f"{path}/{name}")
            elif key == "$defs":
                for name, entry in value.items():
                    yield from properties(entry, f"{path}/{name}")
            else:
                yield from properties(value, path)


def test_every_word_has_its_words() -> None:
    """A property without a description needs a line in WORDS (or a description where it is made)."""
    found = dict(properties(file_schema()))
    assert len(found) > 150
    assert not [path for path, entry in found.items() if len(entry.get("description", "")) < 5]
    assert not [path for path, entry in found.items() if not entry.get("markdownDescription")]


def test_examples_are_yaml_in_markdown() -> None:
    """What follows a manual's last colon is fenced; words alone stay as they are."""
    assert markdown("One word.") == "One word."
    text = "Moves it.\n\nLike this:\n\n    then:\n      - move: A\n---\n    then: [trash]\n"
    assert markdown(text) == ("Moves it.\n\nLike this:\n\n```yaml\nthen:\n  - move: A\nthen: [trash]\n```")


def test_conditions_show_their_example() -> None:
    """As VS Code shows it."""
    shown = file_schema()["$defs"]["condition"]["properties"]["from"]["markdownDescription"]
    assert shown.count("```yaml") == 3
    assert "---" not in shown
    moved = file_schema()["$defs"]["action"]["anyOf"][-1]["properties"]["move"]["markdownDescription"]
    assert moved.endswith("\n```")
    assert "```yaml\n" in moved
