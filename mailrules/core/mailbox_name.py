"""Names of mailboxes as the file writes them: levels with `/` between, relative to the personal namespace."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

LONGEST_NAME = 200
"""Bytes of UTF-8 (RELIABILITY A13)."""

_BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_UNSAFE = str.maketrans({**dict.fromkeys("/\\", "-"), **dict.fromkeys("*%", "_"), **dict.fromkeys(_BIDI)})


def safe_level(text: str) -> str:
    """A value from mail as (part of) one level; "" if nothing is left of it.

    No separator, no wildcard of LIST, nothing that shells or servers give a meaning at the start.
    """
    kept = "".join(c for c in text.translate(_UNSAFE) if unicodedata.category(c) not in ("Cc", "Cs", "Cn"))
    return " ".join(unicodedata.normalize("NFC", kept).split()).lstrip(" .~#&-").rstrip(" .")


def name_problem(name: str) -> str | None:
    """Why this can't be the name of a mailbox, in words that follow the name; None if it can."""
    return _known_problem(name) if len(name) <= LONGEST_NAME else _problem(name)


def _problem(name: str) -> str | None:
    if not name.strip():
        return "is empty"
    if len(name.encode("utf-8", "replace")) > LONGEST_NAME:
        return f"is longer than {LONGEST_NAME} bytes"
    if any(unicodedata.category(c) in ("Cc", "Cs") or c in _BIDI for c in name):
        return "has a control character"
    if any(c in name for c in "*%"):
        return "has a '*' or '%': those are wildcards in IMAP"
    levels = name.split("/")
    if any(not level.strip() for level in levels):
        return "has an empty level: write 'A/B', with nothing before or after"
    if any(level in (".", "..") for level in levels):
        return "has a level '.' or '..'"
    if any(level != level.strip() for level in levels):
        return "has a level that starts or ends with a blank"
    return None


# Asked for each message that goes to one of a few. Of long ones, which mail may have made, nothing is kept.
_known_problem = lru_cache(maxsize=1000)(_problem)
