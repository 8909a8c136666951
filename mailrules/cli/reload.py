"""`mailrules reload`: let the running worker read the file again."""

from __future__ import annotations

from mailrules.cli import output
from mailrules.cli.options import Common
from mailrules.core.errors import PermanentError


def command(common: Common) -> int:
    """Let the running worker read its file again, all or nothing.

    If something is wrong in it, the old rules stay in force, and this says what.

    Example: mailrules reload
    """
    from mailrules.control import connect

    state = common.locate()
    client = connect(state)
    if client is None:
        raise PermanentError(f"no worker runs on {state}. `mailrules run` starts one.")
    for event in client.request("reload"):
        if common.json:
            output.emit(event)
        else:
            output.say(f"Read again: {event['accounts']} accounts, {event['rules']} rules.")
    return 0
