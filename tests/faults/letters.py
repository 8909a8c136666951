"""What tests of renumbered and restored mailboxes share: mail with dates, rules that send, what was sent."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from email import message_from_bytes
from typing import Any

import pytest

from mailrules.adapters.store.database import Database
from tests.lab.dovecot import Dovecot, message
from tests.lab.program import account

FULL = os.environ.get("MAILRULES_FAULTS") == "full"
LONG_AGO = "02-Mar-2026 10:00:00 +0000"


def letter(subject: str) -> bytes:
    return message(1, subject=subject)


def config(server: Dovecot, user: str, sink: Any, rules: str, *mailboxes: str) -> str:
    """An account whose mail may be sent on to the sink, and these rules."""
    smtp = f"{{host: 127.0.0.1, port: {sink.port}, security: none, username: ~}}"
    return (
        "accounts:\n"
        + account(server, user, mailboxes=mailboxes or ("INBOX",), smtp=smtp)
        + "rules:\n"
        + rules
    )


def fill(
    server: Dovecot, user: str, subjects: list[str], mailbox: str = "INBOX", *, date: str | None = LONG_AGO
) -> None:
    """Put a letter of each subject there, dated; None: as if it came now."""
    with server.session(user) as client:
        moment = f'"{date}"' if date is not None else ""
        for subject in subjects:
            status, answer = client.append(f'"{mailbox}"', "", moment, letter(subject))
            assert status == "OK", answer


def subjects(stem: str, count: int) -> list[str]:
    return [f"{stem} {n}" for n in range(count)]


def sent(sink: Any) -> Counter[str]:
    """What came out, by subject."""
    return Counter(
        str(message_from_bytes(received.content)["Subject"]).removeprefix("Fwd: ")
        for received in list(sink.messages)
    )


def all_sent_once(record: Any, test: str, sink: Any, names: list[str], note: str = "") -> None:
    """Note in the table what was lost and what was doubled; these, and nothing else, went out once."""
    found, expected = sent(sink), once(names)
    lost, doubled = (expected - found).total(), (found - expected).total()
    record(test, len(names), lost=lost, doubled=doubled, note=note)
    assert found == expected


def once(names: list[str]) -> Counter[str]:
    return Counter(dict.fromkeys(names, 1))


def epoch(moment: datetime) -> str:
    """As `--since` takes it."""
    return moment.astimezone().isoformat(timespec="seconds")


class Killed(BaseException):
    """Nobody catches it."""


@contextmanager
def killed_at(number: int) -> Iterator[list[int]]:
    """The process dies before the journal's n-th transaction from here on. Gives how many there were."""
    write = Database.write
    seen = [0]

    @contextmanager
    def counted(self: Database, **more: bool) -> Iterator[Any]:
        seen[0] += 1
        if seen[0] >= number:
            raise Killed
        with write(self, **more) as connection:
            yield connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "write", counted)
        yield seen
