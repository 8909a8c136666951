"""Gmail's labels (X-GM-EXT-1): X-GM-LABELS read, put on, taken off, and whether it really happened."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mailrules.adapters.imap import fetch, names
from mailrules.adapters.imap.arguments import refuse_control
from mailrules.adapters.imap.flagging import answered
from mailrules.adapters.imap.outcomes import CHUNK, GONE, failed, refusal
from mailrules.adapters.imap.refusals import throttled
from mailrules.adapters.imap.tokens import texts
from mailrules.core.actions.base import Outcome
from mailrules.core.uidset import UidSet

if TYPE_CHECKING:
    from mailrules.adapters.imap.mailbox import Mailbox

_INBOX = "\\inbox"


def labels_of(value: Any) -> frozenset[str]:
    """The labels of a message; Gmail writes them in modified UTF-7, as it writes mailboxes."""
    return frozenset(names.decode(text) for text in texts(value))


def store(mailbox: Mailbox, uids: UidSet, labels: Sequence[str], *, add: bool) -> dict[int, Outcome]:
    """+X-GM-LABELS or -X-GM-LABELS; what came of it is read back."""
    if "X-GM-EXT-1" not in mailbox.connection.capabilities:
        words = "labels are Gmail's, and this is not a Gmail server (no X-GM-EXT-1). Use copy, or flag."
        return dict.fromkeys(uids, failed(words))
    if mailbox.read_only:
        return dict.fromkeys(uids, failed(f"mailbox '{mailbox.name}' is read-only"))
    for label in labels:
        refuse_control(label)
    outcomes: dict[int, Outcome] = {}
    for chunk in uids.chunks(count=CHUNK):
        outcomes |= _store(mailbox, chunk, labels, add=add)
    return outcomes


def _store(mailbox: Mailbox, chunk: UidSet, labels: Sequence[str], *, add: bool) -> dict[int, Outcome]:
    listed = b" ".join(_on_the_wire(label) for label in labels)
    sign = b"+" if add else b"-"
    reply = mailbox.send(b"UID STORE " + str(chunk).encode() + b" " + sign + b"X-GM-LABELS (" + listed + b")")
    if not reply.ok:
        wait = throttled(reply.status, "STORE")
        if wait is not None:
            raise wait
    wanted = _expectation(mailbox, labels, add=add)
    now = answered(reply, chunk, b"X-GM-LABELS", labels_of)
    _look_again(mailbox, [uid for uid in chunk if uid not in now or not wanted(now[uid])], now)
    outcomes: dict[int, Outcome] = {}
    for uid in chunk:
        if uid not in now:
            taken_out = reply.ok and not add and _INBOX in (label.lower() for label in labels)
            outcomes[uid] = Outcome("done") if taken_out else GONE
        elif wanted(now[uid]):
            outcomes[uid] = Outcome("done")
        elif not reply.ok:
            error = mailbox.connection.failure(reply.status, f"labelling with {', '.join(labels)}")
            outcomes[uid] = refusal(reply.status, str(error))
        else:
            did = "did not keep" if add else "did not take off"
            outcomes[uid] = failed(f"the server said OK, but {did} the label {', '.join(labels)}.")
    return outcomes


def _look_again(mailbox: Mailbox, unsaid: Sequence[int], now: dict[int, frozenset[str]]) -> None:
    """Ask for what the answer to STORE did not tell. Those that are gone stay absent."""
    found: Mapping[int, Any] = fetch.fetch_items(mailbox, unsaid, b"X-GM-LABELS") if unsaid else {}
    for uid in unsaid:
        items = found.get(uid)
        if isinstance(items, dict) and b"X-GM-LABELS" in items:
            now[uid] = labels_of(items[b"X-GM-LABELS"])
        elif uid in found:
            now.setdefault(uid, frozenset())
        else:
            now.pop(uid, None)


def _expectation(mailbox: Mailbox, labels: Sequence[str], *, add: bool) -> Callable[[frozenset[str]], bool]:
    """Whether labels are as they should be. That of the mailbox a message is in, Gmail leaves out."""
    silent = {_INBOX if mailbox.name.upper() == "INBOX" else mailbox.name.casefold()} if add else set()
    named = {label.casefold() for label in labels} - silent

    def holds(now: frozenset[str]) -> bool:
        folded = {label.casefold() for label in now}
        return named <= folded if add else named.isdisjoint(folded)

    return holds


def _on_the_wire(label: str) -> bytes:
    """Gmail's own as an atom; others as a string in modified UTF-7."""
    if label.startswith("\\"):
        return label.encode("ascii", "replace")
    encoded = names.encode(label).decode("ascii")
    return b'"' + encoded.replace("\\", "\\\\").replace('"', '\\"').encode() + b'"'
