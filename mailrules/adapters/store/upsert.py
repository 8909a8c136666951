"""INSERT … ON CONFLICT, which SQLite and PostgreSQL spell alike and SQLAlchemy does not."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, bindparam
from sqlalchemy.dialects import sqlite


def upsert(
    connection: Connection,
    table: Any,
    rows: Sequence[Mapping[str, Any]],
    *,
    update_columns: Collection[str] | None = None,
) -> None:
    """Insert, or where the primary key is there already, write these columns (default: all given)."""
    if not rows:
        return
    key = [column.name for column in table.primary_key]
    columns = [name for name in rows[0] if name not in key] if update_columns is None else update_columns
    connection.execute(_on_conflict(sqlite.insert(table), key, columns), rows)


def upsert_statement(
    table: Any, columns: Collection[str], *, instead: Mapping[str, Any] | None = None
) -> Any:
    """The same of the key and these columns, for `bulk.execute_many`. SQLite's; PostgreSQL's is the same.

    `instead`: what some of the columns become where the row is there, if not what is given.
    """
    key = [column.name for column in table.primary_key]
    statement = sqlite.insert(table).values({name: bindparam(name) for name in (*key, *columns)})
    return _on_conflict(statement, key, columns, instead or {})


def _on_conflict(
    statement: Any,
    key: list[str],
    columns: Collection[str],
    instead: Mapping[str, Any] = MappingProxyType({}),
) -> Any:
    if not columns:
        return statement.on_conflict_do_nothing(index_elements=key)
    return statement.on_conflict_do_update(
        index_elements=key, set_={name: statement.excluded[name] for name in columns} | dict(instead)
    )
