"""Many rows in one statement, or one statement many times, without SQLAlchemy's look at every value.

A pass over a large mailbox writes tens of thousands of rows, and each new mail asks the same few questions;
building the statement and converting each value costs more than the database does. Values must be as the
driver takes them: `moment` for times, `as_json`, text that is `schema.clean`, UIDVALIDITY `schema.signed`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_json = json.JSONEncoder(ensure_ascii=True).encode


def execute_many(connection: Connection, statement: Any, rows: Sequence[Mapping[str, Any]]) -> int:
    """Execute an INSERT or UPDATE for each row (its parameters by name). Gives how many rows it changed."""
    if not rows:
        return 0
    text, order = _prepared(statement, connection.dialect)
    values: Sequence[Any] = rows if order is None else list(map(itemgetter(*order), rows))
    cursor = connection.connection.cursor()
    cursor.executemany(text, values)
    return int(cursor.rowcount)


def run(connection: Connection, statement: Any, **values: Any) -> Any:
    """Execute a statement that stands in a module, its parameters by name. Gives the driver's cursor.

    What it holds is as the driver has it: numbers for times, text for JSON.
    """
    text, order = _prepared(statement, connection.dialect)
    cursor = connection.connection.cursor()
    cursor.execute(text, values if order is None else tuple([values[name] for name in order]))
    return cursor


@lru_cache(maxsize=200)
def _prepared(statement: Any, dialect: Any) -> tuple[str, tuple[str, ...] | None]:
    """A statement's text for this driver, and the order of its parameters where it has no names."""
    compiled = statement.compile(dialect=dialect)
    order = compiled.positiontup
    return str(compiled), None if order is None else tuple(order)


def moment(value: datetime | None) -> int | None:
    """A time as `schema.Moment` stores it."""
    return None if value is None else (value - _EPOCH) // _MICROSECOND


def time_of(value: int | None) -> Any:
    """The time that `moment` stored: a datetime, or None."""
    return None if value is None else _EPOCH + timedelta(microseconds=value)


def as_json(value: Any) -> str:
    """A value as JSON columns store it."""
    if type(value) is dict and len(value) == 1:  # where a message goes: the same for thousands
        ((name, only),) = value.items()
        if type(only) is str:
            return _of_one(name, only)
    return _json(value)


@lru_cache(maxsize=1000)
def _of_one(name: str, value: str) -> str:
    return _json({name: value})
