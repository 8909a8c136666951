"""A small process that reads or judges as mailrules does: so that its memory can be measured."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mailrules.adapters.imap.connection import Connection, Limits, Login
from mailrules.core.errors import PermanentError, TransientError
from mailrules.core.message import ALL_HEADERS, BODY, FLAGS, INTERNALDATE, SIZE, STRUCTURE
from mailrules.core.offline import message_from_bytes, without_server

EVERY = """
any:
- from: [alice@example.com, "*-bot@*.example.com"]
- to: {name: ann, domain: example.com, regex: "(?P<who>.+)@"}
- subject: {contains: [invoice, ü], regex: '(\\w+\\s?)*$'}
- header: {Received: {regex: "from (?P<host>\\\\S+)"}}
- list_id: {ends_with: .org}
- body: {contains: unsubscribe, glob: "*a*b*c*"}
- sent: {before: 2010-01-01}
- attachment: {name: "*.pdf", type: "application/*"}
- auth: {dmarc: pass}
- is_bulk: true
"""


def read(port: int, password: str, limits: dict[str, Any], username: str = "me") -> None:
    """Read a mailbox, and print what became of it and how large the process was."""
    wait = limits.pop("timeout", 60)
    login = Login("t", "127.0.0.1", port, "none", username, lambda: password, timeout=wait)
    began, cpu = time.monotonic(), time.process_time()
    said: dict[str, Any] = {"error": None, "uids": None, "fetched": 0}
    ours = Connection(login, limits=Limits(**limits))
    try:
        ours.open()
        mailbox = ours.select("INBOX")
        uids = mailbox.uids()
        said["uids"] = len(uids)
        facts = [ALL_HEADERS, BODY, FLAGS, INTERNALDATE, SIZE, STRUCTURE]
        fetched = mailbox.fetch(uids[:500], facts, body_limit=1_000_000)
        said["fetched"] = len(fetched)
        mailbox.identities(list(fetched))
    except (TransientError, PermanentError) as error:
        said["error"] = f"{type(error).__name__}: {error}"
    _say(said, began, cpu)
    ours.close()


def judge(file: str) -> None:
    """Judge a mail by every condition of EVERY, and print how long it took."""
    from tests.core.conditions.speaking import condition

    when = condition(EVERY)
    raw = Path(file).read_bytes()
    began, cpu = time.monotonic(), time.process_time()
    said: dict[str, Any] = {"error": None}
    mail = message_from_bytes(raw, now=datetime.now(UTC), trusted_authserv=["mx.example.org"])
    without_server(mail, when.facts())
    if when.trace(mail).matched is not when.judge(mail).truth:
        said["error"] = "the trace says something else"
    _say(said, began, cpu)


def _say(said: dict[str, Any], began: float, cpu: float) -> None:
    said["seconds"] = time.monotonic() - began
    said["cpu"] = time.process_time() - cpu
    # Not getrusage: its figure begins with that of whoever started this process.
    status = Path("/proc/self/status").read_text()
    said["rss"] = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    print(json.dumps(said))
