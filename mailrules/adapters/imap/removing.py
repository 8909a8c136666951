"""Removing messages for good: \\Deleted, then UID EXPUNGE of exactly these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mailrules.adapters.imap.flagging import store
from mailrules.adapters.imap.outcomes import CHUNK, GONE
from mailrules.adapters.imap.refusals import throttled
from mailrules.adapters.imap.search import read_search
from mailrules.core.actions.base import Outcome
from mailrules.core.uidset import UidSet

if TYPE_CHECKING:
    from mailrules.adapters.imap.mailbox import Mailbox


def remove(mailbox: Mailbox, uids: UidSet) -> dict[int, Outcome]:
    here = mailbox.present(uids)
    outcomes: dict[int, Outcome] = {uid: GONE for uid in uids if uid not in here}
    return outcomes | finish(mailbox, dict.fromkeys(sorted(here), Outcome("done")))


def finish(mailbox: Mailbox, proven: Mapping[int, Outcome]) -> dict[int, Outcome]:
    """Remove these originals; an outcome stays what it was, or says what was left behind."""
    outcomes = dict(proven)
    for chunk in UidSet(proven).chunks(count=CHUNK):
        for uid, words in expunge(mailbox, chunk).items():
            detail = dict(outcomes[uid].detail)
            if words == LEFT:
                outcomes[uid] = Outcome("done", detail | {"left_deleted": True, "note": words})
            else:
                outcomes[uid] = Outcome("later", detail | {"error": words})
    return outcomes


LEFT = (
    "the original is marked \\Deleted and still there: this server can only remove all deleted messages "
    "at once, and there are others' among them"
)


def expunge(mailbox: Mailbox, chunk: UidSet) -> dict[int, str]:
    """Remove messages for good. Returns why not, for those that stay."""
    connection = mailbox.connection
    marked = store(mailbox, chunk, ["\\Deleted"], add=True)
    stuck = {
        uid: str(outcome.detail.get("error", "can't be marked \\Deleted"))
        for uid, outcome in marked.items()
        if outcome.state in ("failed", "later")
    }
    ours = UidSet(uid for uid, outcome in marked.items() if outcome.state == "done")
    if not ours:
        return stuck
    if "UIDPLUS" in connection.capabilities and not connection.expunge_broken:
        reply = mailbox.send(b"UID EXPUNGE ", str(ours).encode())
        if not reply.ok:
            wait = throttled(reply.status, "UID EXPUNGE")
            if wait is not None:
                raise wait
            connection.expunge_broken = True  # Proton Bridge 1, hMailServer: announced, refused
    if "UIDPLUS" not in connection.capabilities or connection.expunge_broken:
        reply = mailbox.send(b"UID SEARCH DELETED")
        if reply.ok and set(read_search(reply.untagged)) == set(ours):
            mailbox.send(b"EXPUNGE")
    return stuck | dict.fromkeys(sorted(mailbox.present(ours)), LEFT)
