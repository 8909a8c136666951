"""Room for the journal: nothing new is begun without it, and what was done is recorded all the same."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailrules.adapters.store import EffectRow, Store, StoreFull
from mailrules.adapters.store import ballast as module
from mailrules.adapters.store.ballast import SIZE, Ballast
from tests.lab.disk import SmallDisk

from .journal_words import T0, at, baseline, decided, flag, forward, record

MB = 2**20


@pytest.fixture
def full(small_disk: SmallDisk, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A journal on the small disk, which is not full yet."""
    monkeypatch.setattr(module, "LOOK", 0.0)
    monkeypatch.setattr(module, "AGAIN", 0.0)
    with Store.open(small_disk.path / "state") as store:
        baseline(store, (1, 1))
        yield store


def there(store: Store) -> bool:
    return (store.path.parent / "ballast").exists()


def begun(store: Store, uid: int = 2) -> EffectRow:
    (row,) = record(store, decided(uid, forward()))
    (row,) = store.advance([row.id], frm="planned", to="intent", at=at(1))
    return row


# -- the file -------------------------------------------------------------------------------------
def test_the_ballast_holds_its_blocks(store: Store) -> None:
    """16 MB that are really taken from the disk, readable by nobody else, kept when the writer ends."""
    path = store.path.parent / "ballast"
    store.close()
    found = path.stat()
    assert (found.st_size, stat.S_IMODE(found.st_mode)) == (SIZE, 0o600)
    assert found.st_blocks * 512 >= SIZE


def test_a_file_system_that_can_not_reserve_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where posix_fallocate is refused, the blocks are taken by writing them."""

    def refuses(*_: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", refuses)
    assert Ballast(tmp_path, writer=True, size=3 * MB).room().enough
    assert (tmp_path / "ballast").stat().st_blocks * 512 >= 3 * MB


def test_a_cut_off_ballast_is_made_anew(tmp_path: Path) -> None:
    """A ballast that is too small, because its making was cut off, is completed."""
    (tmp_path / "ballast").write_bytes(b"x" * 4096)
    assert Ballast(tmp_path, writer=True).room().enough
    assert (tmp_path / "ballast").stat().st_size == SIZE


def test_a_reader_only_looks(tmp_path: Path) -> None:
    """A reader makes no ballast, and says what the writer would need."""
    room = Ballast(tmp_path, writer=False).room()
    assert list(tmp_path.iterdir()) == []
    assert room.needed > SIZE


def test_a_small_disk_has_a_small_ballast(small_disk: SmallDisk) -> None:
    """At most a twentieth of the file system, and a tenth that must stay free."""
    room = Ballast(small_disk.path, writer=True).room()
    assert (small_disk.path / "ballast").stat().st_size == 8 * MB // 20
    assert (room.needed, room.enough) == (8 * MB // 10, True)


# -- room is short ----------------------------------------------------------------------------------
def test_nothing_new_is_begun_while_room_is_short(full: Store, small_disk: SmallDisk) -> None:
    """Neither a run, nor a decision, nor an effect; it says what is free, what is needed, what to do."""
    run = full.start_run(account="work", mailbox="INBOX", kind="new", rules_hash="h", at=T0)
    (row,) = record(full, decided(2, flag()))
    small_disk.fill(leave=MB // 2)
    words = r"only 0\.[45] MB are free, and 0\.8 MB are needed\. Make room"
    with pytest.raises(StoreFull, match=words):
        full.start_run(account="work", mailbox="INBOX", kind="new", rules_hash="h", at=T0)
    with pytest.raises(StoreFull, match=words):
        full.record(run, "work", "INBOX", 7, [], judged=full.judged("work", "INBOX"), high_uid=9, at=T0)
    with pytest.raises(StoreFull, match=words):
        full.advance([row.id], frm="planned", to="intent", at=at(1))
    assert there(full)
    small_disk.empty()
    assert full.advance([row.id], frm="planned", to="intent", at=at(2))[0].tries == 1


def test_what_was_begun_ends_while_room_is_short(full: Store, small_disk: SmallDisk) -> None:
    """An effect that has its intent goes on to its commit and its outcome."""
    row = begun(full)
    small_disk.fill(leave=MB // 2)
    full.advance([row.id], frm="intent", to="commit", at=at(2))
    (row,) = full.advance([row.id], frm="commit", to="done", at=at(3))
    assert row.state == "done"
    assert there(full)


def test_a_person_decides_while_room_is_short(full: Store, small_disk: SmallDisk) -> None:
    """Pause, resume, retry and skip are small, and work on."""
    failed, other = (
        full.advance([begun(full, uid).id], frm="intent", to="failed", at=at(2))[0] for uid in (2, 3)
    )
    small_disk.fill(leave=MB // 2)
    assert full.pause("*", reason="by hand", at=at(3))
    assert full.resume("*", at=at(4)) == (True, 0)
    assert full.retry([failed.id], at=at(5))[0].state == "planned"
    assert full.skip([other.id], at=at(5))[0].state == "skipped"


# -- none is left -----------------------------------------------------------------------------------
def test_outcomes_get_the_ballast(
    full: Store, small_disk: SmallDisk, caplog: pytest.LogCaptureFixture
) -> None:
    """On a full disk an outcome is recorded with the ballast's room, which comes back when there is room."""
    rows = [begun(full, uid) for uid in range(2, 40)]
    small_disk.fill()
    for row in rows:
        assert full.advance([row.id], frm="intent", to="done", at=at(2))[0].state == "done"
    assert not there(full)
    assert sum("ballast is dropped" in line for line in caplog.messages) == 1
    with pytest.raises(StoreFull):
        full.start_run(account="work", mailbox="INBOX", kind="new", rules_hash="h", at=T0)
    small_disk.empty()
    full.start_run(account="work", mailbox="INBOX", kind="new", rules_hash="h", at=T0)
    assert there(full)


def test_the_commit_point_never_gets_the_ballast(full: Store, small_disk: SmallDisk) -> None:
    """On a full disk the arrow before the act fails, so nothing is done; the ballast stays for outcomes."""
    rows = [begun(full, uid) for uid in range(2, 40)]
    small_disk.fill()
    with pytest.raises(StoreFull, match="nothing is done"):
        for row in rows:
            full.advance([row.id], frm="intent", to="commit", at=at(2))
    assert there(full)


def test_a_person_decides_on_a_full_disk(full: Store, small_disk: SmallDisk) -> None:
    """A pause that finds no room has the ballast's."""
    small_disk.fill()
    for n in range(40):
        assert full.pause(f"rule:{n}", reason="x" * 300, at=at(n))
    assert not there(full)


def test_a_disk_that_stays_full_is_said(full: Store, small_disk: SmallDisk) -> None:
    """When the ballast's room is used up too, an outcome raises, and is recorded when there is room again."""
    row = begun(full)
    with pytest.raises(StoreFull):
        for n in range(1000):
            small_disk.fill()
            full.pause(f"rule:{n}", reason="x" * 3000, at=at(n))
    small_disk.empty()
    assert full.advance([row.id], frm="intent", to="done", at=at(2))[0].state == "done"


DIES = """
    import os, sys
    from mailrules.adapters.store import Store
    store = Store.open(sys.argv[1])
    store.set("a", "b")
    os._exit(0)
"""


@pytest.mark.parametrize("clean", [True, False])
def test_it_opens_on_a_full_disk(small_disk: SmallDisk, clean: bool) -> None:
    """A worker that ends, or dies, while the disk is full can be started again: the ballast makes room."""
    state = small_disk.path / "state"
    code = "\n".join(line.strip() for line in DIES.splitlines())
    if clean:
        code = code.replace("os._exit(0)", "store.close()")
    subprocess.run([sys.executable, "-c", code, str(state)], check=True)
    small_disk.fill()
    with Store.open(state) as store:
        assert store.get("a") == "b"
        assert not store.room().enough
        assert store.answers()
