"""Telling systemd how the service is."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from mailrules.watching.notify import Notifier


class Listener:
    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.settimeout(2)
        self.notifier = Notifier({"NOTIFY_SOCKET": address})

    def heard(self) -> list[str]:
        return self.socket.recv(4096).decode().split("\n")


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path):
    address = str(tmp_path / "notify") if request.param == "path" else f"@mailrules-test-{os.getpid()}"
    listener = Listener(address)
    yield listener
    listener.socket.close()


def test_ready_with_status(listener: Listener) -> None:
    """READY=1 and the line for `systemctl status` arrive in one datagram, on both kinds of socket."""
    listener.notifier.ready("12 of 14 accounts connected")
    assert listener.heard() == ["READY=1", "STATUS=12 of 14 accounts connected"]


def test_each_word(listener: Listener) -> None:
    """Watchdog, stopping and status are single assignments."""
    listener.notifier.watchdog()
    listener.notifier.stopping()
    listener.notifier.status("fine")
    assert [listener.heard() for _ in range(3)] == [["WATCHDOG=1"], ["STOPPING=1"], ["STATUS=fine"]]


def test_reloading_has_the_time(listener: Listener) -> None:
    """RELOADING=1 carries the monotonic clock in microseconds, as Type=notify-reload asks."""
    listener.notifier.reloading()
    word, stamp = listener.heard()
    assert word == "RELOADING=1"
    name, _, usec = stamp.partition("=")
    assert name == "MONOTONIC_USEC"
    assert abs(int(usec) / 1e6 - time.monotonic()) < 5


def test_status_cannot_inject(listener: Listener) -> None:
    """A line end, an escape or a bidi override in a status neither begins an assignment nor stays."""
    listener.notifier.status("a\nREADY=1\x1b[2J\u202eb" + "x" * 1000)
    (line,) = listener.heard()
    assert line.startswith(r"STATUS=a\nREADY=1\x1b[2J\u202eb")
    assert len(line) < 220


def test_nothing_asked_nothing_said(tmp_path: Path) -> None:
    """Without a socket, with one that nobody listens on, or with a strange address, nothing happens."""
    for address in ("", str(tmp_path / "nobody"), "relative/path", "vsock:2:1"):
        Notifier({"NOTIFY_SOCKET": address}).ready("fine")


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_watchdog_interval(environ: dict[str, str], seconds: float | None) -> None:
    """WATCHDOG_USEC counts only for the process that WATCHDOG_PID names (sd_watchdog_enabled(3))."""
    assert Notifier(environ).watchdog_seconds == seconds
