"""`mailrules retry`: try effects again."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mailrules.cli import output
from mailrules.cli.log import Lines
from mailrules.cli.options import Common

Ids = Annotated[list[int], typer.Argument(metavar="ID", help="Numbers of effects, as `log` shows them.")]


def command(common: Common, ids: Ids) -> int:
    """Try effects again that failed, wait, or whose outcome is unknown.

    An unknown forward may have been sent: trying again may send it twice. A message that could not be
    judged, or whose rule could not be rendered, is judged again.

    Example: mailrules retry 4711 4712
    """
    decide("retry", common, ids=ids)
    return 0


def decide(name: str, common: Common, **arguments: Any) -> int:
    """Ask for it, and show what became of the effects. Gives how many those are."""
    from mailrules.operations import perform

    lines = Lines()
    shown = 0
    for entry in perform(name, common.locate(), names=common.names, **arguments):
        shown += 1
        if common.json:
            output.emit(entry)
        else:
            lines.show(entry)
    return shown
