"""Bugs made on purpose: a suite that does not see them proves nothing (see test_mutations.py).

Each changes the product's classes in the process that calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import update

from mailrules import clock
from mailrules.adapters.store.journal import Journal
from mailrules.adapters.store.rows import EffectRow
from mailrules.adapters.store.schema import mailbox
from mailrules.run import Run


def done_before_the_act() -> None:
    """The journal says `done` when an effect is about to be done, and is not asked again."""
    real = Journal.advance
    ahead: set[int] = set()

    def advance(self: Journal, ids: Sequence[int], *, to: Any, **options: Any) -> list[EffectRow]:
        if ahead.issuperset(ids) and ids:
            return list(options.get("known", ()))
        rows = real(self, ids, to=to, **options)
        if to == "intent":
            real(self, ids, frm="intent", to="done", at=clock.now())
            ahead.update(ids)
        return rows

    Journal.advance = advance  # type: ignore[assignment,method-assign]


def no_commit_point() -> None:
    """What can't be taken back is found at `intent` after a crash, and is done again."""
    real = Journal.advance

    def advance(self: Journal, ids: Sequence[int], *, to: Any, **options: Any) -> list[EffectRow]:
        return list(options["known"]) if to == "commit" else real(self, ids, to=to, **options)

    Journal.advance = advance  # type: ignore[assignment,method-assign]


def checkpoint_alone() -> None:
    """Only UIDs above the checkpoint are new, and the checkpoint moves before they are judged."""

    def sweep(self: Run, look: object) -> tuple[list[int], bool]:
        place = (mailbox.c.account == self.account) & (mailbox.c.name == self.mailbox.name)
        row = self.store.mailbox(self.account, self.mailbox.name)
        assert row is not None
        uids = [uid for uid in self.mailbox.uids(row.high_uid + 1) if uid > row.high_uid]
        with self.store._database.write() as connection:
            highest = max(uids, default=row.high_uid)
            connection.execute(update(mailbox).where(place).values(high_uid=highest))
        return uids, False

    Run._sweep = sweep  # type: ignore[method-assign]


MUTATIONS: dict[str, Callable[[], None]] = {
    bug.__name__: bug for bug in (done_before_the_act, no_commit_point, checkpoint_alone)
}
