"""The program's own log on stderr: one line an event, nothing hostile in it, no secret in it."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import Literal, TextIO

from mailrules.adapters.secret import scrub
from mailrules.core.safe import safe

Format = Literal["auto", "text", "json"]

_PRIORITY = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}  # syslog(3)


class _Lines(logging.Formatter):
    """One line a record: control characters escaped, secrets replaced."""

    def line(self, record: logging.LogRecord) -> str:
        return safe(scrub(record.getMessage()))

    def trouble(self, record: logging.LogRecord) -> str:
        """The traceback, its lines kept."""
        if not record.exc_info:
            return ""
        return "\n".join(safe(line) for line in scrub(self.formatException(record.exc_info)).splitlines())


class Text(_Lines):
    """`12:30:01 WARNING work/INBOX: …`; under systemd `<4>…`, since the journal keeps the time."""

    def __init__(self, *, journal: bool = False) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        trouble = self.trouble(record)
        text = self.line(record) + (f"\n{trouble}" if trouble else "")
        if self._journal:
            mark = f"<{_PRIORITY.get(record.levelname, 6)}>"
            return "\n".join(mark + line for line in text.splitlines())
        level = "" if record.levelno == logging.INFO else f"{record.levelname} "
        return f"{datetime.fromtimestamp(record.created).astimezone():%Y-%m-%d %H:%M:%S} {level}{text}"


class Json(_Lines):
    """One JSON object a line: time (RFC 3339, UTC), level, logger, message, traceback."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self.line(record),
        }
        trouble = self.trouble(record)
        if trouble:
            entry["traceback"] = trouble
        return json.dumps(entry, ensure_ascii=False)


def configure(format_: Format = "auto", *, verbose: bool = False, stream: TextIO | None = None) -> None:
    """Send the program's log to stderr. `auto` is text, in the journal's form under systemd."""
    handler = logging.StreamHandler(stream or sys.stderr)
    journal = format_ == "auto" and "JOURNAL_STREAM" in os.environ
    handler.setFormatter(Json() if format_ == "json" else Text(journal=journal))
    root = logging.getLogger("mailrules")
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    root.propagate = False
    # These log what they send and receive; nothing of a mail belongs in our log.
    for name in ("imapclient", "apscheduler"):
        logging.getLogger(name).setLevel(logging.ERROR)
