"""mailrules.adapters.store.soundness: damage is found, and nothing is changed."""

from __future__ import annotations

from pathlib import Path

from mailrules.adapters.store import Store
from mailrules.adapters.store.soundness import unsound, version


def test_a_whole_file(tmp_path: Path) -> None:
    """It is not written to."""
    with Store.open(tmp_path) as store:
        store.set("a", "b")
    before = (tmp_path / "journal.db").read_bytes()
    assert unsound(tmp_path / "journal.db") == ""
    assert (tmp_path / "journal.db").read_bytes() == before


def test_a_damaged_file(tmp_path: Path) -> None:
    """Pages overwritten, or no database at all, or nothing there."""
    with Store.open(tmp_path) as store:
        store.set("a", "b")
    path = tmp_path / "journal.db"
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    assert unsound(path)
    path.write_bytes(b"hello" * 1000)
    assert "not a database" in unsound(path)
    assert unsound(tmp_path / "nothing.db")


def test_the_version() -> None:
    """Of the library at work."""
    assert version().count(".") == 2
