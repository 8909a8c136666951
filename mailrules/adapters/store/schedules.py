"""When scheduled rules ran, and which messages their next run need not look at."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, insert, select, update

from mailrules.adapters.store.database import Database
from mailrules.adapters.store.effects import chunks
from mailrules.adapters.store.journal import insisting
from mailrules.adapters.store.mailboxes import is_
from mailrules.adapters.store.memory import Memory
from mailrules.adapters.store.schema import OPEN, clean, effect, scheduled

WHOLE = ""
"""The `mailbox` of the row that speaks of all mailboxes of a rule on an account."""


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """A scheduled rule on one account. Everything it was due for up to `since` is settled.

    `begun_at`: a run that has not ended yet, or was interrupted. `last_at`: when the last one that did
    end began. `trouble`: why it did not do what it should, or "".
    """

    rule: str
    account: str
    schedule: str  # as `Schedule.text` has it
    timezone: str
    since: datetime
    begun_at: datetime | None
    last_at: datetime | None
    trouble: str


class Schedules(Memory):
    """The part of the store about scheduled rules."""

    _database: Database

    @insisting  # as with the rules' texts: a full disk must not keep a worker from starting
    def keep_schedules(self, wanted: Mapping[tuple[str, str], tuple[str, str]], *, at: datetime) -> None:
        """These rules on these accounts have a schedule now: (rule, account) -> (schedule, zone).

        What is new, or has another schedule than before, is counted from `at`; the others keep what they
        have. A rule that has none any more is forgotten: it misses nothing meanwhile.
        """
        known = {(row.rule, row.account): row for row in self.schedules()}
        gone = known.keys() - wanted.keys()
        changed = {
            key: told
            for key, told in wanted.items()
            if key not in known or (known[key].schedule, known[key].timezone) != told
        }
        if not gone and not changed:
            return
        with self._database.write() as connection:
            for rule, account in gone:
                connection.execute(
                    delete(scheduled).where(is_(scheduled, {"rule": rule, "account": account}))
                )
            for (rule, account), (schedule, timezone) in changed.items():
                key = {"rule": rule, "account": account, "mailbox": WHOLE}
                values = {"schedule": schedule, "timezone": timezone, "since": at, "begun_at": None}
                if (rule, account) in known:
                    connection.execute(update(scheduled).where(is_(scheduled, key)).values(**values))
                else:
                    connection.execute(insert(scheduled).values(**key, **values, trouble=""))

    def schedules(self, account: str | None = None) -> list[ScheduleRow]:
        """Every scheduled rule on every account, or on one."""
        query = select(scheduled).where(scheduled.c.mailbox == WHOLE)
        if account is not None:
            query = query.where(scheduled.c.account == account)
        with self._database.read() as connection:
            return [
                ScheduleRow(
                    r.rule, r.account, r.schedule, r.timezone, r.since, r.begun_at, r.last_at, r.trouble
                )
                for r in connection.execute(query.order_by(scheduled.c.rule, scheduled.c.account))
            ]

    def begin_schedule(self, rule: str, account: str, *, at: datetime) -> tuple[datetime, frozenset[str]]:
        """It is due: begin, or go on with what was interrupted. Gives since when it is at it, and the
        mailboxes it is through with. Raises StoreFull while room is short."""
        self._database.demand_room()
        mine = {"rule": rule, "account": account}
        with self._database.write() as connection:
            whole = is_(scheduled, mine | {"mailbox": WHOLE})
            begun = connection.scalar(select(scheduled.c.begun_at).where(whole))
            if begun is not None and begun <= at:
                through = connection.scalars(
                    select(scheduled.c.mailbox).where(
                        is_(scheduled, mine), scheduled.c.mailbox != WHOLE, scheduled.c.last_at >= begun
                    )
                )
                return begun, frozenset(through)
            connection.execute(update(scheduled).where(whole).values(begun_at=at))
            return at, frozenset()

    @insisting
    def mailbox_done(self, rule: str, account: str, mailbox: str, *, begun: datetime) -> None:
        """The run that began then is through with this mailbox."""
        key = {"rule": rule, "account": account, "mailbox": clean(mailbox)}
        with self._database.write() as connection:
            moved = connection.execute(update(scheduled).where(is_(scheduled, key)).values(last_at=begun))
            if not moved.rowcount:
                connection.execute(
                    insert(scheduled).values(
                        **key, schedule="", timezone="", since=begun, last_at=begun, trouble=""
                    )
                )

    @insisting
    def end_schedule(
        self, rule: str, account: str, *, begun: datetime, since: datetime, trouble: str = ""
    ) -> None:
        """The run that began then has ended; everything up to `since` is settled."""
        key = {"rule": rule, "account": account, "mailbox": WHOLE}
        with self._database.write() as connection:
            connection.execute(
                update(scheduled)
                .where(is_(scheduled, key))
                .values(begun_at=None, last_at=begun, since=since, trouble=trouble)
            )

    @insisting
    def schedule_trouble(self, rule: str, account: str, trouble: str) -> None:
        """Why its run does not get on; it is not at an end."""
        key = {"rule": rule, "account": account, "mailbox": WHOLE}
        with self._database.write() as connection:
            connection.execute(update(scheduled).where(is_(scheduled, key)).values(trouble=trouble))

    # -- what the next run leaves alone ---------------------------------------------------------------
    def standing(
        self,
        account: str,
        mailbox: str,
        uidvalidity: int,
        *,
        rule: str,
        revision: str,
        leaves: bool,
        simulated: bool = False,
    ) -> frozenset[int]:
        """UIDs that a scheduled rule leaves alone, because of what the journal has of them already.

        Something it wanted there is not at an end (a person may have to decide), or was skipped or undone
        under the same rule text; if it `leaves`, something of any rule is not at an end. `simulated`: also
        what it `would` have done.
        """
        place = {"account": account, "mailbox": clean(mailbox), "uidvalidity": uidvalidity}
        ended = ["skipped", "would"] if simulated else ["skipped"]
        unfinished = select(effect.c.uid).where(OPEN, is_(effect, place))
        if not leaves:
            unfinished = unfinished.where(effect.c.rule == rule)
        decided = select(effect.c.uid).where(
            is_(effect, place),
            effect.c.rule == rule,
            effect.c.revision == revision,
            effect.c.state.in_(ended) | effect.c.undone.is_not(None),
        )
        with self._database.read() as connection:
            return frozenset(connection.scalars(unfinished)) | frozenset(connection.scalars(decided))

    def done_already(
        self, account: str, identities: Iterable[str], *, rule: str
    ) -> set[tuple[str, str, str]]:
        """What a rule has done to these messages, wherever they were: (identity, action, what).

        `what` is the target of what happens once ever, else the arguments as JSON with sorted keys.
        """
        found: set[tuple[str, str, str]] = set()
        with self._database.read() as connection:
            for chunk in chunks(sorted({clean(identity) for identity in identities})):
                for row in connection.execute(
                    select(
                        effect.c.identity, effect.c.action, effect.c.once, effect.c.target, effect.c.arguments
                    ).where(
                        effect.c.account == account,
                        effect.c.identity.in_(chunk),
                        effect.c.rule == rule,
                        effect.c.undoes.is_(None),
                        (effect.c.state == "done") | (effect.c.once & (effect.c.state != "would")),
                    )
                ):
                    what = row.target if row.once else json.dumps(row.arguments, sort_keys=True)
                    found.add((row.identity, row.action, what))
        return found
