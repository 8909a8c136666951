"""Handing a message to a program of the user's: script. How it runs: `adapters/command.py`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Literal, Self

from mailrules.core.actions.base import Action, ActionContext, RenderContext
from mailrules.core.actions.reading import check_keys
from mailrules.core.calling import INPUTS, LONGEST_RUN, read_timeout, read_variables
from mailrules.core.errors import Path, RenderError, Report, did_you_mean
from mailrules.core.message import Fact, Message
from mailrules.core.template import Template
from mailrules.core.values import describe

ALLOWABLE = ("move", "copy", "flag", "unflag", "label", "assign", "log")
LONGEST_ARGUMENT = 32 * 1024
_KEYS = ("run", "input", "timeout", "env", "allow")
_ENV_POWER = re.compile(r"PATH|IFS|ENV|BASH_ENV|SHELLOPTS|HOME|(LD|DYLD|PYTHON|PERL|RUBY|NODE|GIT)_?\w*")
_INTERPRETER = re.compile(r"(ba|da|z|k|c|tc|a|fi)?sh|python[\d.]*|perl|ruby|node|php|lua[\d.]*|g?awk|env")
_CODE = ("-c", "-e", "-E", "-r", "--eval", "-S")


class Script(Action):
    """Run a program on the message. No shell: a list of the program and its arguments. Exit status 0 is
    done, 75 is "try later", anything else failed. It runs once per message and rule, ever.

    The message is its standard input (`input: message`, `headers`, `json` or `none`). It has 60 seconds
    (`timeout`). Variables `MAILRULES_ACCOUNT`, `_MAILBOX`, `_UID`, `_RULE`, `_MESSAGE_ID` and
    `_EFFECT_KEY` are set, and those under `env`. Scripts of different messages may run at the same time.
    With `allow` it may answer with more effects, one JSON object a line: `{"move": "Team/A"}`. ::

        - script: [./notify.sh, --, "{{ message.subject }}"]
        - script:
            run: [./sort.py, "--from={{ message.from.address }}"]
            input: headers
            timeout: 20s
            env: {TEAM: "{{ vars.team }}"}
            allow: {move: ["Team/*"], flag: ["$A"]}
    """

    key: ClassVar[str] = "script"
    once: ClassVar[bool] = True
    run: tuple[Template, ...]
    input: Literal["message", "headers", "json", "none"] = "message"
    timeout: float = 60.0
    env: Mapping[str, Template] = {}
    allow: Mapping[str, tuple[str, ...]] = {}
    base: str = ""
    """Directory that a relative program stands under."""
    value_schema: ClassVar[Mapping[str, Any]] = {
        "anyOf": [
            {"type": "array", "items": {"type": "string"}, "minItems": 1},
            {
                "type": "object",
                "properties": {
                    "run": {"type": "array", "items": {"type": "string"}, "minItems": 1},
                    "input": {"enum": list(INPUTS)},
                    "timeout": {"type": "string"},
                    "env": {
                        "type": "object",
                        "additionalProperties": {"type": ["string", "number", "boolean"]},
                    },
                    "allow": {
                        "type": "object",
                        "properties": {
                            name: {"type": "array", "items": {"type": "string"}} for name in ALLOWABLE
                        },
                        "additionalProperties": False,
                    },
                },
                "required": ["run"],
                "additionalProperties": False,
            },
        ]
    }

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ActionContext) -> Self | None:
        before = len(report.problems)
        form = value if isinstance(value, dict) else {"run": value}
        check_keys(form, _KEYS, key=cls.key, path=path, report=report)
        where = (*path, "run") if isinstance(value, dict) and "run" in form else path
        run = _argv(form.get("run"), path=where, report=report, context=context)
        given = form.get("input", "message")
        if given not in INPUTS:
            report.error((*path, "input"), f"expected one of {', '.join(INPUTS)}, found {describe(given)}.")
        timeout = read_timeout(form, default="60s", longest=LONGEST_RUN, path=path, report=report)
        env = _env(form.get("env", {}), path=(*path, "env"), report=report, context=context)
        allow = _allow(form.get("allow", {}), path=(*path, "allow"), report=report)
        if any(p.severity == "error" for p in report.problems[before:]):
            return None
        relative = "/" in run[0].source and not run[0].source.startswith("/")
        return cls(
            run=run, input=given, timeout=timeout, env=env, allow=allow,
            base=context.base_dir if relative else "",
        )  # fmt: skip

    def facts(self) -> frozenset[Fact]:
        return frozenset().union(*(t.facts() for t in (*self.run, *self.env.values())))

    def render(self, message: Message, context: RenderContext) -> tuple[str, dict[str, Any], str]:
        run = [_argument(t.render(message, context), of="an argument") for t in self.run]
        if not run[0]:
            raise RenderError("'script': the name of the program is empty.")
        arguments: dict[str, Any] = {
            "run": run,
            "input": self.input,
            "timeout": self.timeout,
            "env": {n: _argument(t.render(message, context), of=n) for n, t in self.env.items()},
            "allow": {name: list(targets) for name, targets in self.allow.items()},
        }
        if self.base:
            arguments["base"] = self.base
        # The text of the file, not what was filled in: a UID or "now" in an argument is no new script.
        return self.key, arguments, " ".join(t.source for t in self.run)

    def conflicts_with(self, other: Action) -> str | None:
        if isinstance(other, Script) and other.run == self.run:
            return "the same 'script' stands twice in one rule."
        return None


def _argument(text: str, *, of: str) -> str:
    """A value as the kernel takes it. Raises RenderError."""
    if len(text.encode("utf-8", "replace")) > LONGEST_ARGUMENT:
        raise RenderError(f"'script': {of} is longer than 32 KB. Use `input` for what is long.")
    if "\0" in text:
        raise RenderError(f"'script': {of} has a NUL character.")
    return text


def _argv(value: Any, *, path: Path, report: Report, context: ActionContext) -> tuple[Template, ...]:
    if not isinstance(value, list) or not value:
        report.error(
            path,
            f"expected a list, such as [./notify.sh, --quiet]: no shell reads it. Found {describe(value)}.",
        )
        return ()
    found: list[Template] = []
    ended = False  # a literal `--` ends the options
    for index, item in enumerate(value):
        where = (*path, index)
        template = Template.parse(item, path=where, report=report, context=context)
        if template is None:
            continue
        if template.literal and "\0" in template.source:
            report.error(where, "an argument can't have a NUL character.")
        problem = _program(template) if index == 0 else _placed(template, found, ended=ended)
        if problem:
            report.error(where, problem)
        ended |= index > 0 and template.literal and template.source == "--"
        found.append(template)
    return tuple(found)


def _program(template: Template) -> str | None:
    if template.tainted:
        return "mail may not choose the program: no value from the message or from a match can stand here."
    if not template.source.strip():
        return "the name of the program is empty."
    if template.source.startswith("~"):
        return "'~' is not expanded: no shell reads it. Write the whole path."
    if template.literal and " " in template.source and "/" not in template.source:
        return (
            f"'{template.source}' is one word: no shell splits it. Write each argument as an item of its own."
        )
    return None


def _placed(template: Template, before: Sequence[Template], *, ended: bool) -> str | None:
    """Why a value from mail may not stand in this argument."""
    if not template.tainted:
        return None
    program = before[0].source.rpartition("/")[2] if before else ""
    if before and before[-1].source in _CODE and _INTERPRETER.fullmatch(program):
        return (
            f"mail may not stand in code: '{program} {before[-1].source}' would run what the message says."
            " Pass the value as an argument of its own, after '--'."
        )
    prefix = template.prefix
    if ended or (prefix and not prefix.startswith("-")) or (prefix.startswith("-") and "=" in prefix):
        return None
    return (
        "mail may not choose an option: a value from the message or from a match that begins an argument"
        " could begin with '-'. Put an item '--' before it, or write it as '--name={{ … }}'."
    )


def _env(value: Any, *, path: Path, report: Report, context: ActionContext) -> dict[str, Template]:
    found = {}
    for name, item, where in read_variables(value, path=path, report=report):
        template = Template.parse(item, path=where, report=report, context=context)
        if template is None:
            continue
        if template.tainted and _ENV_POWER.fullmatch(name):
            report.error(where, f"mail may not choose {name}: it decides which programs and code are run.")
        found[name] = template
    return found


def _allow(value: Any, *, path: Path, report: Report) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, dict):
        report.error(
            path,
            f'expected actions and their targets, such as {{move: ["Team/*"]}}, found {describe(value)}.',
        )
        return {}
    found = {}
    for name, targets in value.items():
        where = (*path, name)
        if name not in ALLOWABLE:
            hint = did_you_mean(str(name), ALLOWABLE) or f" There are: {', '.join(ALLOWABLE)}."
            report.error(where, f"a script can't be allowed '{name}'.{hint}", at="key")
            continue
        listed = targets if isinstance(targets, list) else [targets]
        if not listed or not all(isinstance(t, str) and t for t in listed):
            report.error(where, f'expected a list of targets, such as ["Team/*"], found {describe(targets)}.')
            continue
        found[str(name)] = tuple(str(t) for t in listed)
    return found


def target_allowed(target: str, patterns: Sequence[str]) -> bool:
    """Whether `allow` names the target: literally or by a glob (`*` is any run, `/` included)."""
    return any(fnmatchcase(target, pattern.replace("[", "[[]")) for pattern in patterns)
