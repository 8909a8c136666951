"""Whom an automatic reply may go to: RFC 3834 section 2, RFC 5230 sections 4.5 and 4.6 (FORWARDING 14 to 18).

An answer to a machine may start an endless exchange, one to a list reaches thousands, and one to a forged
address hits a bystander. So a reply goes only to the return address of a person's mail that names one of
the account's own addresses.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mailrules.core.address import without_comments
from mailrules.core.compose import LOOP_HEADER, MOST_RECEIVED, loop_mark
from mailrules.core.headers import Headers, addresses, decode
from mailrules.core.recipient import recipient_problem
from mailrules.core.variables import clean

_LISTS = (
    "list-id", "list-help", "list-subscribe", "list-unsubscribe", "list-unsubscribe-post", "list-post",
    "list-owner", "list-archive",
)  # fmt: skip
_OTHER_MACHINES = ("x-autoreply", "x-auto-reply", "x-autorespond", "x-autoresponder")
_NAMED = ("to", "cc", "bcc", "resent-to", "resent-cc", "resent-bcc")
_REPORTS = ("multipart/report", "message/delivery-status", "message/disposition-notification",
            "message/feedback-report")  # fmt: skip
_SUPPRESS = frozenset({"oof", "autoreply", "all"})
# postmaster may be a person (RFC 5230 section 4.6).
_MACHINES = re.compile(
    r"mailer-?daemon|.*-daemon|listserv|majordomo|mailman|sympa|owner-.*|.*-(?:owner|request|bounces?)"
    r"|bounces?(?:[+=_.-].*)?|.*[+_.-]bounces?(?:[+=_.-].*)?"
    r"|(?:.*[+_.-])?(?:no|do-?not|dont|do_not|never)[_.-]?(?:reply|answer|respond)(?:[+_.-].*)?"
    r"|nobody|noreply.*|donotreply.*|unattended|auto-?(?:reply|responder)"
)
_BATV = re.compile(r"prvs=[^=]*=(.+)", re.IGNORECASE)
_SRS = re.compile(r"srs0[=+-][^=]*=[^=]*=([^=]+)=(.+)", re.IGNORECASE)


def return_address(headers: Headers) -> str:
    """Where an answer to this mail goes (RFC 3834 section 4): the Return-Path, which the last server wrote;
    where there is none, From. Never Reply-To, which may name a list. "" if nobody is to be answered.
    """
    paths = headers.get("return-path")
    found = addresses(paths[:1]) if paths else addresses(headers.get("from"))
    return found[0].address if found else ""


def why_not_answered(headers: Headers, own: Sequence[str]) -> str | None:
    """Why no answer may be sent to this mail, in words that follow "not answered:"; None if one may.

    `own`: the account's addresses. () if they are not known: then nothing is asked of them.
    """
    return (
        _from_a_machine(headers)
        or _from_a_list(headers)
        or _no_sender(headers)
        or _our_own(headers, own)
        or _not_to_us(headers, own)
    )


def sender_key(address: str) -> str:
    """Who that is, the same on every day: what BATV and SRS put around an address is taken off."""
    local, _, domain = address.rpartition("@")
    if (tagged := _BATV.fullmatch(local)) is not None:
        local = tagged[1]
    if (rewritten := _SRS.fullmatch(local)) is not None:
        domain, local = rewritten[1], rewritten[2]
    return loop_mark(f"{local}@{domain}")


def _from_a_machine(headers: Headers) -> str | None:
    for text in _values(headers, "auto-submitted"):
        if _word(text) != "no":
            return f"it was sent by a machine (Auto-Submitted: {text})"
    for text in _values(headers, "x-auto-response-suppress"):
        if _SUPPRESS & {word.strip() for word in text.casefold().split(",")}:
            return f"it asks for no answers (X-Auto-Response-Suppress: {text})"
    for name in _OTHER_MACHINES:
        if headers.get(name):
            return f"it is an answer itself ({name.title()})"
    for text in _values(headers, "content-type")[:1]:
        if _word(text) in _REPORTS:
            return f"it is a report ({_word(text)})"
    for text in _values(headers, "x-spam-flag")[:1]:
        if _word(text) == "yes":
            return "it is marked as spam (X-Spam-Flag)"
    if len(headers.get("received")) > MOST_RECEIVED:
        return f"it has more than {MOST_RECEIVED} Received lines: it goes round in a loop"
    return None


def _from_a_list(headers: Headers) -> str | None:
    for name in _LISTS:
        if headers.get(name):
            return f"it came from a list ({name.title()})"
    for text in _values(headers, "precedence"):
        if _word(text) in ("bulk", "list", "junk", "auto_reply"):
            return f"it is mail in bulk (Precedence: {text})"
    return None


def _no_sender(headers: Headers) -> str | None:
    sender = return_address(headers)
    if not sender:
        null = bool(headers.get("return-path"))
        return "its return path is empty: it is a bounce or a notice" if null else "it names no sender"
    if recipient_problem(sender) is not None:
        return f"its sender '{clean(sender)[:80]}' is no address that mail can be sent to"
    authors = addresses((*headers.get("from"), *headers.get("sender")))
    for address in (sender, *(author.address for author in authors)):
        if _MACHINES.fullmatch(_local(address)):
            return f"nobody reads mail to {clean(address)[:80]}"
    return None


def _our_own(headers: Headers, own: Sequence[str]) -> str | None:
    authors = [author.address for author in addresses(headers.get("from"))]
    for address in (return_address(headers), *authors):
        if _is_own(address, own):
            return f"it comes from {clean(address)[:80]}, which is the account itself"
    marks = {
        clean(decode(raw)).strip().casefold() for raw in (*headers.get(LOOP_HEADER), *headers.get("x-loop"))
    }
    if marks & {loop_mark(address) for address in own}:
        return "it was sent on or answered from here before: it goes round in a loop"
    return None


def _not_to_us(headers: Headers, own: Sequence[str]) -> str | None:
    """RFC 5230 section 4.5: mail that does not name us was not written to us (Bcc, lists, aliases)."""
    if not own:
        return None
    named = addresses([raw for name in _NAMED for raw in headers.get(name)])
    if any(_is_own(each.address, own) for each in named):
        return None
    return "none of the account's addresses is in its To or Cc (others of yours: `addresses` of the reply)"


def _is_own(address: str, own: Sequence[str]) -> bool:
    """Whether that is one of these; `me+shop@…` is `me@…` (RFC 5233)."""
    mark = loop_mark(address)
    local, _, domain = mark.rpartition("@")
    marks = {loop_mark(each) for each in own}
    return mark in marks or f"{local.partition('+')[0]}@{domain}" in marks


def _values(headers: Headers, name: str) -> list[str]:
    return [clean(decode(raw)).strip()[:200] for raw in headers.get(name)]


def _word(text: str) -> str:
    """The first word of a structured value, without parameters and comments."""
    words = (without_comments(text) if "(" in text else text).partition(";")[0].casefold().split()
    return words[0] if words else ""


def _local(address: str) -> str:
    return address.rpartition("@")[0].casefold() or address.casefold()
