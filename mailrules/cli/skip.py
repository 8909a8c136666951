"""`mailrules skip`: do without effects."""

from __future__ import annotations

from typing import Annotated

import typer

from mailrules.cli import output
from mailrules.cli.options import Common
from mailrules.cli.retry import decide


def command(
    common: Common,
    ids: Annotated[
        list[int] | None,
        typer.Argument(metavar="ID", show_default=False, help="Numbers of effects, as `log` shows them."),
    ] = None,
    *,
    rule: Annotated[
        str | None, typer.Option(metavar="RULE", help="Instead: everything that is held of this rule.")
    ] = None,
) -> int:
    """Do without effects that failed, are held, wait, or whose outcome is unknown.

    Their messages may leave the mailbox then, if another rule wants that. A rule that is paused stays so.

    Example: mailrules skip 4711
    """
    if (rule is None) == (not ids):
        raise typer.BadParameter("name effects by their numbers, or say --rule RULE.")
    if rule is None:
        decide("skip", common, ids=ids)
    elif not decide("skip", common, rule=rule) and not common.json:
        output.note(f"nothing is held of rule '{rule}'.")
    return 0
