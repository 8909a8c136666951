"""`mailrules test`: run the file's tests of its rules."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

import typer

from mailrules.cli import output
from mailrules.cli.options import Common

if TYPE_CHECKING:
    from mailrules.config import Config
    from mailrules.config_tests import RuleTest
    from mailrules.testing import Action, Result

EXAMPLE = """\
tests:
  - name: invoices are filed
    message: {from: billing@acme.example, subject: "Invoice 42", attachments: [invoice.pdf]}
    expect: {rules: [invoices], actions: [{flag: $Invoice}, {move: Accounting/2026}]}
    at: 2026-03-01T10:00:00+01:00
"""

NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME…", help="Only these tests; * and ? are wildcards.", show_default=False),
]


def command(common: Common, names: NamesArgument = None) -> int:
    """Run the tests that stand in the file under `tests:`. Needs no server, and changes nothing.

    A test that fails is explained; at the end stands which rules no test touches. Exit status 1 if one
    fails.

    Example: mailrules test "invoices*"
    """
    from mailrules import testing

    config = common.load()
    tests = _chosen(config, names or [])
    if not config.tests:
        return _without(config, as_json=common.json)
    results = []
    for result in testing.run(config, tests):
        results.append(result)
        if common.json:
            output.emit(result.as_json())
        else:
            _show(result, verbose=common.verbose > 0)
    failed = [result for result in results if not result.passed]
    untouched = testing.untouched(config, results)
    if common.json:
        _emit_summary(len(results), len(failed), untouched)
    else:
        _summary(len(results), len(failed), untouched, partly=bool(names))
    return 1 if failed else 0


def _emit_summary(tests: int, failed: int, untouched: Sequence[str]) -> None:
    output.emit(
        {
            "summary": {
                "tests": tests, "passed": tests - failed, "failed": failed, "untouched": list(untouched),
            }
        }
    )  # fmt: skip


def _without(config: Config, *, as_json: bool) -> int:
    """There are none: say so, and how one looks."""
    if as_json:
        _emit_summary(0, 0, [rule.name for rule in config.rules if rule.enabled])
        return 0
    output.say(f"There are no tests in {config.path}. One looks like this:\n")
    output.say(EXAMPLE)
    output.say("mailrules test --capture FILE.eml makes one of a message that you have.")
    return 0


def _chosen(config: Config, names: Sequence[str]) -> list[RuleTest]:
    if not names:
        return list(config.tests)
    chosen = []
    for name in names:
        found = [test for test in config.tests if test.name == name or fnmatchcase(test.name, name)]
        if not found:
            known = ", ".join(f"'{test.name}'" for test in config.tests[:10]) or "none"
            raise typer.BadParameter(f"there is no test '{name}'. Tests: {known}.", param_hint="NAME")
        chosen += found
    return [test for test in config.tests if test in chosen]


# -- for people -------------------------------------------------------------------------------------------
def _show(result: Result, *, verbose: bool) -> None:
    good, bad = ("✓", "✗") if "utf" in (sys.stdout.encoding or "").lower() else ("+", "-")
    if result.passed:
        output.line([(f"{good} ", "green"), (result.test.name, None)])
    else:
        output.line([(f"{bad} ", "red"), (result.test.name, "bold")])
        output.say(f"    {result.test.place}", style="dim")
    if result.problem:
        output.say(f"    {result.problem}", style="red")
    if result.passed and not verbose:
        return
    if not result.passed:
        _show_difference(result)
    _show_why(result, verbose=verbose)


def _show_difference(result: Result) -> None:
    if result.rules_differ:
        output.say(f"    expected rules: {', '.join(result.test.rules or ()) or 'none'}")
        output.say(f"    but these did:  {', '.join(result.rules) or 'none'}", style="yellow")
    for action in result.missing:
        output.say(f"    not done:       {_words(action)}", style="yellow")
    for action in result.surplus:
        output.say(f"    not expected:   {_words(action)} ({action.rule})", style="yellow")
    if result.order:
        output.say("    the actions come in another order than expected:", style="yellow")
        output.say(f"    {', then '.join(_words(action) for action in result.got)}")


def _show_why(result: Result, *, verbose: bool) -> None:
    """The rules that are not as expected, each condition with what was compared."""
    from mailrules.cli import explain

    if result.message is None or result.decision is None:
        return
    decision = result.decision
    if not verbose:
        outcomes = tuple(o for o in decision.outcomes if o.rule in result.wrong)
        if not outcomes:
            return
        decision = replace(decision, outcomes=outcomes)
    explain.show(result.message, decision, title="why:", verbose=True)


def _words(action: Action) -> str:
    return output.what(action.action, action.arguments)


def _summary(tests: int, failed: int, untouched: Sequence[str], *, partly: bool) -> None:
    words = f"{output.count(tests, 'test')}: {tests - failed} passed, {failed} failed."
    output.say(words, style="red" if failed else "green")
    if untouched and not partly:
        output.say(f"No test matches {output.count(len(untouched), 'rule')}: {', '.join(untouched)}.")
