"""`mailrules skip`: do without effects."""

from __future__ import annotations

from mailrules.cli.options import Common
from mailrules.cli.retry import Ids, decide


def command(common: Common, ids: Ids) -> int:
    """Do without effects that failed, are held, wait, or whose outcome is unknown.

    Their messages may leave the mailbox then, if another rule wants that.

    Example: mailrules skip 4711
    """
    return decide("skip", common, ids)
