"""What was done to messages since some moment: what a plan that was kept must not do once more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from mailrules.adapters.store.brakes import DAY, HOUR, counted
from mailrules.adapters.store.database import Database
from mailrules.adapters.store.effects import chunks
from mailrules.adapters.store.mailboxes import is_
from mailrules.adapters.store.schema import effect, run


@dataclass(frozen=True, slots=True)
class Acted:
    """The run that acted on a message last, and the plan which that run was made for, if any."""

    run: int
    plan: str | None


class Earlier:
    """The part of the store about what was done since."""

    _database: Database

    def acted(
        self, account: str, mailbox: str, uidvalidity: int, uids: Sequence[int], *, since: datetime
    ) -> dict[int, Acted]:
        """Of these messages, those for which effects were recorded since.

        What was only said (a dry run, a rule that could not be judged) counts where it was said for a plan.
        That counts before all else, so that a plan knows its own messages.
        """
        place = {"account": account, "mailbox": mailbox, "uidvalidity": uidvalidity}
        found: dict[int, Acted] = {}
        with self._database.read() as connection:
            for chunk in chunks(uids):
                for row in connection.execute(
                    select(effect.c.uid, effect.c.state, run.c.id, run.c.detail)
                    .join(run, effect.c.run == run.c.id)
                    .where(is_(effect, place), effect.c.uid.in_(chunk), effect.c.created_at >= since)
                    .order_by(effect.c.id)
                ):
                    plan = (row.detail or {}).get("plan")
                    if plan is None and row.state in ("would", "skipped"):
                        continue
                    if plan is not None or row.uid not in found or found[row.uid].plan is None:
                        found[row.uid] = Acted(row.id, plan)
        return found

    def acted_in_hour(self, rule: str, *, now: datetime) -> int:
        """On how many messages a rule with `per_hour` has acted within the last hour."""
        with self._database.read() as connection:
            return counted(connection, f"hour:{rule}", now=now, within=HOUR)

    def sent_in_day(self, account: str, *, now: datetime) -> int:
        """How many messages an account has sent within a day."""
        with self._database.read() as connection:
            return counted(connection, f"day:{account}", now=now, within=DAY)
