"""`mailrules reload`: let the running worker read the file again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mailrules.cli import output
from mailrules.cli.options import Common
from mailrules.core.errors import PermanentError

if TYPE_CHECKING:
    from mailrules.control import ControlClient


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
    for event in _reload(client):
        if common.json:
            output.emit(event)
        else:
            accounts = output.count(event["accounts"], "account")
            output.say(f"Read again: {accounts}, {output.count(event['rules'], 'rule')}.")
    return 0


def _reload(client: ControlClient) -> Iterator[dict[str, Any]]:
    from mailrules.core.errors import ConfigError

    try:
        yield from client.request("reload")
    except ConfigError:
        output.note("The file is not right; the rules in force stay as they were:", style="yellow")
        raise
