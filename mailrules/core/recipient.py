"""Addresses that mail is sent to: strict, because the envelope of SMTP is built from them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

# RFC 5321 Dot-string and RFC 6531's UTF-8 in it; quoted local parts are left out on purpose.
# Classes are said by what is not in them: of a range up to U+10FFFF, Python makes a table of every character.
_ATOM = r"[^\x00-\x20\"(),.:;<>@\[\\\]\x7f-\u00a0]+"
_LETTER = r"[^\x00-/:-@\[-`{-\u00a0]"
_LABEL = rf"{_LETTER}(?:[^\x00-,./:-@\[-`{{-\u00a0]*{_LETTER})?"
_ADDRESS = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")
_UNWANTED = re.compile("[\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ud800-\udfff\ufeff\ufff0-\uffff]")


def recipient_problem(text: str) -> str | None:
    """Why mail can't be sent to this, in a sentence; None if it can."""
    local, _, domain = text.rpartition("@")
    if (
        _ADDRESS.fullmatch(text)
        and not _UNWANTED.search(text)
        and len(local.encode()) <= 64
        and len(text.encode()) <= 254
        and all(len(label) <= 63 for label in domain.split("."))
    ):
        return None
    hint = " Write the bare address, without a name." if "<" in text else ""
    return f"'{text[:80]}' is not an address that mail can be sent to.{hint}"


def pattern_problem(pattern: str) -> str | None:
    """Why this can't stand in `only`."""
    if not pattern.isprintable() or " " in pattern or not ("@" in pattern or "." in pattern):
        return f"'{pattern[:80]}' is neither an address nor a domain such as '@our.example'."
    return None


def allowed(address: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns (SPEC section 3, address test) accepts the address.

    `a@b.c`: that address; `@b.c`: that domain; `b.c`: the domain and its subdomains;
    `*` and `?` are wildcards.
    """
    address = address.casefold()
    domain = address.rpartition("@")[2]
    for pattern in patterns:
        pattern = pattern.casefold().replace("[", "[[]")
        if pattern.startswith("@"):
            if fnmatchcase(domain, pattern[1:]):
                return True
        elif "@" in pattern:
            if fnmatchcase(address, pattern):
                return True
        elif fnmatchcase(domain, pattern) or fnmatchcase(domain, f"*.{pattern}"):
            return True
    return False


def wire_form(address: str) -> str:
    """The address with its domain in ASCII (IDNA), as SMTP and headers have it."""
    local, _, domain = address.rpartition("@")
    return f"{local}@{ascii_domain(domain)}"


def ascii_domain(domain: str) -> str:
    """A domain in ASCII: A-labels for what is not."""
    try:
        return domain.encode("idna").decode("ascii")
    except UnicodeError:
        return domain.encode("ascii", "backslashreplace").decode("ascii")
