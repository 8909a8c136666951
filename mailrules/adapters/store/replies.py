"""One automatic answer to a sender in a while: decided in the transaction that plans it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, select

from mailrules.adapters.store.schema import REPLY, Moment, clean, effect

if TYPE_CHECKING:  # templates and regexes are heavy, and reading the log needs none
    from mailrules.core.actions.base import PlannedEffect

_NEVER_SENT = ("failed", "gone", "skipped", "would")


class Replies:
    """Within one transaction: what was answered before, by the journal and by this transaction.

    A reply that failed or was dropped does not count: its sender has not been answered. One that is held,
    waits, or may have been sent does.
    """

    def __init__(self, connection: Connection, account: str, at: datetime) -> None:
        self._connection = connection
        self._account = account
        self._at = at
        self._now: set[tuple[str, str]] = set()

    def once_in_a_while(self, planned: PlannedEffect) -> PlannedEffect:
        """The reply as it is, or skipped, if its rule answered its sender within its `once_every`."""
        if planned.state not in ("planned", "held"):
            return planned
        who = (planned.rule, clean(planned.target))
        last = self._at if who in self._now else self._last(who, planned)
        if last is None:
            self._now.add(who)
            return planned
        because = f"not answered: this rule answered {planned.target} on {last:%Y-%m-%d}, and `once_every`"
        return replace(planned, state="skipped", once=False, because=f"{because} is not over")

    def _last(self, who: tuple[str, str], planned: PlannedEffect) -> datetime | None:
        since = self._at - timedelta(seconds=float(planned.arguments["once_every"]))
        found: datetime | None = self._connection.scalar(
            select(func.max(effect.c.created_at, type_=Moment())).where(
                REPLY,
                effect.c.account == self._account,
                effect.c.rule == who[0],
                effect.c.target == who[1],
                effect.c.created_at > since,
                effect.c.state.not_in(_NEVER_SENT),
            )
        )
        return found
