"""mailrules.config.schema: editors accept what mailrules accepts, and show the manual."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from mailrules.cli.app import main
from mailrules.config.schema import file_schema
from mailrules.core.actions import TABLE as ACTIONS
from mailrules.core.conditions import TABLE as CONDITIONS

ROOT = Path(__file__).parents[2]


class EditorLoader(yaml.SafeLoader):
    """YAML as editors resolve it: 1.2's core schema, which has no dates and knows only true and false."""


EditorLoader.yaml_implicit_resolvers = {
    first: [(tag, expression) for tag, expression in resolvers if not tag.endswith((":timestamp", ":bool"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
EditorLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", __import__("re").compile(r"^(?:true|false)$"), list("tf")
)


def problems(text: str) -> list[str]:
    validator = jsonschema.Draft202012Validator(file_schema())
    data = yaml.load(text, Loader=EditorLoader)
    return [error.json_path for error in validator.iter_errors(data)]


def test_schema_is_a_schema() -> None:
    """What is printed is valid JSON Schema."""
    jsonschema.Draft202012Validator.check_schema(file_schema())


def test_example_is_valid() -> None:
    """rules.example.yaml is valid."""
    assert problems((ROOT / "rules.example.yaml").read_text()) == []


def test_example_names_everything() -> None:
    """rules.example.yaml has every condition and every action."""
    found: set[str] = set()

    def walk(data: Any) -> None:
        if isinstance(data, dict):
            found.update(data)
            for value in data.values():
                walk(value)
        elif isinstance(data, list):
            found.update(item for item in data if isinstance(item, str))
            for item in data:
                walk(item)

    rules = yaml.load((ROOT / "rules.example.yaml").read_text(), Loader=yaml.BaseLoader)["rules"]
    walk(rules)
    found |= {"always"} if any(rule["when"] == "always" for rule in rules) else set()
    assert set(CONDITIONS) | set(ACTIONS) <= found


@pytest.mark.parametrize("key", [key for key in CONDITIONS if key != "always"])
def test_every_condition_has_its_manual(key: str) -> None:
    """An editor shows a condition's manual, and knows what may stand there."""
    shown = file_schema()["$defs"]["condition"]["properties"][key]
    assert len(shown["description"]) > 20
    assert len(shown) > 1


@pytest.mark.parametrize("key", list(ACTIONS))
def test_every_action_has_its_manual(key: str) -> None:
    """An editor shows an action's manual."""
    assert key in json.dumps(file_schema()["$defs"]["action"])


@pytest.mark.parametrize(
    "text",
    [
        "rules: [{name: a, when: {frm: x}, then: [keep]}]",
        "rules: [{name: a, when: {subject: {contians: x}}, then: [keep]}]",
        "rules: [{name: a, when: always, then: [{movee: x}]}]",
        "rules: [{name: a, when: always, then: [{move: x, flag: y}]}]",
        "rules: [{when: always, then: [keep]}]",
        "rules: [{name: a, when: {}, then: [keep]}]",
        "accounts: {a: {hots: b}}",
        "accounts: {a: {password: hunter2}}",
        "accounts: {a: {password: {env: A, file: b}}}",
        "settings: {dry_run: perhaps}",
        "acounts: {}",
    ],
)
def test_mistakes_are_marked(text: str) -> None:
    """Unknown words and wrong types are marked in the editor."""
    assert problems(text)


@pytest.mark.parametrize(
    "text",
    [
        "rules: [{name: NO, when: {subject: 1.10}, then: [{move: 2026}]}]",
        "rules: [{name: a, when: [{from: x@y.example}, {larger_than: 5 MB}], then: [{flag: [a, seen]}]}]",
        "rules: [{name: a, when: {from: {domain: {is: a.example}}}, stop: true}]",
        "accounts: {a: {provider: gmail, username: 1, password: {command: [a, b]}, smtp: ~}}",
    ],
)
def test_what_is_right_is_not_marked(text: str) -> None:
    """Text that looks like a number or a truth value is fine where text is expected."""
    assert problems(text) == []


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    """`mailrules schema` prints it."""
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == file_schema()
    assert main(["schema", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == file_schema()
