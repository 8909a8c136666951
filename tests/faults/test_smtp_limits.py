"""What a server can't take, and what must arrive as it was: dots, 8-bit text, long lines, SIZE, SMTPUTF8."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.conftest import Record
from tests.faults.sending import leaving, places, states
from tests.faults.stage import Stage, numbered
from tests.lab.dovecot import Dovecot
from tests.lab.smtp import ScriptedSmtp

EIGHT_BIT = "Grüße\r\n".encode()
UTF8_HEADER = "X-Name: Jörg\r\n".encode()
DOTS = b".\r\n..\r\n.x\r\n\r\n.\r\nQUIT\r\n...\r\n"
LONG = b"x" * 1200 + b"\r\n"


@pytest.mark.parametrize(
    ("name", "features", "header", "text", "words"),
    [
        ("forward", "", b"", DOTS, ""),
        ("forward", "CHUNKING", b"", DOTS, ""),
        ("redirect", "", b"", DOTS, ""),
        ("redirect", "CHUNKING", b"", DOTS, ""),
        ("forward", "", b"", EIGHT_BIT, ""),
        ("forward", "8BITMIME", b"", EIGHT_BIT, ""),
        ("redirect", "", b"", EIGHT_BIT, "8BITMIME"),
        ("redirect", "8BITMIME", b"", EIGHT_BIT, ""),
        ("forward", "8BITMIME", UTF8_HEADER, b"", ""),
        ("redirect", "8BITMIME", UTF8_HEADER, b"", "SMTPUTF8"),
        ("redirect", "8BITMIME SMTPUTF8", UTF8_HEADER, b"", ""),
        ("forward", "8BITMIME", b"", LONG, ""),
        ("redirect", "8BITMIME", b"", LONG, "line longer"),
        ("forward", "SIZE=1000", b"", b"x\r\n" * 500, "at most 1000"),
        ("redirect", "SIZE=1000", b"", b"x\r\n" * 500, "at most 1000"),
        ("redirect", "SIZE=0", b"", b"x\r\n" * 500, ""),
    ],
)
def test_what_a_server_can_take(
    name: str,
    features: str,
    header: bytes,
    text: bytes,
    words: str,
    dovecot: Dovecot,
    tmp_path: Path,
    record: Record,
) -> None:
    """What can travel arrives whole and once; what can't has failed at once, says why, and stays."""
    with ScriptedSmtp([feature.replace("=", " ") for feature in features.split()]) as sink:
        stage = Stage(dovecot, sink, tmp_path, leaving(name))
        stage.baseline()
        raw = header + numbered(1) + text
        stage.numbers.append(1)
        dovecot.append(stage.user, raw)
        for _ in range(2):
            stage.run()
            stage.time_passes()
        if words:
            (entry,) = (e for e in stage.entries() if e["action"] == name)
            assert entry["state"] == "failed" and words in entry["detail"]["error"]
            assert (places(stage, 1), sink.messages) == (["INBOX"], [])
        else:
            assert (states(stage, name), places(stage, 1)) == ({1: "done"}, ["There"])
            (received,) = sink.taken
            whole = name == "redirect" or text == DOTS or (text == EIGHT_BIT and "8BITMIME" in features)
            assert not whole or raw in received.content
            assert "8BITMIME" in features or received.content.isascii()
            assert max(map(len, received.content.split(b"\r\n"))) <= 998
    record("T6", 1, note="what a server can and can't take")
