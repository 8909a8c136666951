"""Verbs that change a mailbox, and the proof of what they did.

OK is not proof: servers say it and move nothing, keep no flag, name no new UID. So whatever a server
does not name itself (COPYUID, the FETCH after a STORE) is asked for, and each UID gets a true Outcome.
A message is never removed before its copy is proven, and never by a plain EXPUNGE while there are
others' \\Deleted messages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mailrules.adapters.imap.framing import Response, Status
from mailrules.adapters.imap.identity import find_all
from mailrules.adapters.imap.outcomes import CHUNK, GONE, failed, refusal
from mailrules.adapters.imap.refusals import NoSuchMailbox, over_quota, throttled
from mailrules.adapters.imap.removing import finish, remove
from mailrules.adapters.imap.tokens import numeral, validity
from mailrules.adapters.imap.transport import Reply, astring
from mailrules.core.actions.base import Outcome
from mailrules.core.errors import PermanentError
from mailrules.core.uidset import UidSet

if TYPE_CHECKING:
    from mailrules.adapters.imap.mailbox import Mailbox

OnCopied = Callable[[Mapping[int, Outcome]], None]
"""Told of messages whose copies are proven, before their originals are removed."""

RECENT = 1000
"""How many of the newest messages of a mailbox are looked through for a copy of unknown UID."""

_COPYUID = re.compile(rb"\[COPYUID (\d+) ([\d:,]+) ([\d:,]+)\]", re.IGNORECASE)

Pairs = dict[int, tuple[int, int]]
"""UID -> (UIDVALIDITY, UID) in the other mailbox."""


@dataclass(slots=True)
class _Transfer:
    """What one MOVE or COPY came to."""

    status: Status
    pairs: Pairs = field(default_factory=dict)
    expunged: int = 0


def move(
    mailbox: Mailbox,
    uids: UidSet,
    target: str,
    *,
    identities: Mapping[int, str] | None,
    on_copied: OnCopied | None,
) -> dict[int, Outcome]:
    refused = _unfit(mailbox, uids, target)
    if refused is not None:
        return refused
    return _Mover(mailbox, target, identities, on_copied).each(uids, leave=True)


def copy(
    mailbox: Mailbox, uids: UidSet, target: str, *, identities: Mapping[int, str] | None
) -> dict[int, Outcome]:
    try:
        mailbox.connection.wire_name(target)
    except PermanentError as error:
        return dict.fromkeys(uids, failed(str(error)))
    return _Mover(mailbox, target, identities, None).each(uids, leave=False)


def _unfit(mailbox: Mailbox, uids: UidSet, target: str) -> dict[int, Outcome] | None:
    """Outcomes where nothing is to be sent at all."""
    connection = mailbox.connection
    try:
        same = connection.wire_name(target) == connection.wire_name(mailbox.name)
    except PermanentError as error:
        return dict.fromkeys(uids, failed(str(error)))
    if same:
        # A MOVE to itself would number the message anew, and it would be judged again.
        return dict.fromkeys(uids, Outcome("done", {"note": "it is there already"}))
    if mailbox.read_only:
        return dict.fromkeys(uids, failed(f"mailbox '{mailbox.name}' is read-only"))
    return None


class _Mover:
    """MOVE or COPY of many messages to one mailbox."""

    def __init__(
        self,
        mailbox: Mailbox,
        target: str,
        identities: Mapping[int, str] | None,
        on_copied: OnCopied | None,
    ) -> None:
        self.mailbox = mailbox
        self.connection = mailbox.connection
        self.target = target
        self.on_copied = on_copied
        self._identities = dict(identities or {})
        self._low: int | None = None  # the copies have at least this UID

    def each(self, uids: UidSet, *, leave: bool) -> dict[int, Outcome]:
        outcomes: dict[int, Outcome] = {}
        for chunk in uids.chunks(count=CHUNK):
            if "UIDPLUS" not in self.connection.capabilities:
                self._prepare(chunk)
            if not leave:
                outcomes |= self._copy(chunk)
            elif "MOVE" in self.connection.capabilities and not self.connection.move_broken:
                outcomes |= self._move(chunk)
            else:
                outcomes |= self._copy_away(chunk)
        return outcomes

    def _prepare(self, chunk: UidSet) -> None:
        """The server will not say where the copies are: note what to look for, and from where on."""
        self._learn(uid for uid in chunk if uid not in self._identities)
        try:
            self._low = self.connection.status(self.target).uidnext
        except NoSuchMailbox:
            self._low = 1

    def _learn(self, uids: Iterable[int]) -> None:
        known = self.mailbox.identities(uids)
        self._identities.update((uid, identity.identity) for uid, identity in known.items())

    # -- MOVE -------------------------------------------------------------------------------------
    def _move(self, chunk: UidSet) -> dict[int, Outcome]:
        transfer = self._transfer(b"UID MOVE ", chunk)
        status = transfer.status
        done = self._done(transfer.pairs)
        missing = [uid for uid in chunk if uid not in transfer.pairs]
        if status.status == "OK":
            if not missing:
                return done
            if transfer.pairs:  # it names what it moved: the others were not there
                there = self.mailbox.present(missing)
                done |= {uid: GONE for uid in missing if uid not in there}
                return done | self._settle(sorted(there), self._not_moved)
            if transfer.expunged >= len(missing) and not any(uid in self._identities for uid in missing):
                there = self.mailbox.present(missing)
                done |= {
                    uid: Outcome("done", {"note": "the server did not say under which UID"})
                    for uid in missing
                    if uid not in there
                }
                return done | self._settle(sorted(there), self._not_moved)
            return done | self._settle(missing, self._not_moved)
        if not transfer.pairs and (status.status == "BAD" or status.code == "CANNOT"):
            # Yahoo Japan announces MOVE and says CANNOT; if it is the name that can't be, COPY says it too.
            outcomes = self._copy_away(chunk)
            if any(outcome.state == "done" for outcome in outcomes.values()):
                self.connection.move_broken = True
            return outcomes
        return done | self._settle(missing, lambda: self._refusal(status))

    def _not_moved(self) -> Outcome:
        return Outcome("later", {"error": "the server said OK, but the message is still there"})

    def _settle(self, uids: Sequence[int], otherwise: Callable[[], Outcome]) -> dict[int, Outcome]:
        """Find out what became of messages that the server did not name.

        Here and there: finish the move. Only there: done. Only here: `otherwise`. Nowhere: gone.
        """
        if not uids:
            return {}
        here = self.mailbox.present(uids)
        there = self._find(uids)
        outcomes: dict[int, Outcome] = {}
        both = [uid for uid in uids if uid in here and uid in there]
        for uid in uids:
            if uid in there and uid not in here:
                outcomes |= self._done({uid: there[uid]}, inferred=True)
            elif uid in here and uid not in there:
                outcomes[uid] = otherwise()
            elif uid not in here:
                outcomes[uid] = GONE
        return outcomes | self._take_away({uid: there[uid] for uid in both}, inferred=True)

    # -- COPY -------------------------------------------------------------------------------------
    def _copy(self, chunk: UidSet) -> dict[int, Outcome]:
        transfer = self._transfer(b"UID COPY ", chunk)
        missing = [uid for uid in chunk if uid not in transfer.pairs]
        done = self._done(transfer.pairs)
        if not missing:
            return done
        here = self.mailbox.present(missing)
        done |= {uid: GONE for uid in missing if uid not in here}
        if transfer.status.status != "OK":
            if transfer.status.code == "EXPUNGEISSUED" and 0 < len(here) < len(missing):
                # A COPY that fails leaves nothing behind (RFC 9051 6.4.7); the others need not wait for it.
                return done | self._copy(UidSet(here))
            return done | dict.fromkeys(sorted(here), self._refusal(transfer.status))
        self._learn(uid for uid in here if uid not in self._identities)
        found = self._find(sorted(here))
        done |= self._done(found, inferred=True)
        # Once more could make one copy more each time: a person has to look.
        unproven = Outcome("unknown", {"error": "the server said OK, but the copy can't be found"})
        return done | {uid: unproven for uid in here if uid not in found}

    def _copy_away(self, chunk: UidSet) -> dict[int, Outcome]:
        """MOVE by hand: copy, prove, tell the journal, remove."""
        copied = self._copy(chunk)
        proven = {uid: outcome for uid, outcome in copied.items() if outcome.state == "done"}
        if proven and self.on_copied is not None:
            self.on_copied(proven)
        return copied | finish(self.mailbox, proven)

    def _take_away(self, pairs: Pairs, *, inferred: bool) -> dict[int, Outcome]:
        if not pairs:
            return {}
        proven = self._done(pairs, inferred=inferred)
        if self.on_copied is not None:
            self.on_copied(proven)
        return finish(self.mailbox, proven)

    # -- both -------------------------------------------------------------------------------------
    def _transfer(self, verb: bytes, chunk: UidSet) -> _Transfer:
        reply = self._send(verb, chunk)
        if not reply.ok:
            wait = throttled(reply.status, f"moving to '{self.target}'")
            if wait is not None:
                raise wait
            if not over_quota(reply.status) and self._create_missing(reply.status):
                reply = self._send(verb, chunk)
        transfer = _Transfer(reply.status, read_copyuid(reply, chunk))
        transfer.expunged = sum(response[0].upper().endswith(b" EXPUNGE") for response in reply.untagged)
        return transfer

    def _send(self, verb: bytes, chunk: UidSet) -> Reply:
        wire = self.connection.wire_name(self.target)
        return self.mailbox.send(verb + str(chunk).encode() + b" ", astring(wire))

    def _create_missing(self, status: Status) -> bool:
        """If the target is missing and may be created, create it."""
        error = self.connection.mailbox_failure(status, self.target, f"moving to '{self.target}'")
        if not isinstance(error, NoSuchMailbox) or not self.connection.may_create(self.target):
            return False
        try:
            self.connection.create(self.target)
        except PermanentError:
            return False
        return True

    def _refusal(self, status: Status) -> Outcome:
        error = self.connection.mailbox_failure(status, self.target, f"moving to '{self.target}'")
        return refusal(status, str(error))

    def _find(self, uids: Sequence[int]) -> Pairs:
        """Where the copies of these messages are, as far as their identities are known."""
        wanted = {uid: self._identities[uid] for uid in uids if uid in self._identities}
        if not wanted:
            return {}
        try:
            box = self.connection.select(self.target, read_only=True)
        except PermanentError:
            return {}
        low = self._low
        if low is None:
            low = max(1, (box.uidnext or 1) - RECENT)
        found = find_all(box, set(wanted.values()), low=low)
        return {
            uid: (box.uidvalidity, found[identity]) for uid, identity in wanted.items() if identity in found
        }

    def _done(self, pairs: Pairs, *, inferred: bool = False) -> dict[int, Outcome]:
        return {
            uid: Outcome(
                "done",
                {"to_uidvalidity": uidvalidity, "to_uid": to_uid} | ({"inferred": True} if inferred else {}),
            )
            for uid, (uidvalidity, to_uid) in pairs.items()
        }


def read_copyuid(reply: Reply, chunk: UidSet) -> Pairs:
    """The pairs that a server names (RFC 4315), in the tagged answer or before it.

    Exchange leaves out the `* OK` (`[COPYUID 55 31 6]`), home.pl the `OK`.
    """
    found: Pairs = {}
    texts = [_bracketed(response) for response in reply.untagged]
    if reply.status.code == "COPYUID":
        texts.append(b"[COPYUID " + reply.status.data + b"]")
    for match in map(_COPYUID.search, texts):
        if match is None:
            continue
        old, new = _expand(match[2]), _expand(match[3])
        uidvalidity = validity(match[1])
        if uidvalidity is not None and old and len(old) == len(new):
            found.update((uid, (uidvalidity, to)) for uid, to in zip(old, new, strict=True) if uid in chunk)
    return found


def _bracketed(response: Response) -> bytes:
    first = response[0]
    return first if re.match(rb"(?:\* )?(?:OK )?\[", first, re.IGNORECASE) else b""


def _expand(text: bytes) -> list[int]:
    """A set in the order it is written: the two sets of COPYUID correspond place by place."""
    found: list[int] = []
    for part in text.split(b","):
        low, _, high = part.partition(b":")
        first, last = numeral(low), numeral(high or low)
        if first is None or last is None:
            return []
        if len(found) + abs(last - first) > 10 * CHUNK:
            return []
        found.extend(range(first, last + 1) if first <= last else range(first, last - 1, -1))
    return found


def delete(mailbox: Mailbox, uids: UidSet) -> dict[int, Outcome]:
    connection = mailbox.connection
    if mailbox.read_only:
        return dict.fromkeys(uids, failed(f"mailbox '{mailbox.name}' is read-only"))
    if "X-GM-EXT-1" not in connection.capabilities:
        return remove(mailbox, uids)
    trash = connection.special_use().get("\\Trash")
    if trash is None:
        return dict.fromkeys(uids, failed("Gmail shows no \\Trash mailbox over IMAP. Switch it on there."))
    if trash == mailbox.name:
        return remove(mailbox, uids)
    outcomes = move(mailbox, uids, trash, identities=None, on_copied=None)
    there = {
        int(outcome.detail["to_uid"]): uid
        for uid, outcome in outcomes.items()
        if outcome.state == "done" and "to_uid" in outcome.detail
    }
    if there:
        box = connection.select(trash)
        for to_uid, outcome in remove(box, UidSet(there)).items():
            done = outcome if outcome.state != "gone" else Outcome("done")
            outcomes[there[to_uid]] = Outcome(done.state, {**outcomes[there[to_uid]].detail, **done.detail})
        connection.reselect(mailbox)
    return outcomes
