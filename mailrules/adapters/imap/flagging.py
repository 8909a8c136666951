"""Flags: +FLAGS and -FLAGS, and whether the server really did it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mailrules.adapters.imap import fetch
from mailrules.adapters.imap.arguments import refuse_control
from mailrules.adapters.imap.items import read_fetch
from mailrules.adapters.imap.outcomes import CHUNK, GONE, failed, refusal
from mailrules.adapters.imap.refusals import throttled
from mailrules.adapters.imap.tokens import flags as read_flags
from mailrules.adapters.imap.transport import Reply
from mailrules.core.actions.base import Outcome
from mailrules.core.uidset import UidSet

if TYPE_CHECKING:
    from mailrules.adapters.imap.mailbox import Mailbox

_SYSTEM = frozenset({"\\seen", "\\answered", "\\flagged", "\\deleted", "\\draft"})
_FLAG = re.compile(r"\\?[!#$&'+-\[^-z|}~]+")


def store(mailbox: Mailbox, uids: UidSet, flags: Sequence[str], *, add: bool) -> dict[int, Outcome]:
    """+FLAGS or -FLAGS, never the absolute form; what came of it is read back."""
    for flag in flags:
        refuse_control(flag)
        problem = _flag_problem(mailbox, flag)
        if problem is not None and (add or mailbox.read_only or not _FLAG.fullmatch(flag)):
            return dict.fromkeys(uids, failed(problem))
    outcomes: dict[int, Outcome] = {}
    verb = b" +FLAGS (" if add else b" -FLAGS ("
    for chunk in uids.chunks(count=CHUNK):
        reply = mailbox.send(b"UID STORE " + str(chunk).encode() + verb + " ".join(flags).encode() + b")")
        if not reply.ok:
            wait = throttled(reply.status, "STORE")
            if wait is not None:
                raise wait
        now = answered(reply, chunk, b"FLAGS", read_flags)
        unsaid = [uid for uid in chunk if uid not in now or not _as_wanted(now[uid], flags, add=add)]
        for uid, items in fetch.fetch_items(mailbox, unsaid, b"FLAGS").items() if unsaid else ():
            if isinstance(items, dict) and b"FLAGS" in items:
                now[uid] = read_flags(items[b"FLAGS"])
            else:
                now.setdefault(uid, frozenset())
        for uid in chunk:
            if uid not in now:
                outcomes[uid] = GONE
            elif _as_wanted(now[uid], flags, add=add):
                outcomes[uid] = Outcome("done")
            elif not reply.ok:
                error = mailbox.connection.failure(reply.status, f"setting {' '.join(flags)}")
                outcomes[uid] = refusal(reply.status, str(error))
            else:
                outcomes[uid] = failed(
                    f"the server said OK, but {'kept no' if add else 'did not clear'} {' '.join(flags)}. "
                    "Perhaps this user may not change flags here."
                )
    return outcomes


def answered(
    reply: Reply, chunk: UidSet, item: bytes, read: Callable[[Any], frozenset[str]]
) -> dict[int, frozenset[str]]:
    """What the answer to STORE tells of these messages."""
    found: dict[int, frozenset[str]] = {}
    for response in reply.untagged:
        try:
            items = read_fetch(response)
        except ValueError:
            continue
        if items and item in items and items.get(b"UID", 0) in chunk:
            found[items[b"UID"]] = read(items[item])
    return found


def _as_wanted(now: frozenset[str], flags: Sequence[str], *, add: bool) -> bool:
    folded = {flag.lower() for flag in now}  # servers change the case of keywords
    return all((flag.lower() in folded) == add for flag in flags)


def _flag_problem(mailbox: Mailbox, flag: str) -> str | None:
    """Why a flag can't be set here, or None."""
    if not _FLAG.fullmatch(flag):
        return f"'{flag}' can't be a flag. Use letters, digits, '$', '-' and '_'."
    if flag.startswith("\\") and flag.lower() not in _SYSTEM:
        return f"'{flag}' is no flag that can be set."
    if mailbox.read_only:
        return f"mailbox '{mailbox.name}' is read-only"
    kept = {known.lower() for known in mailbox.permanent_flags}
    if flag.lower() in kept or (not flag.startswith("\\") and "\\*" in kept):
        return None
    return (
        f"this server does not keep '{flag}' in mailbox '{mailbox.name}' (PERMANENTFLAGS). "
        "Use a flag it keeps, or move or copy instead."
    )
