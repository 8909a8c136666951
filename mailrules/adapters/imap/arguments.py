"""What a command may carry: no argument breaks a line."""

from __future__ import annotations

from mailrules.core.errors import PermanentError


class ForbiddenArgument(PermanentError):
    """An argument holds CR, LF or NUL, which no command can carry."""


def quoted(text: str) -> str:
    """A quoted string (RFC 9051 section 9)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def refuse_control(value: object) -> None:
    """Raises ForbiddenArgument if CR, LF or NUL would reach the wire: it would be a second command."""
    if isinstance(value, str):
        bad = "\r" in value or "\n" in value or "\0" in value
    elif isinstance(value, bytes):
        bad = b"\r" in value or b"\n" in value or b"\0" in value
    else:
        return
    if bad:
        raise ForbiddenArgument("line breaks and NUL can't be sent to an IMAP server; refused.")
