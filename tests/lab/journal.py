"""The journal as SQLite shows it, looked into and changed beside the program."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path


@contextmanager
def opened(path: Path | str, *, uri: bool = False) -> Iterator[sqlite3.Connection]:
    """One transaction, committed at the end, and closed.

    `with sqlite3.connect(…)` closes nothing: whenever that is done later, it writes an old WAL into whatever
    file has been put there meanwhile.
    """
    with closing(sqlite3.connect(path, uri=uri)) as connection, connection:
        yield connection
