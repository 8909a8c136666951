"""core/actions/script.py: what may be run, and where mail may stand in it."""

from __future__ import annotations

from typing import Any

import pytest

from mailrules.core.actions.script import target_allowed
from mailrules.core.errors import RenderError
from mailrules.core.message import header_fact
from tests.core.actions.act import RENDER, actions, effect, message, problem


def test_short_form() -> None:
    """A list of words; the message is its input, and it has a minute."""
    assert effect({"script": ["notify", "--now"]}) == (
        "script",
        {"run": ["notify", "--now"], "input": "message", "timeout": 60.0, "env": {}, "allow": {}},
    )
    [action] = actions({"script": ["notify"]})
    assert action.once and not action.leaves and not action.needs_smtp


def test_long_form() -> None:
    """Arguments and values of the environment are rendered."""
    entry = {
        "script": {
            "run": ["./sort.py", "--from={{ message.from.address }}"],
            "input": "json",
            "timeout": "20s",
            "env": {"TEAM": "{{ vars.team }}"},
            "allow": {"move": ["Team/*"], "flag": "$A"},
        }
    }
    assert effect(entry, from_="a@b.c")[1] == {
        "run": ["./sort.py", "--from=a@b.c"],
        "input": "json",
        "timeout": 20.0,
        "env": {"TEAM": "sales"},
        "allow": {"move": ["Team/*"], "flag": ["$A"]},
        "base": "/etc/mailrules",
    }
    [action] = actions(entry)
    assert action.facts() == {header_fact("from")}


def test_target_is_what_the_file_says() -> None:
    """The same script on the same message is the same, whatever a UID or the time in its arguments."""
    [action] = actions({"script": ["x", "--", "{{ now }}", "{{ message.uid }}"]})
    assert action.render(message(), RENDER)[2] == "x -- {{ now }} {{ message.uid }}"


@pytest.mark.parametrize(
    "run",
    [
        ["x", "--", "{{ message.subject }}"],
        ["x", "--subject={{ message.subject }}"],
        ["x", "a{{ message.subject }}"],
        ["x", "{{ vars.team }}"],
        ["sh", "-c", 'echo "$1"', "--", "{{ message.subject }}"],
        ["x", "{{ received.year }}"],
    ],
)
def test_places_for_mail(run: list[str]) -> None:
    """Behind `--`, behind `--name=`, behind a word of the file."""
    assert effect({"script": run}, subject="-rf")[0] == "script"


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (["{{ message.subject }}"], "choose the program"),
        (["./{{ match.name }}"], "choose the program"),
        (["x", "{{ message.subject }}"], "choose an option"),
        (["x", "-{{ message.subject }}"], "choose an option"),
        (["x", "--{{ match.name }}"], "choose an option"),
        (["x", "{{ vars.team }}{{ match.name }}"], "choose an option"),
        (["x", "{% if 1 %}{{ match.name }}{% endif %}"], "choose an option"),
        (["sh", "-c", "echo {{ message.subject }}"], "in code"),
        (["/usr/bin/python3", "-c", "print('{{ match.name }}')"], "in code"),
        (["env", "-S", "x {{ message.subject }}"], "in code"),
    ],
)
def test_no_places_for_mail(run: list[str], words: str) -> None:
    """A program, an option or code that mail could choose is an error in the file, at its argument."""
    path, message = problem({"script": run})
    assert words in message and path[:2] == (0, "script") and "{{" in run[path[2]]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("ls -l", "no shell reads it"),
        ([], "no shell reads it"),
        (["ls -l"], "no shell splits it"),
        (["~/x"], "whole path"),
        ([""], "empty"),
        (["x", 5], "expected text"),
        (["x", "a\0"], "NUL"),
        ({"input": "json"}, "no shell reads it"),
        ({"run": ["x"], "inptu": "json"}, "Did you mean 'input'?"),
        ({"run": ["x"], "input": "xml"}, "expected one of"),
        ({"run": ["x"], "timeout": "soon"}, "not a duration"),
        ({"run": ["x"], "timeout": "2d"}, "at most 1d"),
        ({"run": ["x"], "timeout": "0s"}, "longer than nothing"),
        ({"run": ["x"], "env": ["A"]}, "names and values"),
        ({"run": ["x"], "env": {"A B": "x"}}, "not a name"),
        ({"run": ["x"], "env": {"{{ match.name }}": "x"}}, "not a name"),
        ({"run": ["x"], "env": {"MAILRULES_UID": "1"}}, "set by mailrules"),
        ({"run": ["x"], "env": {"LD_PRELOAD": "{{ message.subject }}"}}, "may not choose LD_PRELOAD"),
        ({"run": ["x"], "env": {"PATH": "{{ match.name }}"}}, "may not choose PATH"),
        ({"run": ["x"], "allow": ["move"]}, "their targets"),
        ({"run": ["x"], "allow": {"forward": ["*"]}}, "can't be allowed"),
        ({"run": ["x"], "allow": {"moev": ["*"]}}, "Did you mean 'move'?"),
        ({"run": ["x"], "allow": {"move": []}}, "list of targets"),
    ],
)
def test_mistakes(entry: Any, words: str) -> None:
    """Every mistake says what to write."""
    assert words in problem({"script": entry})[1]


def test_values_that_the_kernel_refuses() -> None:
    """An argument or value over 32 KB fails for the message, before anything is run."""
    with pytest.raises(RenderError, match="32 KB"):
        effect({"script": ["x", "--", "{{ message.subject }}"]}, subject="x" * 40_000)
    with pytest.raises(RenderError, match="A is longer"):
        effect({"script": {"run": ["x"], "env": {"A": "{{ message.subject }}"}}}, subject="x" * 40_000)


def test_targets_by_glob() -> None:
    """`*` is any run, also over levels; brackets are nothing special."""
    assert target_allowed("Team/A/B", ["Team/*"]) and not target_allowed("Teams", ["Team/*"])
    assert target_allowed("[a]", ["[a]"]) and not target_allowed("a", ["[a]"]) and not target_allowed("x", [])
