"""The wire: TLS, limits, time, injection, and being cut off."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrules.adapters.imap.arguments import ForbiddenArgument, refuse_control
from mailrules.adapters.imap.connection import Connection, ConnectionLost, Limits, Login, TlsError
from mailrules.adapters.imap.transport import Client, Verbatim, astring
from mailrules.adapters.imap.wire import TooMuch
from mailrules.core.errors import PermanentError, TransientError
from tests.adapters.imap.conftest import Connect
from tests.lab.ca import LabCA
from tests.lab.dovecot import Dovecot
from tests.lab.proxy import FaultProxy
from tests.lab.scripted import HANG, ScriptedServer

Scripted = Callable[..., ScriptedServer]


# -- TLS ------------------------------------------------------------------------------------------


def test_tls_and_starttls_work(dovecot: Dovecot, user: str, connect: Connect, lab_ca: LabCA) -> None:
    """With a certificate of a trusted authority both ways end in a login."""
    context = lab_ca.client_context()
    assert connect(dovecot, user, security="tls", port=dovecot.imaps_port, tls=context).alive
    connection = connect(dovecot, user, security="starttls", tls=context)
    assert isinstance(connection.client.wire.sock, ssl.SSLSocket)


@pytest.mark.parametrize("security", ["tls", "starttls"])
@pytest.mark.parametrize("fault", ["expired", "wrong host", "untrusted"])
def test_bad_certificates_are_refused(
    security: str, fault: str, lab_ca: LabCA, scripted: Scripted, connect: Connect, tmp_path: object
) -> None:
    """No login, no password on the wire, and words that say what is wrong."""
    names = ("other.example",) if fault == "wrong host" else ("localhost", "127.0.0.1")
    certificate = lab_ca.issue(f"bad-{security}-{fault}", names, days=-3 if fault == "expired" else 3)
    server = scripted(
        tls=lab_ca.server_context(certificate), implicit_tls=security == "tls",
        before="IMAP4rev1 STARTTLS",
    )  # fmt: skip
    trusted = ssl.create_default_context() if fault == "untrusted" else lab_ca.client_context()
    connection = connect(server, security=security, tls=trusted, open=False)
    with pytest.raises(TlsError, match="not trusted"):
        connection.open()
    assert not server.sent(b"LOGIN") and b"pw" not in server.received
    assert not connection.alive


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_tls_is_refused(lab_ca: LabCA, scripted: Scripted, connect: Connect) -> None:
    """TLS 1.1 is not spoken."""
    context = lab_ca.server_context()
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    server = scripted(tls=context)
    with pytest.raises((TlsError, ConnectionLost)):
        connect(server, security="tls", tls=lab_ca.client_context())


def test_plain_text_on_the_tls_port(scripted: Scripted, connect: Connect, lab_ca: LabCA) -> None:
    """The words name `port` and `security`."""
    with pytest.raises(TlsError, match=r"`port` and `security`"):
        connect(scripted(), security="tls", tls=lab_ca.client_context())


@pytest.mark.parametrize(
    ("before", "answer"),
    [
        ("IMAP4rev1", None),  # stripped
        ("IMAP4rev1 STARTTLS", b"{tag} NO not now\r\n"),
        ("IMAP4rev1 STARTTLS", b"{tag} BAD what\r\n"),
        ("IMAP4rev1 STARTTLS", b"{tag} OK begin\r\n* CAPABILITY IMAP4rev1 AUTH=EVIL\r\n"),
    ],
)
def test_starttls_on_any_doubt_closes(
    before: str, answer: bytes | None, scripted: Scripted, connect: Connect, lab_ca: LabCA
) -> None:
    """Stripped, refused, or with clear text behind the OK: the password is never sent."""
    server = scripted(before=before, tls=lab_ca.server_context(), implicit_tls=False)
    if answer is not None:
        server.script(rb"STARTTLS", answer)
    with pytest.raises(TlsError):
        connect(server, security="starttls", tls=lab_ca.client_context())
    assert b"pw" not in server.received


def test_what_came_before_starttls_counts_for_nothing(
    scripted: Scripted, connect: Connect, lab_ca: LabCA
) -> None:
    """Untagged data injected before the OK is forgotten, and capabilities are asked again."""
    server = scripted(
        before="IMAP4rev1 STARTTLS XEVIL", capability="IMAP4rev1 IDLE",
        tls=lab_ca.server_context(), implicit_tls=False,
    )  # fmt: skip
    server.script(rb"STARTTLS", b"* 99 EXISTS\r\n* OK [UIDVALIDITY 666] x\r\n", times=1, then_model=True)
    connection = connect(server, security="starttls", tls=lab_ca.client_context())
    assert connection.capabilities == {"IMAP4REV1", "IDLE"}
    assert not connection.news


def test_no_login_before_starttls_is_no_refusal(scripted: Scripted, connect: Connect, lab_ca: LabCA) -> None:
    """LOGINDISABLED is said before TLS by every careful server; after it, it is asked again."""
    server = scripted(before="IMAP4rev1 AUTH=PLAIN", tls=lab_ca.server_context(), implicit_tls=False)
    server.script(
        rb"CAPABILITY", b"* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\r\n{tag} OK done\r\n", times=1
    )
    assert connect(server, security="starttls", tls=lab_ca.client_context()).alive


def test_what_the_greeting_and_the_login_tell_is_not_asked(scripted: Scripted, connect: Connect) -> None:
    """A server that says what it can do unasked spares two round trips; the one after login counts."""
    server = scripted(greeting=b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] ready\r\n")
    server.script(rb"LOGIN", b"{tag} OK [CAPABILITY IMAP4rev1 IDLE MOVE] in\r\n")
    connection = connect(server)
    assert connection.capabilities == {"IMAP4REV1", "IDLE", "MOVE"}
    assert not server.sent(b"CAPABILITY")


@pytest.mark.parametrize("security", ["none", "starttls"])
def test_preauth_is_refused(security: str, scripted: Scripted, connect: Connect) -> None:
    """A server that lets us in by itself is not trusted with a command."""
    server = scripted(greeting=b"* PREAUTH welcome\r\n", before="IMAP4rev1 STARTTLS")
    with pytest.raises(PermanentError, match="PREAUTH"):
        connect(server, security=security)
    assert not server.sent(b"LOGIN") and not server.sent(b"STARTTLS")


def test_clear_text_only_to_this_machine(connect: Connect) -> None:
    """`security: none` to an address that is not loopback sends nothing."""
    with socket.create_server(("0.0.0.0", 0)) as listener:
        address = _own_address()
        if address is None:
            pytest.skip("this machine has no address but loopback")
        with pytest.raises(PermanentError, match="only for servers on this machine"):
            Connection(
                Login("a", address, listener.getsockname()[1], "none", "u", lambda: "pw", timeout=5)
            ).open()


def _own_address() -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address: str = probe.getsockname()[0]
    return None if address.startswith("127.") else address


# -- greetings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "greeting", [b"* BYE Too many connections\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b""]
)
def test_odd_greetings_are_passing(greeting: bytes, scripted: Scripted, connect: Connect) -> None:
    """A goodbye, another protocol, or nothing at all: try again later."""
    with pytest.raises(TransientError):
        connect(scripted(greeting=greeting), timeout=0.5)


def test_nobody_listens(connect: Connect) -> None:
    """A refused connection is passing; where to is said, and what to look at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionLost) as raised:
        Connection(Login("a", "127.0.0.1", port, "none", "u", lambda: "pw")).open()
    assert raised.value.brief == f"127.0.0.1:{port}: can't connect: Connection refused"
    step = "Check `host`, `port` and `security`: 993 is tls, 143 is starttls."
    assert str(raised.value) == f"{raised.value.brief}. {step}"


def test_nobody_has_that_name() -> None:
    """A name that can't be resolved is another matter than a port that is closed."""
    with pytest.raises(ConnectionLost, match=r"^nosuchhost\.invalid:993: can't connect: .*DNS\.$"):
        Connection(Login("a", "nosuchhost.invalid", 993, "tls", "u", lambda: "pw")).open()


# -- limits ---------------------------------------------------------------------------------------

SMALL = Limits(literal=10_000, line=5_000, search_line=200_000, octets=300_000, seconds=3, untagged=500)


@pytest.mark.parametrize(
    "answer",
    [
        b"* 1 FETCH (UID 1 BODY[] {9000000000000}\r\n",
        b"* 1 FETCH (UID 1 BODY[] {4000000000}\r\n",
        b"* FLAGS (" + b"x" * 6_000 + b")\r\n",
        b"* 1 RECENT\r\n" * 501,
        b"* SEARCH" + b" 123456" * 50_000 + b"\r\n",
        b"* OK x\r\n* 1 FETCH (BODY[] {9000}\r\n" + b"x" * 9000 + b")\r\n",
    ],
)
def test_a_server_may_not_send_without_bound(answer: bytes, scripted: Scripted, connect: Connect) -> None:
    """Literals, lines, number of responses, octets in all: past the limit the connection is given up."""
    server = scripted()
    many = 40 if b"9000}" in answer else 1
    server.script(rb"NOOP", answer * many)
    connection = connect(server, limits=SMALL)
    with pytest.raises(TooMuch):
        connection.noop()
    assert not connection.alive


def test_a_drip_ends_by_the_clock(scripted: Scripted, connect: Connect) -> None:
    """A byte now and then resets no deadline."""
    server = scripted()

    def drip(session: object, line: bytes) -> bytes:
        for _ in range(60):
            session.send(b"*")  # type: ignore[attr-defined]
            time.sleep(0.05)
        return b""

    server.script(rb"NOOP", drip)
    connection = connect(server, limits=Limits(seconds=1), timeout=5)
    start = time.monotonic()
    with pytest.raises(ConnectionLost, match="within 1 s"):
        connection.noop()
    assert time.monotonic() - start < 2


def test_silence_ends_by_the_timeout(scripted: Scripted, connect: Connect) -> None:
    """A server that hangs is left."""
    server = scripted()
    server.script(rb"NOOP", HANG)
    with pytest.raises(ConnectionLost, match="no answer"):
        connect(server, timeout=0.3).noop()


def test_work_while_the_server_is_at_a_command(scripted: Scripted, connect: Connect) -> None:
    """What is to be done meanwhile is done once, when the command is sent and before its answer comes."""
    server = scripted()
    at_it = threading.Event()

    def wait(session: object, line: bytes) -> None:
        assert at_it.wait(10)

    server.script(rb"NOOP", wait, times=1)
    connection = connect(server)
    done: list[str] = []

    def work() -> None:
        done.append("worked")
        at_it.set()

    with connection.client.meanwhile(work):
        connection.noop()
        connection.noop()
    with connection.client.meanwhile(work):
        pass
    connection.noop()
    assert done == ["worked"]


def test_work_that_fails_meanwhile_costs_the_connection(scripted: Scripted, connect: Connect) -> None:
    """If what is done meanwhile raises, no later command can take the answer for its own."""
    connection = connect(scripted())

    def fail() -> None:
        raise TransientError("no room")

    with pytest.raises(TransientError, match="no room"), connection.client.meanwhile(fail):
        connection.noop()
    assert not connection.alive


def test_a_million_uids(scripted: Scripted, connect: Connect) -> None:
    """One SEARCH line of seven megabytes is read."""
    server = scripted()
    server.script(
        rb"UID SEARCH ALL",
        b"* SEARCH " + b" ".join(b"%d" % n for n in range(1, 1_000_001)) + b"\r\n{tag} OK x\r\n",
    )
    uids = connect(server).select("INBOX").uids()
    assert (len(uids), uids[0], uids[-1]) == (1_000_000, 1, 1_000_000)


# -- endings --------------------------------------------------------------------------------------


@pytest.mark.parametrize("rst", [False, True])
def test_a_cut_anywhere_in_an_answer(
    dovecot: Dovecot, user: str, connect: Connect, proxy: FaultProxy, rst: bool
) -> None:
    """EOF and reset, in a line or in a literal, are passing errors and close the connection."""
    dovecot.append(user, b"Subject: x\r\n\r\n" + b"y" * 200 + b"\r\n")
    for octets in (1, 20, 60, 150):
        connection = connect(proxy, user)
        mailbox = connection.select("INBOX")
        proxy.cut_after(s2c=octets, rst=rst)
        with pytest.raises(ConnectionLost):
            mailbox.raw(1, limit=10_000)
        assert not connection.alive
        with pytest.raises(ConnectionLost):
            connection.noop()


def test_bye_is_the_end(scripted: Scripted, connect: Connect) -> None:
    """At the first BYE we leave, tagged or not (Yandex repeats it for ever, wp.pl tags it)."""
    for answer in (b"* BYE Autologout; idle for too long\r\n" * 3, b"{tag} BYE gone\r\n"):
        server = scripted()
        server.script(rb"NOOP", answer)
        with pytest.raises(ConnectionLost):
            connect(server).noop()


def test_abort_from_another_thread(scripted: Scripted, connect: Connect) -> None:
    """Whoever waits for an answer is woken at once, with a passing error."""
    server = scripted()
    server.script(rb"NOOP", HANG)
    connection = connect(server, timeout=30)
    threading.Timer(0.2, connection.abort).start()
    start = time.monotonic()
    with pytest.raises(TransientError):
        connection.noop()
    assert time.monotonic() - start < 2


def test_abort_over_tls(lab_ca: LabCA, scripted: Scripted, connect: Connect) -> None:
    """The same through TLS."""
    server = scripted(tls=lab_ca.server_context())
    server.script(rb"NOOP", HANG)
    connection = connect(server, timeout=30, security="tls", tls=lab_ca.client_context())
    threading.Timer(0.2, connection.abort).start()
    with pytest.raises(TransientError):
        connection.noop()


def test_close_waits_for_nobody(scripted: Scripted, connect: Connect) -> None:
    """A server is told LOGOUT; if it does not answer, it holds nobody up."""
    server = scripted()
    server.script(rb"LOGOUT", HANG)
    connection = connect(server, timeout=30)
    start = time.monotonic()
    connection.close()
    connection.close()
    assert time.monotonic() - start < 1
    while not server.commands[-1].startswith(b"LOGOUT") and time.monotonic() - start < 5:
        time.sleep(0.01)
    assert server.commands[-1].startswith(b"LOGOUT")


def test_the_socket_is_tuned(scripted: Scripted, connect: Connect) -> None:
    """Small writes go at once, and a dead peer is found out."""
    sock = connect(scripted()).client.wire.sock
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 90_000


# -- arguments ------------------------------------------------------------------------------------


@given(st.text(max_size=20), st.sampled_from("\r\n\0"), st.text(max_size=20))
def test_control_characters_are_refused(before: str, bad: str, after: str) -> None:
    """CR, LF and NUL never get as far as a string on the wire."""
    for value in (before + bad + after, (before + bad + after).encode("utf-8", "surrogatepass")):
        with pytest.raises(ForbiddenArgument):
            refuse_control(value)
        with pytest.raises(ForbiddenArgument):
            astring(value)


@given(st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=50))
def test_every_other_string_can_be_sent(text: str) -> None:
    """Quoted if it is ASCII, else a literal; the octets are the same."""
    part = astring(text)
    if isinstance(part, Verbatim):
        assert part.octets == text.encode() and not text.isascii()
    else:
        assert part.startswith(b'"') and part.endswith(b'"')
        assert part[1:-1].replace(b'\\"', b'"').replace(b"\\\\", b"\\") == text.encode() or "\\" in text


@pytest.mark.parametrize("capability", ["IMAP4rev1", "IMAP4rev1 LITERAL+", "IMAP4rev1 LITERAL-"])
def test_literals(capability: str, scripted: Scripted) -> None:
    """With LITERAL+ nobody waits, without it for each `+`; the server reads the same."""
    server = scripted(capability=capability)
    client = Client("127.0.0.1", server.port, security="none")
    assert client.log_in("u", "pw").status == "OK"
    reply = client.command(b"CREATE ", Verbatim("Ä\r\nB".encode()))
    assert reply.ok and "Ä\r\nB" in server.boxes
    assert (b"{5+}" in server.received) == ("LITERAL" in capability)
    client.wire.shutdown()


def test_a_refused_literal_is_not_sent(scripted: Scripted) -> None:
    """A NO instead of the `+` ends the command, and the next one works."""
    server = scripted(capability="IMAP4rev1")
    with Client("127.0.0.1", server.port, security="none") as client:
        client.log_in("u", "pw")
        original = client.wire.send

        def send(data: bytes) -> None:
            original(data.replace(b"{3}", b"[3]"))  # the server sees no literal and says BAD

        client.wire.send = send  # type: ignore[method-assign,assignment]
        assert client.command(b"XCREATE ", Verbatim(b"abc")).status.status == "BAD"
        client.wire.send = original  # type: ignore[method-assign]
        assert client.command(b"NOOP").ok
