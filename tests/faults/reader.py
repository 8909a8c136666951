"""A small process that reads a mailbox as mailrules does: so that its memory can be measured."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from mailrules.adapters.imap.connection import Connection, Limits, Login
from mailrules.core.errors import PermanentError, TransientError
from mailrules.core.message import ALL_HEADERS, BODY, FLAGS, INTERNALDATE, SIZE, STRUCTURE


def read(port: int, password: str, limits: dict[str, Any]) -> None:
    """Read a mailbox, and print what became of it and how large the process was."""
    login = Login("t", "127.0.0.1", port, "none", "me", lambda: password, timeout=limits.pop("timeout", 60))
    began, cpu = time.monotonic(), time.process_time()
    said: dict[str, Any] = {"error": None, "uids": None}
    ours = Connection(login, limits=Limits(**limits))
    try:
        ours.open()
        mailbox = ours.select("INBOX")
        uids = mailbox.uids()
        said["uids"] = len(uids)
        facts = [ALL_HEADERS, BODY, FLAGS, INTERNALDATE, SIZE, STRUCTURE]
        fetched = mailbox.fetch(uids[:500], facts, body_limit=1_000_000)
        mailbox.identities(list(fetched))
    except (TransientError, PermanentError) as error:
        said["error"] = f"{type(error).__name__}: {error}"
    said["seconds"] = time.monotonic() - began
    said["cpu"] = time.process_time() - cpu
    # Not getrusage: its figure begins with that of whoever started this process.
    status = Path("/proc/self/status").read_text()
    said["rss"] = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    ours.close()
    print(json.dumps(said))
