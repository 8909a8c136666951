"""A program of the user's that judges: script. How it runs: `asking.py`."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self, cast

from mailrules.core.calling import INPUTS, LONGEST_RUN, read_timeout, read_variables
from mailrules.core.conditions.base import Condition, ParseContext, Trace
from mailrules.core.conditions.reading import as_written, read_scalar, suggest
from mailrules.core.errors import Path, Report
from mailrules.core.message import (
    Fact,
    Message,
    MissingFact,
    Question,
    ScriptAnswer,
    Unavailable,
    UnknownFact,
    script_fact,
)
from mailrules.core.values import describe

_KEYS = ("run", "input", "timeout", "env")
NOT_WITHOUT = "scripts are run only with --scripts"
NOT_ASKED = "not run: the other conditions decide"


class ScriptCondition(Condition):
    """A program says so: exit status 0 means that it matches, 1 that it does not. With anything else, a
    crash or too long a run it can't be judged; 75 means "ask again later". No shell: a list of the program
    and its arguments.

    ```yaml
    when:
      subject: invoice
      script: [./is-known-customer.py, --strict]
    ```
    The message is its standard input, and there are the variables `MAILRULES_ACCOUNT`, `_MAILBOX`, `_UID`,
    `_RULE` and `_MESSAGE_ID`. It has 60 seconds. All of that can be said, as for the action:
    ```yaml
    when:
      script: {run: [./is-known-customer.py], input: headers, timeout: 5s, env: {STRICT: "1"}}
    ```
    It is only asked where the other conditions leave it open, once for each time that a message is judged:
    write it so that it changes nothing. One that takes its time holds up its own message and no other. `plan`
    and `apply` ask it, `explain` only with `--scripts`.
    """

    key: ClassVar[str] = "script"
    cost: ClassVar[Literal["header", "server", "body", "script"]] = "script"
    question: Question
    written: Any = None

    @property
    def fact(self) -> Fact:
        return script_fact(self.question)

    def matches(self, message: Message) -> bool:
        answer: ScriptAnswer = message.get(self.fact)
        if answer.problem or answer.status not in (0, 1):
            reason = answer.problem or f"script: exit status {answer.status}"
            raise UnknownFact(Unavailable(reason, passing=answer.passing))
        return answer.status == 0

    def value(self, message: Message) -> Any:
        answer: ScriptAnswer = message.get(self.fact)
        return {"exit": answer.status, "stderr": answer.said or None}

    def trace(self, message: Message) -> Trace:
        found = super().trace(message)
        try:
            value, because = self.value(message), found.because
        except MissingFact:
            value, because = None, NOT_ASKED
        except UnknownFact:
            value, because = None, found.because
        return Trace(found.condition, found.argument, found.matched, value, (), because)

    def facts(self) -> frozenset[Fact]:
        return frozenset([self.fact])

    def argument(self) -> Any:
        return self.written

    @classmethod
    def parse(cls, value: Any, *, path: Path, report: Report, context: ParseContext) -> Self | None:
        before = len(report.problems)
        form = value if isinstance(value, dict) else {"run": value}
        for name in form:
            if name not in _KEYS:
                hint = suggest(str(name), _KEYS, what="There are")
                report.error((*path, name), f"'script' has no '{name}' in a condition. {hint}", at="key")
        where = (*path, "run") if isinstance(value, dict) and "run" in form else path
        run = _argv(form.get("run"), path=where, report=report)
        given = form.get("input", "message")
        if given not in INPUTS:
            report.error((*path, "input"), f"expected one of {', '.join(INPUTS)}, found {describe(given)}.")
        timeout = read_timeout(form, default="60s", longest=LONGEST_RUN, path=path, report=report)
        env = _env(form.get("env", {}), path=(*path, "env"), report=report)
        if any(p.severity == "error" for p in report.problems[before:]):
            return None
        relative = "/" in run[0] and not run[0].startswith("/")
        base = context.base_dir if relative else ""
        question = Question(context.rule, tuple(run), str(given), timeout, env, base)
        return cls(question=question, written=cast(Any, as_written(value)))


def _argv(value: Any, *, path: Path, report: Report) -> list[str]:
    if not isinstance(value, list) or not value:
        report.error(
            path,
            f"expected a list, such as [./is-known.sh, --quiet]: no shell reads it. Found {describe(value)}.",
        )
        return []
    found = []
    for index, item in enumerate(value):
        text = _literal(item, (*path, index), report, what="an argument")
        if text is not None:
            found.append(text)
    if found and not found[0].strip():
        report.error((*path, 0), "the name of the program is empty.")
    elif found and found[0].startswith("~"):
        report.error((*path, 0), "'~' is not expanded: no shell reads it. Write the whole path.")
    elif found and " " in found[0] and "/" not in found[0]:
        report.error(
            (*path, 0),
            f"'{found[0]}' is one word: no shell splits it. Write each argument as an item of its own.",
        )
    return found


def _literal(value: Any, path: Path, report: Report, *, what: str) -> str | None:
    text = read_scalar(value, path, report, what=what)
    if text is None:
        return None
    if "\0" in text:
        report.error(path, f"{what} can't have a NUL character.")
    elif "{{" in text or "{%" in text:
        report.error(
            path,
            "conditions have no templates. The script finds the message on its standard input, and account, "
            "mailbox and Message-ID in MAILRULES_… variables.",
        )
    return text


def _env(value: Any, *, path: Path, report: Report) -> tuple[tuple[str, str], ...]:
    found = []
    for name, item, where in read_variables(value, path=path, report=report):
        text = _literal(item, where, report, what=f"'{name}'")
        if text is not None:
            found.append((name, text))
    return tuple(found)
