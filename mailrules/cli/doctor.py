"""`mailrules doctor`: what is wrong here, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from mailrules.cli import output
from mailrules.cli.options import Common

if TYPE_CHECKING:
    from mailrules.setup.checkup import Result

TROUBLE = 1


def command(
    common: Common,
    *,
    offline: Annotated[bool, typer.Option("--offline", help="Leave the servers alone.")] = False,
) -> int:
    """Say what is wrong here, and what to do about it: file, state, secrets, servers, machine.

    It logs in to every account and changes nothing. Exit status 1 if something is wrong. Never shows
    a secret.

    Example: mailrules doctor --offline
    """
    from mailrules.setup.checkup import WAITING

    failed = 0
    waits = False
    for result in _results(common, online=not offline):
        failed += not result.ok
        waits = waits or result.check == WAITING
        if common.json:
            output.emit(
                {
                    "check": result.check,
                    "account": result.account,
                    "ok": result.ok,
                    "message": result.message,
                    "next": result.step or None,
                }
            )
        else:
            _say(result)
    if common.json:
        output.emit({"summary": {"ok": not failed, "failed": failed}})
    elif failed:
        output.say(f"{output.count(failed, 'thing')} to see to.", style="bold")
    elif waits:
        output.say("Nothing is wrong here, but not everything is done: mailrules status", style="green")
    else:
        output.say("Nothing is wrong here.", style="green")
    return TROUBLE if failed else 0


def _results(common: Common, *, online: bool) -> Iterator[Result]:
    from mailrules.core.errors import ConfigError
    from mailrules.setup import checkup

    yield checkup.programs()
    found = None
    try:
        found, results = checkup.file(common.config_path())
        yield from results
    except ConfigError as error:
        yield checkup.Result(
            "configuration",
            False,
            error.lines[0].partition(". `mailrules init`")[0],
            "mailrules init makes one.",
        )
    try:
        state = common.locate(found)
    except ConfigError as error:
        yield checkup.Result("state", False, error.lines[0], "Correct it.")
        state = None
    yield checkup.time_of_day(state)
    if state is not None:
        yield from checkup.state_directory(state)
        yield checkup.journal(state)
        yield from checkup.waiting(state)
        yield checkup.worker(state)
    if found is not None:
        yield checkup.files(found)
        yield from checkup.scripts(found)
        yield from checkup.accounts(found, online=online)


def _say(result: Result) -> None:
    sign = ("✓", "green") if result.ok else ("✗", "bold red")
    what = f"{result.account}: {result.check}" if result.account else result.check
    output.console().print(output.words([sign, (f" {what}: ", "dim"), (result.message, None)]))
    if result.step:
        output.say(f"  → {result.step}", style="yellow")
