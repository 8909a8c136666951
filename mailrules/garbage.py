"""When Python looks for cycles that nobody refers to: not while a program is imported, nor when it ends.

What is imported stays. Looking through it again and again, and once more at the end, took a fifth of the
time of a short command.
"""

from __future__ import annotations

import gc

IMPORTING = 500_000
WORKING = 20_000
"""Objects made since the last look, from which one is taken at the newest."""


def importing() -> None:
    """A command begins."""
    gc.set_threshold(IMPORTING, 10, 10)


def working() -> None:
    """All is imported that is needed: from here on, what is made is looked through, and nothing older."""
    gc.freeze()
    gc.set_threshold(WORKING, 10, 10)


def ending() -> None:
    """What ends with the process need not be looked through."""
    gc.freeze()
    gc.disable()
