"""What the journal remembers of messages, by identity."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from sqlalchemy import Connection, bindparam, literal_column, select

from mailrules.adapters.store.bulk import run
from mailrules.adapters.store.database import Database
from mailrules.adapters.store.effects import chunks, row_of, select_effects
from mailrules.adapters.store.rows import EffectRow
from mailrules.adapters.store.schema import clean, effect, message


class Memory:
    """The part of the store that knows what happened to a message."""

    _database: Database

    def effect(self, id_: int) -> EffectRow | None:
        with self._database.read() as connection:
            return self._find(connection, id_)

    def _find(self, connection: Connection, id_: int) -> EffectRow | None:
        row = connection.execute(select_effects().where(effect.c.id == id_)).mappings().one_or_none()
        return None if row is None else row_of(row)

    def effects_of(self, account: str, identity: str) -> list[EffectRow]:
        """Every effect on a message, wherever it was, oldest first."""
        query = (
            select_effects()
            .where(effect.c.account == account, effect.c.identity == identity)
            .order_by(effect.c.id)
        )
        with self._database.read() as connection:
            return [row_of(r) for r in connection.execute(query).mappings()]

    def known(self, account: str, identities: Iterable[str]) -> set[str]:
        """Those of these identities that the journal has seen in this account."""
        found: set[str] = set()
        with self._database.read() as connection:
            for chunk in chunks(sorted(set(identities))):
                found.update(
                    connection.scalars(
                        select(message.c.identity).where(
                            message.c.account == account, message.c.identity.in_(chunk)
                        )
                    )
                )
        return found

    def history(
        self, account: str, mailbox: str, identities: Iterable[str]
    ) -> dict[str, Literal["ours", "returned"]]:
        """How messages that appear in a mailbox came there, where we had a hand in it; others are absent.

        `ours`: the last thing we did was to put it there (or we are at it). `returned`: the last thing
        was to take it out of there, or to put it back by an undo: somebody wants it there.
        """
        known: dict[str, Literal["ours", "returned"]] = {}
        with self._database.read() as connection:
            for identity in dict.fromkeys(map(clean, identities)):
                # The last of them counts: not by time, clocks are set back.
                came = run(connection, _CAME, of=account, called=clean(mailbox), whose=identity)
                for destination, undoes in came:
                    ours = destination == mailbox and undoes is None
                    known[identity] = "ours" if ours else "returned"
        return known


_CAME = (
    select(effect.c.destination, effect.c.undoes)
    .where(
        effect.c.account == bindparam("of"),
        effect.c.identity == bindparam("whose"),
        (
            (effect.c.destination == bindparam("called"))
            & effect.c.state.in_(
                [literal_column(f"'{state}'") for state in ("intent", "copied", "done", "unknown", "later")]
            )
        )
        | (
            (effect.c.mailbox == bindparam("called"))
            & effect.c.leaves
            & (effect.c.state == literal_column("'done'"))
        ),
    )
    .order_by(effect.c.change, effect.c.id)
)
