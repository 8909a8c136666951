"""Files that mail becomes: whole or not at all, never over another one, for their owner alone.

A file is written under a name of its own, synced, and linked to the name it is to have, which fails if that
is taken. Found there with the same contents it is the one that an earlier try wrote: so doing it again
after a crash changes nothing (RELIABILITY, the table of kinds).
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mailrules.core.actions.base import Outcome
from mailrules.core.file_name import numbered

_PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.ETIMEDOUT,
            errno.ENOMEM, errno.EBUSY, errno.EHOSTDOWN}  # fmt: skip


def save(files: Sequence[tuple[str, bytes]], directory: str, *, effect_key: str) -> Outcome:
    """Save files (safe name, contents). The detail has the names they got."""
    saved: list[str] = []
    detail: dict[str, Any] = {"files": saved}
    if not files:
        return Outcome("done", {**detail, "because": "there is nothing to save"})
    try:
        with _opened(Path(directory)) as where:
            for number, (name, contents) in enumerate(files):
                saved.append(_save(where, name, contents, temporary=f".{effect_key[:40]}-{number}.part"))
            os.fsync(where)
    except OSError as error:
        return _failure(error, directory, detail)
    return Outcome("done", detail)


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    """The directory, made if it is missing; what follows stays in it, wherever its name leads by then."""
    _make(directory)
    where = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield where
    finally:
        os.close(where)


def _make(directory: Path) -> None:
    if directory.is_dir():
        return
    _make(directory.parent)
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    parent = os.open(directory.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def _save(where: int, name: str, contents: bytes, *, temporary: str) -> str:
    """Save one file; gives the name it got. Raises OSError."""
    written = False
    try:
        for candidate in numbered(name):
            if _same(where, candidate, contents):
                return candidate
            if not written:
                _write(where, temporary, contents)
                written = True
            with suppress(FileExistsError):
                _name(where, temporary, candidate)
                return candidate
    finally:
        with suppress(FileNotFoundError):  # also one of a try that was killed
            os.unlink(temporary, dir_fd=where)
    raise FileExistsError(errno.EEXIST, "too many files of that name", name)


def _write(where: int, temporary: str, contents: bytes) -> None:
    with suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=where)  # of a try that was killed
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(temporary, flags, 0o600, dir_fd=where), "wb") as file:
        file.write(contents)
        file.flush()
        os.fsync(file.fileno())


def _name(where: int, temporary: str, name: str) -> None:
    """Give a written file its name. Raises FileExistsError if it is taken."""
    try:
        os.link(temporary, name, src_dir_fd=where, dst_dir_fd=where, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        # A file system without hard links (FAT, some shares): take the name first, then the place.
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=where))
        os.rename(temporary, name, src_dir_fd=where, dst_dir_fd=where)


def _same(where: int, name: str, contents: bytes) -> bool:
    """Whether a plain file of that name has these contents."""
    try:
        found = os.stat(name, dir_fd=where, follow_symlinks=False)
        if not stat.S_ISREG(found.st_mode) or found.st_size != len(contents):
            return False
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(name, flags, dir_fd=where), "rb") as file:
            there = hashlib.file_digest(file, "sha256").digest()
    except (FileNotFoundError, PermissionError):
        return False
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise
    return there == hashlib.sha256(contents).digest()


def _failure(error: OSError, directory: str, detail: dict[str, Any]) -> Outcome:
    words = f"can't save to {directory}: {error.strerror or error}"
    if error.errno in _PASSING:
        return Outcome("later", {**detail, "error": words})
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        words += (
            ". mailrules' user must be able to write there; as a systemd service it needs"
            f" ReadWritePaths={directory} (docs/operations.md)"
        )
    return Outcome("failed", {**detail, "error": words})
