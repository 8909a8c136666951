"""What no rule matched at an earlier look, and what need not be looked at again for that."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Self

from mailrules import __version__
from mailrules.adapters.imap.mailbox import Mailbox
from mailrules.core.lasting import asks_only_its_own, fingerprint, lasts
from mailrules.core.uidset import UidSet
from mailrules.house import House
from mailrules.judging.judge import Judge, Judged


@dataclass(slots=True)
class Known:
    """Messages of a mailbox that none of the lasting rules matches, as `unmatched`.

    `passing` judges by the other rules only: None where there are none. `fresh` is what this look found.
    """

    account: str
    mailbox: str
    uidvalidity: int
    fingerprint: str
    unmatched: UidSet
    passing: Judge | None = None
    fresh: array[int] = field(default_factory=lambda: array("Q"))

    @classmethod
    def of(cls, house: House, account: str, mailbox: Mailbox, judge: Judge, *, afresh: bool) -> Self | None:
        """What the journal has, nothing if it is to be found out `afresh`. None where nothing can be known:
        there is no journal, or all messages have to be looked at for other reasons."""
        rules = [rule for rule in judge.rules if rule.enabled]
        lasting = [rule for rule in rules if lasts(rule)]
        others = [rule for rule in rules if not lasts(rule)]
        store, settings = house.journal, house.account(account)
        if store is None or not lasting or judge.noting or not all(map(asks_only_its_own, others)):
            return None
        mark = fingerprint(
            lasting, __version__, sys.version, settings.host, settings.port, settings.username,
            judge.trusted_authserv, judge.body_limit, house.config.settings.timezone_name,
        )  # fmt: skip
        place = (account, mailbox.name, mailbox.uidvalidity)
        known = UidSet() if afresh else store.unmatched(*place, fingerprint=mark)
        # What it lets through is judged by all the rules: it must let through at least what they would match.
        passing = house.judge(account, mailbox.name, rules=others, situation=judge.situation)
        return cls(*place, mark, known, replace(passing, trust_search=False) if others else None)

    def left(self, mailbox: Mailbox, uids: Sequence[int], now: datetime) -> list[int]:
        """Those of a window that have to be judged. Raises TransientError if the connection is lost."""
        known, others = self.unmatched.part(uids)
        if self.passing is None or not known:
            return others
        judged = self.passing.judge(mailbox, known, now)
        told = judged.decisions.keys() | judged.deferred.keys() | judged.broken.keys()
        return sorted([*others, *told, *judged.gone, *judged.pending])

    def learn(self, uids: Sequence[int], judged: Judged) -> None:
        """A window was judged by all the rules."""
        not_sure = judged.gone | judged.pending | judged.left_out | judged.unsure
        said = judged.decisions.keys() | judged.deferred.keys() | judged.broken.keys() | not_sure
        self.fresh.extend(uid for uid in uids if uid not in said)

    def all(self, there: Sequence[int]) -> UidSet:
        """What is known now of the messages that are there."""
        return UidSet.ascending(self.unmatched.part(there)[0]) | UidSet.ascending(self.fresh)
