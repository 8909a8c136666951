"""hoodiecrow: an IMAP server with Gmail's X-GM-EXT-1, in Node.js. Installed by install_hoodiecrow.sh."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
INSTALLED = HERE.parent.parent / ".lab" / "hoodiecrow"
USER, PASSWORD = "gmail", "pw"


def missing() -> str | None:
    """What is missing, and how to get it; None if all is there."""
    if shutil.which("node") is None:
        return "Node.js is not installed (Debian: apt install nodejs npm)"
    if not (INSTALLED / "node_modules" / "hoodiecrow-imap").is_dir():
        return "hoodiecrow is not installed: run tests/lab/install_hoodiecrow.sh"
    return None


class Hoodiecrow:
    """One server, with one user and empty mailboxes; a context manager."""

    def __enter__(self) -> Hoodiecrow:
        self._process = subprocess.Popen(
            ["node", str(HERE / "hoodiecrow" / "server.js"), str(INSTALLED)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.communicate()
