"""Fixtures that every test may use: a real mail server, a proxy that breaks things, an SMTP sink."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import disk
from tests.lab.ca import LabCA
from tests.lab.dovecot import Dovecot, binary
from tests.lab.gmail import Hoodiecrow, missing
from tests.lab.proxy import FaultProxy

_NEED_DOVECOT = {"dovecot", "user", "proxy", "server_for"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever asks for Dovecot is marked so: `-m "not dovecot"` leaves it out."""
    for item in items:
        if any("dovecot" in name or name in _NEED_DOVECOT for name in getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.dovecot)


def required(name: str) -> bool:
    """Whether a missing tool is a failure and not a skip: on CI, or where MAILRULES_REQUIRE_<NAME> is set."""
    return bool(os.environ.get("CI") or os.environ.get(f"MAILRULES_REQUIRE_{name.upper()}"))


def need_dovecot() -> None:
    """Skip, loudly, where there is no Dovecot; fail where there must be one."""
    if binary() is None:
        words = "Dovecot is not installed (Debian: apt install dovecot-imapd dovecot-lmtpd)"
        if required("dovecot"):
            pytest.fail(words)
        pytest.skip(words)


@pytest.fixture(scope="session")
def lab_ca() -> Iterator[LabCA]:
    """A certificate authority of our own."""
    directory = Path(tempfile.mkdtemp(prefix="mailrules-ca-"))
    yield LabCA(directory)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def dovecot(lab_ca: LabCA) -> Iterator[Dovecot]:
    """A running Dovecot: `/` separates, special-use mailboxes exist, all extensions are on."""
    need_dovecot()
    with Dovecot(ca=lab_ca) as server:
        yield server
        log = server.log()
    assert " Panic: " not in log


@pytest.fixture
def user(dovecot: Dovecot) -> str:
    """A user of that Dovecot whose mailboxes are still empty."""
    return dovecot.new_user()


@pytest.fixture
def proxy(dovecot: Dovecot) -> Iterator[FaultProxy]:
    """A proxy before that Dovecot's plaintext port."""
    with FaultProxy((dovecot.host, dovecot.imap_port)) as faults:
        yield faults


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[disk.SmallDisk]:
    """A file system of 8 MB that a test may fill."""
    words = disk.no_mount(tmp_path / "disk")
    if words is not None:
        if required("mount"):
            pytest.fail(words)
        pytest.skip(words)
    with disk.SmallDisk(tmp_path / "disk") as mounted:
        yield mounted


@pytest.fixture
def writes(tmp_path: Path) -> disk.Writes:
    """What makes writes of the journal fail, or tells of them."""
    words = disk.no_compiler()
    if words is not None:
        if required("gcc"):
            pytest.fail(words)
        pytest.skip(words)
    return disk.Writes(tmp_path)


@pytest.fixture
def hoodiecrow() -> Iterator[Hoodiecrow]:
    """A server with Gmail's extensions."""
    words = missing()
    if words is not None:
        if required("node"):
            pytest.fail(words)
        pytest.skip(words)
    with Hoodiecrow() as server:
        yield server


@pytest.fixture
def smtp_sink() -> Iterator[Any]:
    """An SMTP server that keeps what it is given and fails on request."""
    from tests.lab.smtp import SmtpSink

    with SmtpSink() as sink:
        yield sink
