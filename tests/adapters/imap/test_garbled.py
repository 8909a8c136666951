"""A server whose answers are garbled: errors of the two kinds, soon, and nothing else."""

from __future__ import annotations

import random
import time

import pytest

from mailrules.adapters.imap.connection import Limits
from mailrules.core.actions.base import Outcome
from mailrules.core.errors import PermanentError, TransientError
from mailrules.core.message import ALL_HEADERS, BODY, FLAGS, INTERNALDATE, SIZE, STRUCTURE
from tests.adapters.imap.conftest import Connect
from tests.lab.dovecot import Dovecot, message
from tests.lab.proxy import FaultProxy

SPICE = [
    b"(",
    b")",
    b'"',
    b"{9}\r\n",
    b"\r\n",
    b"\n",
    b"\0",
    b"\xff",
    b"*",
    b"NIL",
    b"\\",
    b"[",
    b"]",
    b"99999999999999999999",
]


@pytest.mark.parametrize("seed", range(40))
def test_garbled_answers(seed: int, dovecot: Dovecot, user: str, connect: Connect, proxy: FaultProxy) -> None:
    """Bytes dropped, doubled, changed or put in: no other exception, no hang, outcomes are Outcomes."""
    dovecot.append(user, [message(n, body="x" * 300) for n in range(5)])
    dice = random.Random(seed)

    def garble(data: bytes) -> bytes:
        if dice.random() < 0.5:
            return data
        place = dice.randrange(len(data))
        kind = dice.randrange(4)
        if kind == 0:
            return data[:place] + data[place + dice.randrange(1, 5) :]
        if kind == 1:
            return data[:place] + dice.choice(SPICE) + data[place:]
        if kind == 2:
            return data[:place] + bytes([dice.randrange(256)]) + data[place + 1 :]
        return data[:place] + data[max(0, place - 20) :]

    start = time.monotonic()
    try:
        connection = connect(proxy, user, open=False, timeout=0.3, limits=Limits(seconds=1))
        if seed % 2:
            proxy.rewrite("s2c", garble)
        connection.open()
        proxy.rewrite("s2c", garble)
        mailbox = connection.select("INBOX")
        uids = mailbox.uids()[:20]
        mailbox.fetch(uids, [ALL_HEADERS, BODY, FLAGS, INTERNALDATE, SIZE, STRUCTURE], body_limit=100)
        mailbox.identities(uids)
        for outcomes in (
            mailbox.add_flags(uids, ["$x"]),
            mailbox.copy(uids, "Archive"),
            mailbox.move(uids, "Archive"),
        ):
            assert all(isinstance(outcome, Outcome) for outcome in outcomes.values())
        connection.special_use()
        connection.idle()
        connection.done()
    except (TransientError, PermanentError):
        pass
    finally:
        proxy.rewrite("s2c", None)
    assert time.monotonic() - start < 10
