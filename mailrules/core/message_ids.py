"""Message-IDs: what stands in `<…>` of Message-ID, In-Reply-To and References, as two are compared."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mailrules.core.decoding import decode

MOST = 200
"""Message-IDs that are read of one header: threads are long, and mail is hostile."""
LONGEST = 998
_IN_ANGLES = re.compile(r"<([^<>]+)>")


def message_ids(raws: Iterable[bytes]) -> tuple[str, ...]:
    """Every Message-ID in these raw header values, each once, in order. Never raises."""
    found: dict[str, None] = {}
    for raw in raws:
        for inside in _IN_ANGLES.findall(decode(raw)):
            one = _plain(inside)
            if one:
                found[one] = None
            if len(found) >= MOST:
                return tuple(found)
    return tuple(found)


def own_message_id(raws: Iterable[bytes | str]) -> str:
    """The Message-ID of a message: of its first Message-ID header, with or without `<…>`; or ""."""
    for raw in raws:
        text = raw if isinstance(raw, str) else decode(raw)
        inside = _IN_ANGLES.search(text)
        return _plain(inside[1] if inside else text)
    return ""


def _plain(text: str) -> str:
    """Folding leaves blanks behind, and some programs break the line within."""
    return "".join(text.split())[:LONGEST]
