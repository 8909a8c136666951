"""docs/json: what commands print with --json is held against its schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

SCHEMAS = {
    path.name.removesuffix(".schema.json"): json.loads(path.read_text())
    for path in sorted((Path(__file__).parents[1] / "docs" / "json").glob("*.schema.json"))
}
_REGISTRY: Registry[Any] = Registry().with_resources(
    (schema["$id"], Resource.from_contents(schema)) for schema in SCHEMAS.values()
)


def problems(name: str, value: Any) -> list[str]:
    """What is not as `docs/json/NAME.schema.json` says."""
    validator = Draft202012Validator(SCHEMAS[name], registry=_REGISTRY)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


def objects(name: str, text: str) -> list[dict[str, Any]]:
    """The JSON lines in a command's output, each of which must be as its schema says."""
    found = [json.loads(line) for line in text.splitlines()]
    for value in found:
        assert problems(name, value) == [], value
    return found
