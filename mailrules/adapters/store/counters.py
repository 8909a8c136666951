"""Numbers handed out in the transaction that uses them: portable, without gaps, never given twice."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam
from sqlalchemy.dialects.sqlite import insert

from mailrules.adapters.store.bulk import run
from mailrules.adapters.store.schema import counter

_TAKE = (
    insert(counter)
    .values(name=bindparam("what"), value=bindparam("count"))
    .on_conflict_do_update(
        index_elements=[counter.c.name],
        set_={"value": counter.c.value + bindparam("more", type_=counter.c.value.type)},
    )
    .returning(counter.c.value)
)
"""PostgreSQL spells it alike."""


def take(connection: Connection, name: str, count: int) -> int:
    """Within a transaction: the first of `count` fresh numbers."""
    (last,) = run(connection, _TAKE, what=name, count=count, more=count).fetchone()
    return int(last) - count + 1
