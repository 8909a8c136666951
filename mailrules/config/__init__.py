"""The configuration: finding the file, reading it whole, every error with its place, or a Config.

No network and no passwords here: a Config says where a password is kept, and is the same on every machine.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, Literal

from mailrules.config.accounts import Account, Accounts, apply_defaults
from mailrules.config.include import Assembly
from mailrules.config.lists import Lists
from mailrules.config.rules import Rules
from mailrules.config.server import Smtp
from mailrules.config.settings import Settings, read_settings
from mailrules.config.yaml_nodes import Document, Place
from mailrules.config.yaml_source import compose, read
from mailrules.core.conditions.base import ParseContext
from mailrules.core.errors import ConfigError, Problem, Report
from mailrules.core.rule import Rule

if TYPE_CHECKING:
    from mailrules.config.tests import RuleTest

__all__ = [
    "Account",
    "Config",
    "Examination",
    "Finding",
    "Settings",
    "Smtp",
    "examine",
    "find",
    "load",
    "parse",
]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to say about the file, and where."""

    place: Place
    message: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


@dataclass(frozen=True)
class Config:
    """A file without errors. `files` are all that were read, those of lists included.

    `text_hash` is the hash of their contents: another hash means another rule set. `warnings` are lines
    `FILE:LINE:COLUMN: message`. `rules_as_written`: the rules as plain data. The rest of what was read is
    not kept: of thousands of accounts it is megabytes.
    """

    path: FilePath
    files: tuple[FilePath, ...]
    accounts: Mapping[str, Account]
    rules: tuple[Rule, ...]
    settings: Settings
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tests: tuple[RuleTest, ...] = ()
    warnings: tuple[str, ...] = ()
    text_hash: str = ""
    rules_as_written: Any = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Examination:
    """What reading gave: a Config, unless there are errors; and every finding, sorted by place."""

    config: Config | None
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "error")


def find(explicit: FilePath | None = None, *, environ: Mapping[str, str] = os.environ) -> FilePath:
    """Where the file is (SPEC section 2). Raises ConfigError that says where it looked."""
    if explicit is not None:
        return explicit
    if environ.get("MAILRULES_CONFIG"):
        return FilePath(environ["MAILRULES_CONFIG"])
    home = FilePath(environ.get("HOME") or "/")
    base = FilePath(environ.get("XDG_CONFIG_HOME") or home / ".config")
    places = [
        FilePath("rules.yaml"),
        base / "mailrules" / "rules.yaml",
        FilePath("/etc/mailrules/rules.yaml"),
    ]
    for place in places:
        if os.path.lexists(place):
            return place
    looked = ", ".join(str(place if place.is_absolute() else f"./{place}") for place in places)
    raise ConfigError(
        [
            f"no configuration file. Looked for {looked}. "
            "`mailrules init` makes one; --config FILE names another."
        ]
    )


def load(path: FilePath, *, environ: Mapping[str, str] = os.environ, warnings: bool = True) -> Config:
    """The file and all it includes. Raises ConfigError with every problem, `FILE:LINE:COLUMN: message`.

    `warnings`: whether anybody is going to read what lint has to say; looking for it takes its time.
    """
    return _sound(_examine(read(path), path, environ, warnings=warnings))


def parse(text: str, name: str = "rules.yaml", *, environ: Mapping[str, str] = os.environ) -> Config:
    """The same from text; relative paths start in the directory of `name`."""
    path = FilePath(name)
    document = compose(text, name, directory=path.parent)
    return _sound(_examine(document, path, environ))


def examine(path: FilePath, *, environ: Mapping[str, str] = os.environ) -> Examination:
    """Like `load`, but errors and warnings come back side by side. Raises nothing for what is wrong."""
    return _examine(read(path), path, environ)


def _sound(examination: Examination) -> Config:
    if examination.config is None:
        raise ConfigError(str(finding) for finding in examination.errors)
    return examination.config


def _examine(
    main: Document, path: FilePath, environ: Mapping[str, str], *, warnings: bool = True
) -> Examination:
    assembly = Assembly(main, path)
    document = assembly.document
    apply_defaults(document)
    data = document.data if isinstance(document.data, dict) else {}
    report = Report()
    if main.root is not None and main.root.value is None:
        report.error(
            (), "the file is empty. Begin with 'accounts:' and 'rules:'; rules.example.yaml shows how."
        )
    settings = read_settings(data.get("settings"), report, directory=main.source.directory)
    reader = Lists(document, report)
    lists = reader.read(data.get("lists", {}))
    declared = data.get("accounts", {})
    accounts = Accounts(document, report, environ).read(declared)
    rules = Rules(
        document,
        report,
        accounts=accounts,
        declared=frozenset(declared),
        lists=lists,
        conditions=ParseContext(lists=lists, timezone=settings.timezone),
    ).read(data.get("rules", []))
    rule_names = frozenset(
        str(rule["name"])
        for rule in data.get("rules", [])
        if isinstance(rule, dict) and isinstance(rule.get("name"), str)
    )
    tests: tuple[RuleTest, ...] = ()
    if "tests" in data:
        from mailrules.config.tests import Tests  # mail made of what tests write needs the email package

        tests = Tests(
            document,
            report,
            rules=rule_names,
            accounts=accounts,
            declared=frozenset(declared),
            timezone=settings.timezone,
        ).read(data["tests"])
    if warnings:
        from mailrules.config.lint import lint  # not where nobody asks: it needs much that nobody else does

        lint(
            rules,
            data.get("rules", []),
            accounts,
            report,
            declared=bool(declared),
            lists=lists,
            body_limit=settings.body_limit,
        )
    found = [Finding(*each) for each in assembly.found]
    broken = [place for place, _, _ in assembly.found]
    found += [_finding(document, each) for each in report.problems if not _same(document, each, broken)]
    order = {each.source.name: index for index, each in enumerate(assembly.documents)}
    found.sort(key=lambda f: (order.get(f.place.file, 0), f.place.line, f.place.column))
    findings = tuple(dict.fromkeys(found))
    if any(finding.severity == "error" for finding in findings):
        return Examination(None, findings)
    config = Config(
        path=path,
        files=(*assembly.paths, *reader.files),
        accounts=accounts,
        rules=rules,
        settings=settings,
        lists=lists,
        tests=tests,
        warnings=tuple(str(finding) for finding in findings),
        text_hash=_text_hash(assembly, reader),
        rules_as_written=data.get("rules", []),
    )
    return Examination(config, findings)


def _same(document: Document, problem: Problem, broken: list[Place]) -> bool:
    """Whether the YAML itself is wrong inside of this value: then the first error says it all."""
    node = document.node(problem.path)
    if node is None or node.kind == "scalar" or not problem.path:
        return False
    return any(
        place.file == node.source.name and place.line == node.line and place.column > node.column
        for place in broken
    )


def _finding(document: Document, problem: Problem) -> Finding:
    message = problem.message
    node = document.node(problem.path)
    nothing = problem.path and problem.at == "value" and node is not None and node.value is None
    if problem.severity == "error" and nothing and node is not None:
        if node.written:
            message += f" If the text {node.written} is meant, quote it."
        elif node.source.text[node.start :].lstrip(" ").startswith("#"):
            message += " What follows '#' is a comment: quote it, if it is the value."
    return Finding(document.position(problem.path, problem.at), message, problem.severity)


def _text_hash(assembly: Assembly, lists: Lists) -> str:
    digest = hashlib.sha256()
    for document in assembly.documents:
        digest.update(hashlib.sha256(document.source.text.encode()).digest())
    for content in lists.files.values():
        digest.update(bytes.fromhex(content))
    return digest.hexdigest()
