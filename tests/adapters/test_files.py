"""adapters/files.py: whole files, never over another one, and the same after a crash."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from mailrules.adapters import files


def save(directory: Path, *those: tuple[str, bytes], key: str = "key234") -> list[str]:
    outcome = files.save(those, str(directory), effect_key=key)
    assert outcome.state == "done", outcome.detail
    return list(outcome.detail["files"])


def test_files_are_made(tmp_path: Path) -> None:
    """Missing directories are made; a file is whole and its owner's alone; nothing else is left."""
    where = tmp_path / "a" / "b"
    assert save(where, ("x.pdf", b"1"), ("y.pdf", b"2")) == ["x.pdf", "y.pdf"]
    assert (where / "x.pdf").read_bytes() == b"1"
    assert stat.S_IMODE((where / "x.pdf").stat().st_mode) == 0o600
    assert stat.S_IMODE(where.stat().st_mode) == 0o700
    assert sorted(os.listdir(where)) == ["x.pdf", "y.pdf"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """Another file of that name is numbered; one with the same contents is the same file."""
    (tmp_path / "x.pdf").write_bytes(b"mine")
    assert save(tmp_path, ("x.pdf", b"1"), ("x.pdf", b"2"), ("x.pdf", b"1")) == [
        "x-2.pdf",
        "x-3.pdf",
        "x-2.pdf",
    ]
    assert (tmp_path / "x.pdf").read_bytes() == b"mine"
    assert save(tmp_path, ("x.pdf", b"1"), ("x.pdf", b"2")) == ["x-2.pdf", "x-3.pdf"], "done again"
    assert len(os.listdir(tmp_path)) == 3


def test_killed_in_the_middle(tmp_path: Path) -> None:
    """What an earlier try left over, half written or linked already, is cleaned up."""
    (tmp_path / ".key234-0.part").write_bytes(b"hal")
    assert save(tmp_path, ("x.pdf", b"half")) == ["x.pdf"]
    os.link(tmp_path / "x.pdf", tmp_path / ".key234-0.part")
    assert save(tmp_path, ("x.pdf", b"half")) == ["x.pdf"]
    assert os.listdir(tmp_path) == ["x.pdf"]


def test_links_lead_nowhere(tmp_path: Path) -> None:
    """A symlink or pipe with the name of the file, or of the temporary one, is not written through."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"1")
    where = tmp_path / "in"
    where.mkdir()
    (where / "x.pdf").symlink_to(outside)
    (where / ".key234-0.part").symlink_to(outside)
    os.mkfifo(where / "x-2.pdf")
    (where / "x-3.pdf").mkdir()
    assert save(where, ("x.pdf", b"1")) == ["x-4.pdf"]
    assert outside.read_bytes() == b"1" and (where / "x.pdf").is_symlink()


def test_nothing_to_save(tmp_path: Path) -> None:
    """No files make no directory."""
    assert save(tmp_path / "a") == [] and not (tmp_path / "a").exists()


def test_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that has none still overwrites nothing."""

    def link(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EPERM, "not here")

    monkeypatch.setattr(files.os, "link", link)
    (tmp_path / "x.pdf").write_bytes(b"mine")
    assert save(tmp_path, ("x.pdf", b"1")) == ["x-2.pdf"]
    assert sorted(os.listdir(tmp_path)) == ["x-2.pdf", "x.pdf"]


@pytest.mark.parametrize(
    ("code", "state"), [(errno.ENOSPC, "later"), (errno.EROFS, "failed"), (errno.ENOTDIR, "failed")]
)
def test_what_goes_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, state: str) -> None:
    """A full disk is tried again later; a place that can't be written fails, and says what to do."""

    def fail(*args: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files, "_write", fail)
    outcome = files.save([("x", b"1")], str(tmp_path), effect_key="k")
    assert outcome.state == state and os.strerror(code) in outcome.detail["error"]
    assert ("ReadWritePaths" in outcome.detail["error"]) == (code == errno.EROFS)
    assert os.listdir(tmp_path) == []


def test_a_file_in_the_way(tmp_path: Path) -> None:
    """A directory that is a file fails."""
    (tmp_path / "a").write_bytes(b"")
    assert files.save([("x", b"1")], str(tmp_path / "a"), effect_key="k").state == "failed"
