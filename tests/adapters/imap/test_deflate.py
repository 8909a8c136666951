"""COMPRESS: a connection that is compressed behaves as any other, and is bounded like any other."""

from __future__ import annotations

import os
import select
import threading
import time
import zlib
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrules.adapters.imap.connection import Connection, ConnectionLost, Limits
from mailrules.adapters.imap.deflate import PIECE, Deflate, Garbled
from mailrules.adapters.imap.wire import TooMuch
from mailrules.core.errors import TransientError
from mailrules.core.message import SIZE
from tests.adapters.imap.conftest import Connect
from tests.conftest import need_dovecot
from tests.lab.ca import LabCA
from tests.lab.dovecot import Dovecot, Layout, message
from tests.lab.proxy import FaultProxy
from tests.lab.scripted import FULL, HANG, ScriptedServer

Scripted = Callable[..., ScriptedServer]
CAN = FULL + " COMPRESS=DEFLATE"


@pytest.fixture(scope="module")
def squeezing(lab_ca: LabCA) -> Iterator[Dovecot]:
    """A Dovecot that compresses."""
    need_dovecot()
    extra = "protocol imap {\n  mail_plugins = $mail_plugins imap_zlib\n}\n"
    with Dovecot(Layout(users=30, extra=extra), ca=lab_ca) as server:
        yield server
        log = server.log()
    assert " Panic: " not in log


def compressed(connection: Connection) -> Connection:
    connection.compress()
    assert connection.client.wire.compressed
    return connection


def squeezed(data: bytes) -> bytes:
    """A whole deflate stream, up to a sync flush."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH)


# -- the stream by itself ---------------------------------------------------------------------------
@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(1, 40))
def test_any_pieces_come_out_whole(said: list[bytes], step: int) -> None:
    """Wherever the compressed bytes are cut on their way, the same octets come out."""
    stream = zlib.compressobj(6, zlib.DEFLATED, -15)
    wire = b"".join(stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH) for data in said)
    found, reader = b"", Deflate()
    for start in range(0, len(wire), step):
        reader.feed(wire[start : start + step])
        while piece := reader.piece():
            found += piece
    assert found == b"".join(said)


@given(st.lists(st.binary(max_size=2000), max_size=8))
def test_what_is_sent_can_be_read_at_once(said: list[bytes]) -> None:
    """Each thing sent inflates completely without waiting for the next."""
    writer, peer = Deflate(), zlib.decompressobj(-15)
    for data in said:
        assert peer.decompress(writer.deflate(data)) == data


@pytest.mark.parametrize("octets", [PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 3 * PIECE + 7])
def test_much_comes_out_in_bounded_pieces(octets: int) -> None:
    """A few bytes that inflate to many come out piece by piece, and nothing stays inside."""
    reader = Deflate()
    reader.feed(squeezed(b"x" * octets))
    sizes = []
    while piece := reader.piece():
        sizes.append(len(piece))
    assert sum(sizes) == octets and max(sizes) <= PIECE


@pytest.mark.parametrize("data", [b"* OK plain text\r\n", b"\xff" * 20, squeezed(b"x") + b"\xff\xff\xff\xff"])
def test_what_is_no_stream_is_refused(data: bytes) -> None:
    """Clear text, or garbage behind what was right."""
    reader = Deflate()
    reader.feed(data)
    with pytest.raises(Garbled):
        while reader.piece():
            pass


def test_a_stream_that_ends_is_refused() -> None:
    """RFC 4978 has no end of the stream but that of the connection."""
    reader, stream = Deflate(), zlib.compressobj(6, zlib.DEFLATED, -15)
    reader.feed(stream.compress(b"* OK\r\n") + stream.flush(zlib.Z_FINISH))
    with pytest.raises(Garbled, match="ended"):
        while reader.piece():
            pass


# -- when -----------------------------------------------------------------------------------------------
def test_only_mail_in_bulk_is_compressed(scripted: Scripted, connect: Connect) -> None:
    """A connection that looks at one message now and then does not pay for it."""
    server = scripted(capability=CAN)
    for number in range(100):
        server.box().add(message(number))
    connection = connect(server, compress=True)
    mailbox = connection.select("INBOX")
    assert len(mailbox.fetch([1, 2], [SIZE], body_limit=1000)) == 2
    assert not connection.client.wire.compressed
    assert len(mailbox.fetch(range(1, 101), [SIZE], body_limit=1000)) == 100
    assert connection.client.wire.compressed
    assert len(mailbox.fetch(range(1, 101), [SIZE], body_limit=1000)) == 100
    assert len(server.sent(b"COMPRESS")) == 1


@pytest.mark.parametrize(
    ("capability", "compress"), [(CAN, None), (CAN, False), (FULL, True)], ids=["local", "unwanted", "unable"]
)
def test_it_is_not_asked_for(
    capability: str, compress: bool | None, scripted: Scripted, connect: Connect
) -> None:
    """Not of a server on this machine, not where it is not wanted, not where it is not offered."""
    server = scripted(capability=capability)
    connection = connect(server, compress=compress)
    connection.compress()
    assert not server.sent(b"COMPRESS") and not connection.client.wire.compressed


@pytest.mark.parametrize("answer", [b"NO [COMPRESSIONACTIVE] TLS does", b"BAD what", b"NO"])
def test_a_refusal_is_remembered(answer: bytes, scripted: Scripted, connect: Connect) -> None:
    """A server that says no is not asked again, and the connection goes on in clear."""
    server = scripted(capability=CAN)
    server.script(rb"COMPRESS", b"{tag} " + answer + b"\r\n")
    connection = connect(server, compress=True)
    connection.compress()
    connection.compress()
    assert len(server.sent(b"COMPRESS")) == 1 and not connection.noop()


# -- with a real server ---------------------------------------------------------------------------------
@pytest.mark.parametrize("security", ["none", "tls"])
def test_everything_works_compressed(
    squeezing: Dovecot, connect: Connect, lab_ca: LabCA, security: str
) -> None:
    """Search, headers, a whole message of many megabytes, APPEND and MOVE come out the same."""
    user = squeezing.new_user()
    big = message(1, body="\r\n".join(os.urandom(30).hex() for _ in range(60_000)))
    squeezing.append(user, [message(n) for n in range(2, 300)])
    port = squeezing.imaps_port if security == "tls" else squeezing.imap_port
    tls = lab_ca.client_context() if security == "tls" else None
    connection = compressed(connect(squeezing, user, security=security, port=port, compress=True, tls=tls))
    assert connection.append("INBOX", big) is not None
    mailbox = connection.select("INBOX")
    uids = mailbox.uids()
    assert uids == list(range(1, 300))
    assert mailbox.raw(299, limit=10_000_000) == big
    assert len(mailbox.identities(uids)) == 299
    connection.create("Moved")
    assert len(mailbox.move(uids, "Moved")) == 299
    assert mailbox.uids() == []


def test_idle_compressed(squeezing: Dovecot, connect: Connect) -> None:
    """News wakes the socket, and is seen."""
    user = squeezing.new_user()
    connection = compressed(connect(squeezing, user, compress=True))
    connection.select("INBOX")
    for number in range(3):
        assert not connection.idle()
        squeezing.deliver(user, message(number))
        end = time.monotonic() + 10
        while not connection.idle_events():
            assert time.monotonic() < end
            select.select([connection.fileno()], [], [], 1)
        assert connection.done()
        connection.no_news()


@pytest.mark.parametrize("rst", [False, True])
def test_a_cut_anywhere_in_a_compressed_answer(squeezing: Dovecot, connect: Connect, rst: bool) -> None:
    """EOF and reset are passing errors and close the connection, wherever they come."""
    user = squeezing.new_user()
    squeezing.append(user, b"Subject: x\r\n\r\n" + os.urandom(300).hex().encode() + b"\r\n")
    with FaultProxy((squeezing.host, squeezing.imap_port)) as proxy:
        for octets in (1, 2, 10, 60, 200, 300):
            connection = compressed(connect(proxy, user, compress=True))
            mailbox = connection.select("INBOX")
            proxy.cut_after(s2c=octets, rst=rst)
            with pytest.raises(ConnectionLost):
                mailbox.raw(1, limit=10_000)
            assert not connection.alive
            with pytest.raises(ConnectionLost):
                connection.noop()


# -- with a hostile one ---------------------------------------------------------------------------------
SMALL = Limits(literal=10_000, line=5_000, search_line=200_000, octets=3_000_000, seconds=3, untagged=500)


@pytest.mark.parametrize(
    "answer",
    [
        b"* 1 FETCH (UID 1 BODY[] {4000000000}\r\n",
        b"* FLAGS (" + b"x" * 200_000_000 + b")\r\n",
        b"* 1 RECENT\r\n" * 10_000_000,
        b"* OK x\r\n* 1 FETCH (BODY[] {9000}\r\n" + b"x" * 9000 + b")\r\n" * 400,
        b"\r\n" * 10_000_000,
    ],
    ids=["literal", "line", "responses", "octets", "empty lines"],
)
def test_a_bomb_is_bounded(answer: bytes, scripted: Scripted, connect: Connect) -> None:
    """What inflates without bound meets the limits of what comes in clear, in a command and in IDLE."""
    bomb = squeezed(answer * (400 if answer.startswith(b"* OK x") else 1))
    server = scripted(capability=CAN)
    server.script(rb"NOOP", lambda session, line: session.send_raw(bomb) or HANG)
    connection = compressed(connect(server, limits=SMALL, compress=True))
    with pytest.raises(TooMuch):
        connection.noop()
    assert not connection.alive
    connection = compressed(connect(server, limits=SMALL, compress=True))
    connection.select("INBOX")
    connection.idle()
    server.sessions[-1].send_raw(bomb)
    end = time.monotonic() + 20
    with pytest.raises(ConnectionLost):
        while time.monotonic() < end:
            select.select([connection.fileno()], [], [], 1)
            connection.idle_events()


def test_blocks_without_content_are_bounded(scripted: Scripted, connect: Connect) -> None:
    """Flushes that inflate to nothing count as well."""
    nothing = b"\x00\x00\x00\xff\xff" * 1_000_000
    server = scripted(capability=CAN)
    server.script(rb"NOOP", lambda session, line: session.send_raw(nothing) or HANG)
    with pytest.raises(TooMuch):
        compressed(connect(server, limits=SMALL, compress=True)).noop()


@pytest.mark.parametrize(
    "answer",
    [
        b"{tag} OK go on\r\n* 99 EXISTS\r\n",
        b"{tag} OK go on\r\n" + squeezed(b"* OK hello\r\n") + b"* 99 EXISTS\r\n",
    ],
)
def test_no_clear_text_after_the_ok(answer: bytes, scripted: Scripted, connect: Connect) -> None:
    """What does not inflate ends the connection, and counts for nothing."""
    server = scripted(capability=CAN)
    server.script(rb"COMPRESS", answer)
    connection = connect(server, compress=True)
    connection.select("INBOX")
    connection.compress()
    with pytest.raises(ConnectionLost, match="inflated"):
        connection.noop()
    assert not connection.news and not connection.alive


def test_what_came_with_the_ok_is_read(scripted: Scripted, connect: Connect) -> None:
    """Compressed bytes in one packet with the OK are the start of the stream, also before IDLE."""
    server = scripted(capability=CAN)
    server.script(rb"COMPRESS", b"{tag} OK go on\r\n" + squeezed(b"* 99 EXISTS\r\n"))
    connection = connect(server, compress=True)
    connection.select("INBOX")
    connection.compress()
    assert connection.idle_events() and connection.news


def test_abort_while_compressed(scripted: Scripted, connect: Connect) -> None:
    """Whoever waits for an answer is woken at once, with a passing error."""
    server = scripted(capability=CAN)
    server.script(rb"NOOP", HANG)
    connection = compressed(connect(server, timeout=30, compress=True))
    threading.Timer(0.2, connection.abort).start()
    start = time.monotonic()
    with pytest.raises(TransientError):
        connection.noop()
    assert time.monotonic() - start < 5


def test_a_new_connection_starts_in_clear(scripted: Scripted, connect: Connect) -> None:
    """After `reopen` nothing is compressed until it is asked for again."""
    connection = compressed(connect(scripted(capability=CAN), compress=True))
    connection.select("INBOX")
    connection.reopen()
    assert not connection.client.wire.compressed
    compressed(connection).noop()
    assert connection.alive
