"""script, as a condition."""

from __future__ import annotations

from typing import Any

import pytest

from mailrules.core.conditions.script import NOT_ASKED, ScriptCondition
from mailrules.core.message import ALL_HEADERS, BODY, Fact, Question, ScriptAnswer, Unavailable
from mailrules.core.search import Everything
from tests.core.conditions.speaking import condition, judge, mail, matches, problem, trace

WHEN = "script: [./ask.sh, -v]"


def fact(when: str = WHEN) -> Fact:
    found = condition(when)
    assert isinstance(found, ScriptCondition)
    return found.fact


def said(status: int | None, **more: Any) -> dict[Any, Any]:
    return {fact(): ScriptAnswer(status, "looked", **more)}


def test_zero_matches_and_one_does_not() -> None:
    """What it says counts; SEARCH leaves nobody out."""
    assert matches(WHEN, facts=said(0)) and not matches(WHEN, facts=said(1))
    assert condition(WHEN).search() == Everything(exact=False)
    assert condition(WHEN).argument() == ["./ask.sh", "-v"]


@pytest.mark.parametrize("passing", [True, False])
def test_anything_else_can_not_be_judged(passing: bool) -> None:
    """And it says why, and whether it may pass."""
    verdict = judge(WHEN, mail(facts=said(3, problem="exit status 3", passing=passing)))
    assert verdict.truth is None and verdict.causes == (Unavailable("exit status 3", passing=passing),)
    assert judge(WHEN, mail(facts=said(2))).truth is None, "as in `tests: {script: 2}`"


def test_it_is_asked_last() -> None:
    """Whatever is cheaper is asked for first, and a script is not needed where that decides."""
    assert judge(WHEN, mail()).needs == {fact()}
    when = f"{{subject: hello, {WHEN}}}"
    assert judge(when, mail("Subject: other")).truth is False
    message = mail("Subject: hello")
    del message.facts[BODY], message.facts[ALL_HEADERS]
    assert fact() not in judge(f"{{body: hello, {WHEN}}}", message).needs
    assert judge(when, mail("Subject: hello")).needs == {fact()}


def test_explain_shows_how_it_ended() -> None:
    """Exit status and last line of stderr; where it was not run, that it was not."""
    assert trace(WHEN, mail(facts=said(0))).value == {"exit": 0, "stderr": "looked"}
    failed = trace(WHEN, mail(facts=said(3, problem="exit status 3")))
    assert (failed.matched, failed.value, failed.because) == (
        None, {"exit": 3, "stderr": "looked"}, "exit status 3",
    )  # fmt: skip
    assert trace(WHEN, mail()).because == NOT_ASKED
    assert trace(WHEN, mail(facts={fact(): Unavailable("no")})).because == "no"


def test_the_long_form() -> None:
    """What the script is given, and how long it may take."""
    question = fact("script: {run: [/bin/x], input: json, timeout: 5s, env: {A: 1, B: x}}").argument
    assert question == Question("", ("/bin/x",), "json", 5.0, (("A", "1"), ("B", "x")), "")
    relative = fact().argument
    assert isinstance(relative, Question) and relative.base == "."


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("script: ./ask.sh", "expected a list"),
        (
            "script: []",
            "expected a list, such as [./is-known.sh, --quiet]: no shell reads it. Found an empty list",
        ),
        ("script: {input: json}", "expected a list"),
        ("script: {run: [x], inputs: json}", "Did you mean 'input'"),
        ("script: {run: [x], input: body}", "expected one of"),
        ("script: {run: [x], timeout: 5}", "duration"),
        ("script: {run: [x], timeout: 2d}", "at most 1d"),
        ("script: {run: [x], env: [A]}", "names and values"),
        ("script: {run: [x], env: {A-B: x}}", "not a name"),
        ("script: {run: [x], env: {MAILRULES_UID: x}}", "set by mailrules"),
        ("script: {run: [x], allow: {move: [A]}}", "no 'allow' in a condition"),
        ("script: [ask.sh -v]", "one word"),
        ("script: [~/ask.sh]", "'~' is not expanded"),
        ("script: ['', x]", "is empty"),
        ('script: [x, "{{ message.subject }}"]', "no templates"),
        ('script: [x, "a\\0b"]', "NUL"),
        ("script: [x, [y]]", "takes text"),
    ],
)
def test_errors(when: str, words: str) -> None:
    """What it can't be is said, with what to write."""
    assert words in problem(when)
