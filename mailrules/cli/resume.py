"""`mailrules resume`: end a pause."""

from __future__ import annotations

from mailrules.cli import output
from mailrules.cli.options import Common
from mailrules.cli.pause import All, Targets, begun, chosen_targets


def command(common: Common, targets: Targets = None, *, all_: All = False) -> int:
    """End a pause, and do what was held.

    What another pause still covers stays held. --all ends the pause of everything, not those of single
    rules and accounts.

    Example: mailrules resume invoices
    """
    from mailrules.operations import perform

    chosen = chosen_targets(targets, all_=all_)
    for event in perform("resume", common.locate(), names=common.names, targets=chosen):
        if common.json:
            output.emit(event)
            continue
        was = "goes on" if event["changed"] else "was not paused"
        held = f"; {output.count(event['planned'], 'held effect')} will be done" if event["planned"] else ""
        output.say(f"{begun(event['what'])} {was}{held}.")
    return 0
