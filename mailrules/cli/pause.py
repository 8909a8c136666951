"""`mailrules pause`: hold effects until `resume`."""

from __future__ import annotations

from typing import Annotated

import typer

from mailrules.cli import output
from mailrules.cli.options import Common

Targets = Annotated[
    list[str] | None,
    typer.Argument(metavar="TARGET", show_default=False, help="A RULE, an ACCOUNT, or ACCOUNT/MAILBOX."),
]
All = Annotated[bool, typer.Option("--all", help="Everything.")]


def command(
    common: Common,
    targets: Targets = None,
    *,
    all_: All = False,
    reason: Annotated[str, typer.Option(help="Why; `status` shows it.")] = "by hand",
) -> int:
    """Hold the effects of a rule, an account, a mailbox, or of everything, from the next one on.

    New mail is judged all the same; what would be done to it waits for `resume`. A pause stays over
    restarts.

    Example: mailrules pause invoices --reason "the accountant is away"
    """
    from mailrules.operations import perform

    chosen = chosen_targets(targets, all_=all_)
    events = perform("pause", common.locate(), names=common.names, targets=chosen, reason=reason)
    for event in events:
        if common.json:
            output.emit(event)
        else:
            done = "is paused" if event["changed"] else "was paused already"
            output.say(f"{begun(event['what'])} {done}.")
    return 0


def begun(words: str) -> str:
    """The words as a sentence begins. Names in them stay as they are."""
    return words[:1].upper() + words[1:]


def chosen_targets(targets: list[str] | None, *, all_: bool) -> list[str]:
    """The targets that were named; none with --all, which means everything. Raises BadParameter."""
    if all_ == bool(targets):
        raise typer.BadParameter("name a rule, an account or ACCOUNT/MAILBOX, or say --all.")
    return targets or []
