"""One automatic answer to a sender in a while: decided in the transaction that plans it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, select

from mailrules.adapters.store.schema import REPLY, Moment, clean, effect

if TYPE_CHECKING:  # templates and regexes are heavy, and reading the log needs none
    from mailrules.core.actions.base import PlannedEffect

_NEVER_SENT = ("failed", "gone", "skipped", "would")


@dataclass(slots=True)
class Replies:
    """What was answered before, by the journal and now: within one transaction, or in a plan that is only
    shown.

    A reply that failed or was dropped does not count: its sender has not been answered. One that is held,
    waits, or may have been sent does.
    """

    account: str
    _now: dict[tuple[str, str], datetime] = field(default_factory=dict)

    def once_in_a_while(
        self, connection: Connection | None, planned: PlannedEffect, *, at: datetime
    ) -> PlannedEffect:
        """The reply as it is, or skipped, if its rule answered its sender within its `once_every`; what is
        no reply as it is. `connection` None: there is no journal yet.
        """
        if planned.action != "reply" or planned.state not in ("planned", "held"):
            return planned
        who = (planned.rule, clean(planned.target))
        last = self._now.get(who)
        if last is None and connection is not None:
            last = self._last(connection, who, planned, at)
        if last is None:
            self._now[who] = at
            return planned
        because = f"not answered: this rule answered {planned.target} on {last:%Y-%m-%d}, and `once_every`"
        return replace(planned, state="skipped", once=False, because=f"{because} is not over")

    def _last(
        self, connection: Connection, who: tuple[str, str], planned: PlannedEffect, at: datetime
    ) -> datetime | None:
        since = at - timedelta(seconds=float(planned.arguments["once_every"]))
        found: datetime | None = connection.scalar(
            select(func.max(effect.c.created_at, type_=Moment())).where(
                REPLY,
                effect.c.account == self.account,
                effect.c.rule == who[0],
                effect.c.target == who[1],
                effect.c.created_at > since,
                effect.c.state.not_in(_NEVER_SENT),
            )
        )
        return found
