"""The brake on what takes much mail out of a mailbox at once (SPEC section 7)."""

from __future__ import annotations

LARGE = 100
"""Mailboxes of more messages than this have it."""


def takes_most(*, leaving: int, there: int) -> bool:
    """Whether so many messages leave a mailbox of so many that a person has to want it: more than half."""
    return there > LARGE and leaving * 2 > there
