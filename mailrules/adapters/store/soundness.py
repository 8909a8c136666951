"""Whether the journal's file is whole, as SQLite sees it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote


def unsound(path: Path) -> str:
    """What is wrong with the file, in SQLite's words, or "". Reads all of it, and changes nothing."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5)) as connection:
            found = [row[0] for row in connection.execute("PRAGMA quick_check(3)")]
    except sqlite3.Error as error:
        return str(error)
    return "" if found == ["ok"] else "; ".join(map(str, found))


def version() -> str:
    """SQLite's."""
    return sqlite3.sqlite_version
