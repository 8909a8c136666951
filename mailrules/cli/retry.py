"""`mailrules retry`: try effects again."""

from __future__ import annotations

from typing import Annotated

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
    return decide("retry", common, ids)


def decide(name: str, common: Common, ids: list[int]) -> int:
    """Ask for it, and show what became of the effects."""
    from mailrules.operations import perform

    lines = Lines()
    for entry in perform(name, common.locate(), names=common.names, ids=ids):
        if common.json:
            output.emit(entry)
        else:
            lines.show(entry)
    return 0
