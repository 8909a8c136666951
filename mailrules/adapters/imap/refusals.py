"""What a server's NO and BAD mean: worth another try, or never; and the words for it.

The response codes are RFC 5530's; the texts are what Gmail, Exchange and others say instead.
"""

from __future__ import annotations

import re

from mailrules.adapters.imap.framing import Status
from mailrules.core.errors import PermanentError, TransientError

PASSING = frozenset({"UNAVAILABLE", "INUSE", "SERVERBUG", "LIMIT", "EXPUNGEISSUED", "THROTTLED"})
"""Codes that say "not now"."""
LASTING_LOGIN = frozenset(
    {"AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED", "EXPIRED", "PRIVACYREQUIRED", "CONTACTADMIN"}
)

LONGEST_WAIT = 3600.0
"""Seconds that a server can make us stay away at once; Exchange asks for five minutes."""
_BACKOFF = re.compile(r"Backoff Time: (\d{1,20}) milliseconds", re.IGNORECASE)
_THROTTLED: tuple[tuple[re.Pattern[str], float], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), seconds)
    for pattern, seconds in (
        (r"request is throttled", 300.0),
        (r"exceeded (?:command or )?bandwidth limit", 3600.0),  # Gmail
        (r"authenticated but not connected", 300.0),  # Exchange: licence, IMAP off, too many clients
        (r"server unavailable\. \d+", 60.0),  # Exchange
        (r"too many (?:simultaneous|concurrent|open)? ?(?:connections|logins|sessions)", 120.0),
        (r"maximum number of connections", 120.0),
        (r"authentication limit exceeded|too many (?:login|authentication) (?:attempts|failures)", 900.0),
        (r"temporar(?:y|ily)|try again later", 60.0),
    )
)


class Refused(PermanentError):
    """NO or BAD to a command; `code` is the response code, or "" if there was none."""

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class NoSuchMailbox(Refused):
    """The mailbox does not exist, or can't hold messages."""


class LoginRefused(Refused):
    """The server does not let us in with this user name and password."""


class Throttled(TransientError):
    """The server asks to be left alone; `retry_after` says how long."""


def throttled(status: Status, doing: str) -> Throttled | None:
    """If the whole account has to wait, the exception to raise."""
    match = _BACKOFF.search(status.text)
    if match is not None:
        seconds = min(int(match[1]) / 1000, LONGEST_WAIT)
        return Throttled(f"{doing}: the server says {status}", retry_after=seconds)
    if status.code == "THROTTLED":
        return Throttled(f"{doing}: the server says {status}", retry_after=60.0)
    for pattern, seconds in _THROTTLED:
        if pattern.search(status.text):
            return Throttled(f"{doing}: the server says {status}", retry_after=seconds)
    return None


def failure(status: Status, doing: str) -> TransientError | Refused:
    """The exception for a command's NO or BAD."""
    wait = throttled(status, doing)
    if wait is not None:
        return wait
    words = f"{doing}: the server says {status}"
    if status.code in PASSING:
        return TransientError(words)
    return Refused(words, code=status.code)


def login_failure(status: Status) -> TransientError | LoginRefused:
    """The exception for a refused login. Too many connections are not a wrong password."""
    wait = throttled(status, "login")
    if wait is not None:
        return wait
    if status.code in PASSING:
        return TransientError(f"login: the server says {status}")
    advice = {
        "AUTHENTICATIONFAILED": "Check username and password; many providers want an app password.",
        "": "Check username and password; many providers want an app password.",
        "EXPIRED": "The password has expired: set a new one.",
        "AUTHORIZATIONFAILED": "The password is right, but this user may not log in here.",
        "PRIVACYREQUIRED": "Use `security: tls` or `starttls`.",
        "CONTACTADMIN": "Ask the mail server's administrator.",
    }.get(status.code, "")
    said = str(status).rstrip(".")
    return LoginRefused(f"the server refuses the login: {said}. {advice}".strip(), code=status.code)


def over_quota(status: Status) -> bool:
    """Cyrus and Courier say it only in words."""
    return status.code == "OVERQUOTA" or bool(
        re.search(r"over ?-?quota|quota exceeded|exceeds? quota", status.text, re.I)
    )
