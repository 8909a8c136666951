"""What was done to messages since some moment: what a plan that was kept must not do once more."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from mailrules.adapters.store.brakes import DAY, HOUR, counted
from mailrules.adapters.store.database import Database
from mailrules.adapters.store.effects import chunks
from mailrules.adapters.store.mailboxes import is_
from mailrules.adapters.store.repeats import canonical
from mailrules.adapters.store.schema import OPEN, effect, run

if TYPE_CHECKING:
    from mailrules.core.actions.base import PlannedEffect


@dataclass(frozen=True, slots=True)
class Acted:
    """The run that acted on a message last, and the plan which that run was made for, if any."""

    run: int
    plan: str | None


@dataclass(frozen=True, slots=True)
class Finished:
    """The run that had left something of a message, and all that is done to the message by now."""

    run: int
    done: frozenset[tuple[str, str, str]]

    def has(self, planned: PlannedEffect) -> bool:
        """Whether the rule has done just that."""
        return (planned.rule, planned.action, canonical(planned.arguments)) in self.done


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

    def finished(
        self, account: str, mailbox: str, uidvalidity: int, uids: Sequence[int], *, since: datetime
    ) -> dict[int, Finished]:
        """Of these messages, those for which something was done since that had been recorded before."""
        place = {"account": account, "mailbox": mailbox, "uidvalidity": uidvalidity}
        runs: dict[int, int] = {}
        done: dict[int, set[tuple[str, str, str]]] = defaultdict(set)
        with self._database.read() as connection:
            for chunk in chunks(uids):
                for row in connection.execute(
                    select(
                        effect.c.uid, effect.c.run, effect.c.rule, effect.c.action, effect.c.arguments,
                        effect.c.created_at, effect.c.changed_at,
                    )
                    .where(
                        is_(effect, place), effect.c.uid.in_(chunk), effect.c.state == "done",
                        effect.c.undone.is_(None), effect.c.undoes.is_(None),
                    )
                    .order_by(effect.c.id)
                ):  # fmt: skip
                    done[row.uid].add((row.rule, row.action, canonical(row.arguments)))
                    if row.created_at < since <= row.changed_at:
                        runs[row.uid] = row.run
        return {uid: Finished(run, frozenset(done[uid])) for uid, run in runs.items()}

    def unfinished_of(self, runs: Sequence[int]) -> int:
        """How many messages these runs have begun with and are not through with."""
        waits = effect.c.state.in_(("planned", "intent", "copied", "commit", "later"))
        total = 0
        with self._database.read() as connection:
            for chunk in chunks(runs):
                open_ = select(effect.c.run, effect.c.uid).where(OPEN, waits, effect.c.run.in_(chunk))
                total += connection.scalar(select(func.count()).select_from(open_.distinct().subquery())) or 0
        return total

    def acted_in_hour(self, rule: str, *, now: datetime) -> int:
        """On how many messages a rule with `per_hour` has acted within the last hour."""
        with self._database.read() as connection:
            return counted(connection, f"hour:{rule}", now=now, within=HOUR)

    def sent_in_day(self, account: str, *, now: datetime) -> int:
        """How many messages an account has sent within a day."""
        with self._database.read() as connection:
            return counted(connection, f"day:{account}", now=now, within=DAY)
