"""What people read is true: commands exist, YAML loads, every condition and action has its page."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from mailrules import config
from mailrules.cli.app import COMMANDS, build
from mailrules.core import actions, conditions
from mailrules.explaining import testing

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLE = ROOT / "rules.example.yaml"

ACCOUNT = """\
accounts:
  work:
    host: imap.example.org
    username: me@example.org
    password: {env: WORK_PASSWORD}
    smtp: {host: smtp.example.org}
    trusted_authserv: [mx.example.org]
    vars: {team: sales}
"""
LISTS = "lists: {vip: [alice@example.com], blocked: [spam.example]}\n"


def blocks(*languages: str) -> Iterator[Any]:
    """Fenced blocks of every page, as pytest parameters named page:line."""
    for page in PAGES:
        text = page.read_text()
        for match in re.finditer(r"(?ms)^```(\w*)\n(.*?)^```", text):
            if match[1] in languages:
                line = text.count("\n", 0, match.start()) + 1
                yield pytest.param(match[2], id=f"{page.relative_to(ROOT)}:{line}")


def command_lines() -> Iterator[Any]:
    """Each `mailrules …` in console blocks, and in inline code, as pytest parameters."""
    for page in PAGES:
        for number, line in enumerate(page.read_text().splitlines(), 1):
            found = re.findall(r"`(mailrules [a-z][^`]*)`", line)
            if shown := re.match(r"[$#] (?:\S+=\S+ )*(?:\S*/)?(mailrules .*)", line):
                found.append(shown[1])
            for command in found:
                command = re.split(r" [|>#&] ?", command)[0].strip()
                yield pytest.param(command, id=f"{page.relative_to(ROOT)}:{number} {command}")


@pytest.mark.parametrize("command", list(command_lines()))
def test_command_exists(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that is shown parses: the command is there, and takes these options and arguments."""
    monkeypatch.chdir(tmp_path)
    words = ["4711" if word == "ID" else word for word in shlex.split(command)[1:] if word != "…"]
    for word in words:
        if re.fullmatch(r"[\w./-]+\.(eml|yaml)", word):
            Path(word).parent.mkdir(parents=True, exist_ok=True)
            Path(word).touch()
    group = build()
    if words[0].startswith("-"):
        assert words[0] in {option for parameter in group.params for option in parameter.opts} | {"--help"}
        return
    context = group.make_context("mailrules", list(words))
    name, found, rest = group.resolve_command(context, words)
    assert found is not None
    if "--help" not in rest and len(words) > 1:
        found.make_context(name, rest, parent=context)


def in_context(text: str) -> str:
    """A fragment as a whole file: an account alone, a rule, conditions, actions."""
    data = yaml.safe_load(text)

    def under(*heads: str) -> str:
        indent = "  " * len(heads)
        return "".join("  " * i + h + "\n" for i, h in enumerate(heads)) + re.sub(r"(?m)^(?=.)", indent, text)

    rule = "rules:\n  - name: example\n"
    if isinstance(data, list) and all(isinstance(item, dict) and "name" in item for item in data):
        return ACCOUNT + LISTS + under("rules:")
    if isinstance(data, list):
        groups = "".join(f"(?P<{name}>.)" for name in sorted(set(re.findall(r"match\.(\w+)", text))))
        when: Any = {"subject": {"regex": groups}} if groups else "always"
        rules = [{"name": f"{n}", "when": when, "then": [action]} for n, action in enumerate(data)]
        return ACCOUNT + LISTS + yaml.safe_dump({"rules": rules})
    keys = set(data)
    if keys & {"rules", "accounts", "defaults", "settings", "tests", "lists", "include"}:
        whole = text if "accounts" in keys else ACCOUNT + text
        whole = whole if "lists" in keys else LISTS + whole
        return whole if "rules" in keys else whole + rule + "    when: always\n    then: [keep]\n"
    if "then" in keys or "when" in keys or "unless" in keys:
        body = text
        if not keys & {"when"}:
            body = "when: always\n" + body
        if not keys & {"then", "stop"}:
            body += "then: [keep]\n"
        return ACCOUNT + LISTS + rule + re.sub(r"(?m)^(?=.)", "    ", body)
    body = "when:\n" + re.sub(r"(?m)^(?=.)", "  ", text) + "then: [keep]\n"
    return ACCOUNT + LISTS + rule + re.sub(r"(?m)^(?=.)", "    ", body)


@pytest.mark.parametrize("text", list(blocks("yaml")))
def test_yaml_loads(text: str) -> None:
    """A YAML block, alone or put where it belongs, is a configuration without an error."""
    config.parse(in_context(text), "example.yaml")


def test_example_file_passes_its_own_tests() -> None:
    """What rules.example.yaml expects of its rules is so."""
    found = config.load(EXAMPLE, environ={})
    assert found.tests
    assert [result.test.name for result in testing.run(found, found.tests) if not result.passed] == []


def test_example_file_is_whole() -> None:
    """rules.example.yaml loads, and names every condition and every action."""
    config.load(EXAMPLE, environ={})
    text = EXAMPLE.read_text()
    words = set(re.findall(r"[a-z_]+", re.sub(r"#.*", "", text)))
    assert not set(conditions.TABLE) - words
    assert not set(actions.TABLE) - words


@pytest.mark.parametrize("table", [conditions.TABLE, actions.TABLE], ids=["conditions", "actions"])
def test_everything_has_a_page_and_a_test(table: dict[str, type]) -> None:
    """Each class in the tables has a manual of its own and a test file named like its module."""
    for key, model in table.items():
        assert "__doc__" in vars(model) and len(model.__doc__ or "") > 40, f"{key} has no manual"
        *_, package, family = model.__module__.split(".")
        assert (ROOT / "tests" / "core" / package / f"test_{family}.py").exists(), f"{key} has no test file"


def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_build", ROOT / "docs" / "build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_rules_page_is_up_to_date() -> None:
    """docs/rules.md says what the docstrings say (`make docs`)."""
    page = builder()
    assert page.RULES.read_text() == page.build(page.RULES.read_text())


def test_architecture_shows_every_room() -> None:
    """docs/architecture.md names every module outside the tables' families, and none that is not there."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    tree = page[page.index("## Rooms") : page.index("## A condition")]
    package = ROOT / "mailrules"
    named = set(re.findall(r"\b(\w+)\.py\b", tree))
    families = tuple(re.findall(r"\b(\w+_)\*\.py\b", tree))
    rooms = ("", "adapters", "adapters/imap", "adapters/store", "core")
    for folder in (package / room for room in rooms):
        modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "__main__"}
        missing = [name for name in modules - named if not (families and name.startswith(families))]
        assert not missing, f"not in docs/architecture.md: {missing}"
    assert not named - {path.stem for path in package.rglob("*.py")} - {"test_layers", "test_docs"}


def test_commands_are_in_the_readme() -> None:
    """Every command of the program is shown in the README or in docs."""
    text = "\n".join(page.read_text() for page in PAGES)
    assert not [name for name in COMMANDS if f"mailrules {name}" not in text]
