"""Numbers handed out in the transaction that uses them: portable, without gaps, never given twice."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from mailrules.adapters.store.schema import counter


def take(connection: Connection, name: str, count: int) -> int:
    """Within a transaction: the first of `count` fresh numbers."""
    moved = connection.execute(
        update(counter).where(counter.c.name == name).values(value=counter.c.value + count)
    )
    if not moved.rowcount:
        connection.execute(insert(counter).values(name=name, value=count))
        return 1
    return int(connection.scalar(select(counter.c.value).where(counter.c.name == name)) or 0) - count + 1
