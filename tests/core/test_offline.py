"""mailrules.core.offline: a message from its bytes."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from mailrules.core.message import (
    ALL_HEADERS,
    BODY,
    FLAGS,
    SIZE,
    STRUCTURE,
    Unavailable,
    header_fact,
    search_fact,
)
from mailrules.core.offline import message_from_bytes, without_server

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


def test_the_facts_of_a_file() -> None:
    """Flags, size, date, structure, headers and body are known; the key is what was said."""
    message = message_from_bytes(
        b"Subject: a\n\nb\n", account="work", mailbox="X", uid=7, flags={"\\Seen"}, received=NOW, now=NOW
    )
    assert (message.key.account, message.key.mailbox, message.key.uid) == ("work", "X", 7)
    assert message.get(FLAGS) == {"\\Seen"}
    assert message.header("subject") == (b"a",)
    assert message.internaldate == NOW
    assert [part.section for part in message.get(STRUCTURE)] == ["1"]
    assert message.get(BODY).text == "b\n"


def test_the_size_is_that_of_a_server() -> None:
    """The size counts CRLF line ends, whichever the file has, and no From_ line."""
    for raw in (b"A: b\r\n\r\nc\r\n", b"A: b\n\nc\n", b"A: b\r\rc\r", b"From x y\nA: b\n\nc\n"):
        assert message_from_bytes(raw, now=NOW).get(SIZE) == len(b"A: b\r\n\r\nc\r\n")


def test_when_it_arrived() -> None:
    """INTERNALDATE is what is said, else the topmost Received, else Date, else now."""
    received = (
        b"Received: from a by b (x; y); Tue, 3 Mar 2026 10:00:00 +0100\n"
        b"Received: by c; Mon, 2 Mar 2026 10:00:00 +0100\n"
    )
    date = b"Date: Sun, 1 Mar 2026 10:00:00 +0000\n"
    other = datetime(2026, 1, 1, tzinfo=UTC)
    assert message_from_bytes(received + date + b"\n", now=NOW, received=other).internaldate == other
    assert message_from_bytes(received + date + b"\n", now=NOW).internaldate == datetime(
        2026, 3, 3, 9, tzinfo=UTC
    )
    assert message_from_bytes(b"Received: rubbish\n" + date + b"\n", now=NOW).internaldate.day == 1
    assert message_from_bytes(b"Date: rubbish\n\n", now=NOW).internaldate == NOW


def test_what_only_a_server_knows_is_missing_until_it_is_said_to_be_unknown() -> None:
    """`without_server` makes what is asked for and missing unavailable, and touches nothing else."""
    message = message_from_bytes(b"A: b\n\n", now=NOW)
    asked = search_fact("UNSEEN")
    assert not message.has(asked)
    without_server(message, [asked, SIZE, header_fact("a")])
    assert isinstance(message.facts[asked], Unavailable) and not message.facts[asked].passing
    assert message.get(SIZE) == 8 and message.header("a") == (b"b",)
    assert message.has(ALL_HEADERS)


@given(st.binary())
def test_never_raises(raw: bytes) -> None:
    """Any bytes are a message."""
    message_from_bytes(raw, now=NOW)
