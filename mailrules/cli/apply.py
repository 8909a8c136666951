"""`mailrules apply`: the rules over the mail that is there now."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mailrules.cli import output
from mailrules.cli.options import Common
from mailrules.cli.plan import (
    AccountOption,
    MailboxOption,
    RuleOption,
    ScheduledOption,
    SinceOption,
    plan_events,
    say_result,
    selection,
    show,
)

if TYPE_CHECKING:
    from mailrules.config import Config


def command(
    common: Common,
    rule: RuleOption = None,
    mailbox: MailboxOption = None,
    since: SinceOption = None,
    account: AccountOption = None,
    scheduled: ScheduledOption = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    over_brakes: Annotated[
        bool, typer.Option("--over-brakes", help="Even if more than half of a mailbox would leave it.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Also send and run once more what was sent and run before.")
    ] = False,
) -> int:
    """Do what `plan` shows: judge all the mail that is there, and act on it. Asks first.

    It can be stopped with Ctrl-C at any moment; what was done is in the log, and the next `apply` or
    `run` goes on from there.

    Example: mailrules apply --rule invoices --since 30d
    """
    from mailrules.serving import exit_status

    config = common.load()
    arguments = selection(rule, mailbox, since, account, scheduled) | {"traced": common.json}
    if not yes:
        if common.json or not sys.stdin.isatty():
            output.note("mailrules apply: nobody can be asked here. --yes does it without asking.")
            return 2
        planned = show(plan_events(common, config, arguments), json=False)
        say_result(planned, did=False)
        if not planned["summary"]["matched"] or not typer.confirm("Do it?"):
            output.say("Nothing was changed.")
            return exit_status(planned)
    arguments |= {"over_brakes": over_brakes, "again": again}
    result = show(_events(common, config, arguments), json=common.json, samples=yes)
    if not common.json:
        say_result(result, did=True)
        if result["states"]:
            output.say("`mailrules log` has every one of them.", style="dim")
    return exit_status(result)


def _events(common: Common, config: Config, arguments: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """Through the worker, if one runs; else under the state's lock, by the same code."""
    from mailrules import control
    from mailrules.state import StateLocked

    state = common.locate(config)
    client = control.connect(state)
    if client is not None:
        return client.request("apply", timeout=None, **arguments)
    try:
        lock = state.lock("apply", wait=5)
    except StateLocked:
        client = control.connect(state)
        if client is None:
            raise
        return client.request("apply", timeout=None, **arguments)
    return _alone(lock, config, state.directory, arguments)


def _alone(lock: Any, config: Config, directory: Any, arguments: Mapping[str, Any]) -> Iterator[Any]:
    from mailrules.adapters.store import Store
    from mailrules.cli.run import end_within
    from mailrules.house import House
    from mailrules.serving import apply

    with lock, Store.open(directory) as store:
        house = House(config, store)
        house.begin()
        end_within(house, 8.0)
        yield from apply(house, arguments)
