"""Text from mail and servers, made safe to be shown in a terminal, a log or a status line."""

from __future__ import annotations

import re

# C0, DEL and C1 control characters, line and paragraph separators, bidirectional controls, invisible
# joiners and marks, and lone surrogates. A tab is no harm, but it breaks tables.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def safe(text: str) -> str:
    """The text with everything a terminal could obey, and everything invisible, written as an escape."""
    return _UNSAFE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    number = ord(character)
    return _SHORT.get(character) or (f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}")


def cut(text: str, length: int) -> str:
    """At most `length` characters; an ellipsis says that there was more."""
    return text if len(text) <= length else text[: max(0, length - 1)] + "…"
