"""Where the messages of an undo are now: one FETCH a mailbox, and a search for those that are lost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from mailrules.adapters.imap.connection import Connection
from mailrules.adapters.imap.identity import Identity
from mailrules.core.errors import PermanentError
from mailrules.undoing.inverse import Place
from mailrules.undoing.takings import Job

FEW = 20
"""So many messages are searched for one by one; for more, a mailbox is read through."""


def look(connection: Connection, jobs: Sequence[Job], copies: set[Place]) -> None:
    """Find each message: where the journal says, else by its identity wherever it is."""
    by_mailbox: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        by_mailbox[job.thread.end.mailbox].append(job)
    for name, those in by_mailbox.items():
        _look_there(connection, name, those)
    lost = [job for job in jobs if job.at is None]
    if lost:
        expected = {job.at for job in jobs if job.at is not None} | copies
        _search(connection, lost, expected)


def _look_there(connection: Connection, name: str, jobs: Sequence[Job]) -> None:
    try:
        box = connection.select(name, read_only=True)
    except PermanentError:
        return
    same = [job for job in jobs if job.thread.end.uidvalidity == box.uidvalidity]
    told = box.identities(sorted({job.thread.end.uid for job in same if job.thread.end.uid}))
    for job in same:
        known = told.get(job.thread.end.uid)
        if known is not None and known.identity == job.identity:
            job.found(job.thread.end, known)


def _search(connection: Connection, lost: Sequence[Job], expected: set[Place]) -> None:
    """By identity, first in the mailboxes that the journal knows of, then in all."""
    near = {place.mailbox for job in lost for place in job.thread.places}
    listed = connection.mailboxes()
    everything = connection.special_use().get("\\All")  # a view of the others, on Gmail
    others = [info.name for info in listed if info.selectable and info.name != everything]
    others += [everything] if everything else []
    hits: dict[str, list[tuple[Place, Identity]]] = defaultdict(list)
    wanted = {job.identity for job in lost}
    for name in (*sorted(near), *(name for name in others if name not in near)):
        try:
            box = connection.select(name, read_only=True)
        except PermanentError:
            continue
        if len(wanted) <= FEW and not any(identity.startswith("sha256:") for identity in wanted):
            uids = sorted({uid for identity in wanted for uid in box.find(identity)})
        else:
            uids = box.uids()
        for uid, known in box.identities(uids).items():
            place = Place(name, box.uidvalidity, uid)
            if known.identity in wanted and place not in expected:
                hits[known.identity].append((place, known))
        if name not in near:
            wanted -= hits.keys()  # found: no need to look everywhere
        if not wanted:
            break
    for job in lost:
        _recognise(job, hits.get(job.identity, []))


def _recognise(job: Job, hits: Sequence[tuple[Place, Identity]]) -> None:
    end = job.thread.end
    home = [hit for hit in hits if hit[0].mailbox == end.mailbox]
    if len(home) == len(hits) == 1:  # the server did not say its UID, or it has another one by now
        job.found(*home[0])
    elif len(hits) == 1 and not job.copy:
        job.found(*hits[0], by_hand=True)
    elif hits and not job.copy:
        where = ", ".join(sorted({place.mailbox for place, _ in hits}))
        job.leave(f"it is not where it was put, and there is more than one like it ({where})")
    else:
        job.leave("it is not where it was put, and nowhere else")
