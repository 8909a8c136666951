"""sd_notify(3): tells systemd how the service is. Where no systemd asked, it says nothing."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

from mailrules.core.safe import cut, safe

_LONGEST_STATUS = 200


class Notifier:
    """Speaks over `$NOTIFY_SOCKET`, which systemd sets for Type=notify. Never raises, never blocks.

    A worker that can't tell systemd how it is works on: systemd's watchdog and its start time-out are what
    notices that nothing is heard.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        watched = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        usec = environ.get("WATCHDOG_USEC", "")
        self.watchdog_seconds = int(usec) / 1e6 if watched and usec.isascii() and usec.isdigit() else None
        """Within how many seconds systemd wants to hear `watchdog()`; None: it does not wait for it."""

    def ready(self, status: str = "") -> None:
        """The service works (READY=1); also ends `reloading`."""
        self._send("READY=1", *_status(status))

    def reloading(self) -> None:
        """The file is read again, until `ready`. MONOTONIC_USEC is what Type=notify-reload asks for."""
        usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={usec}")

    def stopping(self) -> None:
        """The service is about to end by its own will."""
        self._send("STOPPING=1")

    def watchdog(self) -> None:
        """Everything that should tick has ticked."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`: "12 of 14 accounts connected"."""
        self._send(*_status(text))

    def _send(self, *assignments: str) -> None:
        if not self._address.startswith(("/", "@")) or not assignments:
            return
        # A leading @ stands for the NUL byte of an abstract socket (unix(7)).
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)
                sock.sendto("\n".join(assignments).encode(), address)
        except OSError:
            return


def _status(text: str) -> list[str]:
    """STATUS= with nothing in it that could begin another assignment or move a terminal's cursor."""
    clean = cut(safe(text), _LONGEST_STATUS)
    return [f"STATUS={clean}"] if clean else []
