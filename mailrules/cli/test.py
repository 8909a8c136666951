"""`mailrules test`: run the file's tests of its rules."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mailrules.cli import output
from mailrules.cli.options import Common

if TYPE_CHECKING:
    from mailrules.config import Config
    from mailrules.config.tests import RuleTest
    from mailrules.core.fixture import Fixture
    from mailrules.explaining.testing import Action, Result

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


CaptureOption = Annotated[
    str | None,
    typer.Option(
        "--capture", metavar="UID|FILE.eml",
        help="Write a test of this message: words and addresses become others, what the rules say stays.",
        show_default=False,
    ),
]  # fmt: skip
AccountOption = Annotated[
    str | None, typer.Option("--account", help="With --capture: the account it is in. Default: the first.")
]
MailboxOption = Annotated[
    str | None, typer.Option("--mailbox", help="With --capture: the mailbox it is in. Default: INBOX.")
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output", metavar="FILE.eml",
        help="With --capture: write the message to this file, and name it in the test.",
        show_default=False,
    ),
]  # fmt: skip


def command(
    common: Common,
    names: NamesArgument = None,
    capture: CaptureOption = None,
    account: AccountOption = None,
    mailbox: MailboxOption = None,
    output_file: OutputOption = None,
) -> int:
    """Run the tests that stand in the file under `tests:`. Needs no server, and changes nothing.

    A test that fails is explained; at the end stands which rules no test touches. Exit status 1 if one
    fails.

    Examples: mailrules test "invoices*"
    mailrules test --capture 4711 --account work
    """
    from mailrules.explaining import testing

    config = common.load()
    if capture is not None:
        if names:
            raise typer.BadParameter("--capture writes a test and runs none.", param_hint="NAME")
        return _capture(common, config, capture, account, mailbox or "INBOX", output_file)
    if account or mailbox or output_file:
        raise typer.BadParameter("--account, --mailbox and --output go with --capture.")
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


def _capture(
    common: Common, config: Config, what: str, account: str | None, mailbox: str, target: Path | None
) -> int:
    """Print a test of a message, ready to be pasted; say what of it was kept."""
    from mailrules import clock
    from mailrules.explaining import capturing

    if account is not None and account not in config.accounts:
        known = ", ".join(config.accounts) or "none"
        raise typer.BadParameter(f"there is no account '{account}'. Accounts: {known}.")
    if target is not None and target.exists():
        raise typer.BadParameter(f"{target} is there already. Name another.", param_hint="--output")
    if what.isdigit() and not Path(what).exists():
        original = _from_server(common, config, int(what), account, mailbox)
    else:
        original = _from_file(what, account, mailbox)
    now = clock.now().replace(microsecond=0)
    made = capturing.capture(
        config, original, now=now, name=_free_name(config, f"captured {Path(what).name}"),
        file=None if target is None else os.path.relpath(target, config.path.parent),
    )  # fmt: skip
    if target is not None:
        with target.open("xb") as file:
            file.write(made.content)
    if common.json:
        output.emit({"test": dict(made.test), "kept": [
            {"text": kept.text, "because": list(kept.because)} for kept in made.kept
        ]})  # fmt: skip
        return 0
    sys.stdout.write(capturing.dump([made.test]))
    for kept in made.kept:
        output.note(f"kept as it is: '{kept.text}', for {'; '.join(kept.because)}", style="yellow")
    output.note("Look through it before you share it, and give it a name that says what it tests.")
    return 0


def _from_file(name: str, account: str | None, mailbox: str) -> Fixture:
    from mailrules.core.errors import PermanentError
    from mailrules.core.fixture import Fixture

    try:
        raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise PermanentError(f"{name}: {error.strerror or error}.") from None
    return Fixture(raw=raw, account=account, mailbox=mailbox)


def _from_server(common: Common, config: Config, uid: int, account: str | None, mailbox: str) -> Fixture:
    """The message as it is on the server, with what only that, the journal and scripts know."""
    from contextlib import ExitStack

    from mailrules.adapters.store import Store
    from mailrules.explaining.capturing import of_server
    from mailrules.house import House

    if account is None and len(config.accounts) != 1:
        raise typer.BadParameter("say which --account: a UID means something in one mailbox only.")
    with ExitStack() as stack:
        state = common.locate(config)
        store = stack.enter_context(Store.open(state.directory, read_only=True)) if state.exists else None
        return of_server(House(config, store), account or next(iter(config.accounts)), mailbox, uid)


def _free_name(config: Config, name: str) -> str:
    taken = {test.name for test in config.tests}
    numbered = (name, *(f"{name} ({number})" for number in range(2, 1000)))
    return next(one for one in numbered if one not in taken)


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
        output.note(f"There are no tests in {config.path}: nothing was tested.", style="yellow")
        _emit_summary(0, 0, [rule.name for rule in config.rules if rule.enabled])
        return 0
    output.say(
        f"There are no tests in {config.path}: nothing was tested. One looks like this:", style="yellow"
    )
    for line in ("", *EXAMPLE.splitlines(), ""):
        output.say(line)
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
    from mailrules.cli.explained import show

    if result.message is None or result.decision is None:
        return
    decision = result.decision
    if not verbose:
        outcomes = tuple(o for o in decision.outcomes if o.rule in result.wrong)
        if not outcomes:
            return
        decision = replace(decision, outcomes=outcomes)
    show(result.message, decision, title="    why", verbose=True)


def _words(action: Action) -> str:
    return output.what(action.action, action.arguments)


def _summary(tests: int, failed: int, untouched: Sequence[str], *, partly: bool) -> None:
    words = f"{output.count(tests, 'test')}: {tests - failed} passed, {failed} failed."
    output.say(words, style="red" if failed else "green")
    if untouched and not partly:
        output.say(f"No test matches {output.count(len(untouched), 'rule')}: {', '.join(untouched)}.")
