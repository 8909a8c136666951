"""What became of a message, in the words of the journal."""

from __future__ import annotations

from mailrules.adapters.imap.framing import Status
from mailrules.adapters.imap.refusals import PASSING, over_quota
from mailrules.core.actions.base import Outcome

CHUNK = 1000
"""Messages in one command that changes them."""
OVER_QUOTA_WAIT = 3600.0
GONE = Outcome("gone")


def refusal(status: Status, words: str) -> Outcome:
    """The outcome of a message that the server refused to work on."""
    detail = {"error": words} | ({"code": status.code} if status.code else {})
    if over_quota(status):
        return Outcome("later", detail, retry_after=OVER_QUOTA_WAIT)
    return Outcome("later" if status.code in PASSING else "failed", detail)


def failed(words: str) -> Outcome:
    """It will not work as it stands."""
    return Outcome("failed", {"error": words})
