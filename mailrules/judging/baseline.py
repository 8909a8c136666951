"""Which mail of a mailbox is new: at the first look, when it was numbered anew, after `resync` (R9).

What is told apart by date may be told apart wrongly: a server that puts a mailbox back may date all of
it anew. So a brake looks first what the new mail would set off, and pauses the mailbox if it is too
much. Pausing comes before writing: a crash in between ends paused, and is done again.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from mailrules import clock
from mailrules.adapters.imap.mailbox import Mailbox
from mailrules.adapters.store import Look, MailboxRow, Store
from mailrules.core.safe import cut
from mailrules.core.uidset import UidSet
from mailrules.judging.judge import Judge

log = logging.getLogger("mailrules.run")

WINDOW = 2500
"""Messages looked at together."""
MARGIN = timedelta(hours=1)
"""After a UIDVALIDITY change, mail that came this long before the last sweep still counts as new."""
BRAKE_LEAST = 50
BRAKE_SHARE = 5
"""More than both, BRAKE_LEAST messages and one in BRAKE_SHARE of the mailbox, are not sent on unasked."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """Settles what counts as judged in the selected mailbox, before it is swept."""

    store: Store
    account: str
    mailbox: Mailbox
    judge: Judge

    def stands(self, look: Look | None) -> bool:
        """Whether the journal knows this mailbox as it is now: `settle` has nothing to do."""
        return look is not None and look.since is None and look.row.uidvalidity == self.mailbox.uidvalidity

    def settle(self) -> int | None:
        """Make sure the journal knows this mailbox as it is now.

        Gives how many messages there were, if it was the first look.
        """
        row = self.store.mailbox(self.account, self.mailbox.name)
        if row is None:
            return self._first_look()
        since = self.store.resync_since(self.account, self.mailbox.name)
        if row.uidvalidity != self.mailbox.uidvalidity:
            self._numbered_anew(row, since)
        elif since is not None:
            self._put_back(since)
        return None

    def _first_look(self) -> int:
        uids = self.mailbox.uids()
        self._write(uids, new=set())
        log.info(
            "%s/%s: watched from now on; what is there already (%d) is left alone until `apply`",
            self.account, self.mailbox.name, len(uids),
        )  # fmt: skip
        return len(uids)

    def _write(self, uids: Sequence[int], *, new: set[int]) -> None:
        # The checkpoint stays below what is new: sweeps begin there.
        self.store.set_baseline(
            self.account, self.mailbox.name, uidvalidity=self.mailbox.uidvalidity,
            judged=UidSet(uid for uid in uids if uid not in new),
            high_uid=min(new) - 1 if new else max(uids, default=0), at=clock.now(),
        )  # fmt: skip

    def _numbered_anew(self, row: MailboxRow, since: datetime | None) -> None:
        """UIDs mean nothing any more: know messages by identity, and by date where that fails."""
        if since is None:
            # What was there at the first look is older than it, however lately it had come.
            looked = [row.last_sweep or row.baseline_at, clock.now()]  # it may have been set back since
            # What could not be judged yet has no identity to be known by: look back to when it came.
            looked += [
                t.since
                for t in self.store.troubled("waiting")
                if (t.account, t.mailbox) == (self.account, self.mailbox.name)
            ]
            since = max(min(looked) - MARGIN, row.baseline_at.replace(microsecond=0))
        uids = self.mailbox.uids()
        new: set[int] = set()
        unread: list[int] = []
        undated: list[int] = []
        places: dict[str, int] = {}
        for start in range(0, len(uids), WINDOW):
            window = uids[start : start + WINDOW]
            identities = self.mailbox.identities(window)
            known = self.store.known(self.account, [i.identity for i in identities.values()])
            for uid in window:
                identity = identities.get(uid)
                if identity is None:
                    unread.append(uid)
                    continue
                places[identity.identity] = uid
                if identity.identity in known:
                    continue
                if identity.internaldate is None:
                    undated.append(uid)
                elif identity.internaldate >= since:
                    new.add(uid)
        # Nobody knows whether these are new. Judging asks who they are again, and does nothing twice.
        new |= self.mailbox.present(unread) if unread else set()
        log.warning(
            "%s/%s: the server numbered the mailbox anew (UIDVALIDITY %d is now %d): "
            "%d messages are known or old, %d new",
            self.account, self.mailbox.name, row.uidvalidity, self.mailbox.uidvalidity,
            len(uids) - len(new), len(new),
        )  # fmt: skip
        self._say_undated(undated)
        self._brake("the server numbered the mailbox anew", sorted(new), len(uids))
        self.store.renumber(
            self.account, self.mailbox.name, uidvalidity=self.mailbox.uidvalidity, uids=places
        )
        self._write(uids, new=new)

    def _put_back(self, since: datetime) -> None:
        """The journal was put back from a copy: of what it has not judged, new is what came since then."""
        uids = self.mailbox.uids()
        judged = self.store.judged(self.account, self.mailbox.name)
        others = [uid for uid in uids if uid not in judged]
        dates = self.mailbox.dates(others)
        new = sorted(uid for uid, date in dates.items() if date >= since)
        log.warning(
            "%s/%s: the journal was put back from a copy: of %d messages it does not know, %d came before "
            "%s and are left alone until `apply`, %d are new",
            self.account, self.mailbox.name, len(others), len(others) - len(new),
            since.astimezone().isoformat(sep=" ", timespec="seconds"), len(new),
        )  # fmt: skip
        self._say_undated([uid for uid in others if uid not in dates])
        self._brake("the journal was put back from a copy", new, len(uids))
        old = UidSet(uid for uid in others if uid not in set(new))
        self.store.resynced(self.account, self.mailbox.name, uidvalidity=self.mailbox.uidvalidity, old=old)

    def _say_undated(self, uids: Sequence[int]) -> None:
        there = sorted(self.mailbox.present(uids)) if uids else []
        if there:
            log.warning(
                "%s/%s uid=%s: the server does not say when they came: taken as old, left to `apply`",
                self.account, self.mailbox.name, cut(str(UidSet(there)), 60),
            )  # fmt: skip

    # -- the brake ------------------------------------------------------------------------------------
    def _brake(self, why: str, new: Sequence[int], total: int) -> None:
        """Pause the mailbox if more of it would be sent on than can be by chance; nothing is recorded."""
        limit = max(BRAKE_LEAST, total // BRAKE_SHARE)
        if len(new) <= limit or not self._sends():
            return
        count = 0
        for start in range(0, len(new), WINDOW):
            judged = self.judge.judge(self.mailbox, new[start : start + WINDOW], clock.now())
            # What can't be judged now may be sent on later, when no brake looks any more.
            count += len(judged.deferred) + len(judged.broken)
            count += sum(
                any(e.once and e.state in ("planned", "held") for e in decision.effects)
                for decision in judged.decisions.values()
            )
        if count <= limit:
            return
        where = f"{self.account}/{self.mailbox.name}"
        words = (
            f"{why}, and {count} of its {total} messages would be sent on or handed to a script: "
            f"look at what is held, then `mailrules resume {shlex.quote(where)}`, or skip it"
        )
        self.store.pause(f"mailbox:{where}", reason=words, at=clock.now())
        log.error("%s is paused: %s", where, words)

    def _sends(self) -> bool:
        """Whether any rule here does what can't be repeated."""
        return any(action.once for rule in self.judge.rules if rule.enabled for action in rule.then)
