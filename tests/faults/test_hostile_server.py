"""T49, T50, T51: servers that weaken TLS, arguments that would be commands, answers without end."""

from __future__ import annotations

import inspect
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import date
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailrules.adapters.imap.connection import Connection, Limits, Login
from mailrules.adapters.imap.mailbox import Mailbox
from mailrules.core.errors import PermanentError, TransientError
from mailrules.core.message import Fact
from mailrules.core.search import And, Key, Not, Or
from mailrules.core.uidset import UidSet
from tests.faults import hostile
from tests.faults.conftest import Record
from tests.lab.ca import LabCA
from tests.lab.dovecot import message
from tests.lab.scripted import FULL, ScriptedServer, Session

CANARY = "kanarienvogel"


def connection(server: ScriptedServer, **ways: Any) -> Connection:
    """Not yet open. The password is the canary, whatever the server expects."""
    login = {
        "account": "t", "host": "localhost", "port": server.port, "security": "none", "username": "me",
        "password": lambda: CANARY, "timeout": 5,
    } | ways  # fmt: skip
    return Connection(Login(**login))


# -- T49: TLS ---------------------------------------------------------------------------------------
NO_TLS: dict[str, tuple[dict[str, Any], bytes | None]] = {
    # name: how the server is, what it says to STARTTLS
    "stripped": ({"before": "IMAP4rev1"}, None),
    "stripped, LOGINDISABLED": ({"before": "IMAP4rev1 LOGINDISABLED"}, None),
    "NO": ({}, b"{tag} NO not now\r\n"),
    "BAD": ({}, b"{tag} BAD what\r\n"),
    "BYE": ({}, b"* BYE go away\r\n"),
    "another tag": ({}, b"A1 OK begin\r\n"),
    "OK and no TLS": ({}, b"{tag} OK begin\r\n"),
    "injected behind OK": ({}, b"{tag} OK begin\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n"),
    "half a line behind OK": ({}, b"{tag} OK begin\r\n* CAPA"),
    "a continuation behind OK": ({}, b"{tag} OK begin\r\n+ \r\n"),
    "PREAUTH": ({"greeting": b"* PREAUTH welcome\r\n"}, None),
    "PREAUTH and capabilities": (
        {"greeting": b"* PREAUTH [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN] welcome\r\n"}, None,
    ),
    "BYE at once": ({"greeting": b"* BYE no\r\n"}, None),
    "two greetings": ({"greeting": b"* OK hi\r\n* PREAUTH hi\r\n", "before": "IMAP4rev1"}, None),
}  # fmt: skip


@pytest.mark.parametrize("fault", NO_TLS)
def test_starttls_in_doubt(fault: str, lab_ca: LabCA, record: Record) -> None:
    """Stripped, refused, injected or PREAUTH: the connection is closed, the password never sent."""
    ways, answer = NO_TLS[fault]
    ways = {"before": "IMAP4rev1 STARTTLS", "tls": lab_ca.server_context(), "implicit_tls": False} | ways
    with ScriptedServer(**ways) as server:
        if answer is not None:
            server.script(rb"STARTTLS", answer)
        ours = connection(server, security="starttls", tls=lab_ca.client_context(), timeout=1)
        with pytest.raises((TransientError, PermanentError)):
            ours.open()
        assert not ours.alive
        sent = CANARY.encode() in server.received or bool(server.sent(b"LOGIN"))
        record("T49", runs=1, wrong=int(sent), note=fault)
        assert not sent


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
@pytest.mark.parametrize("security", ["tls", "starttls"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_tls(version: str, security: str, lab_ca: LabCA, record: Record) -> None:
    """A server that speaks only TLS 1.0 or 1.1 gets no password, also from a context that would speak it."""
    old = lab_ca.server_context()
    old.set_ciphers("DEFAULT@SECLEVEL=0")
    old.minimum_version = old.maximum_version = ssl.TLSVersion[version]

    def lenient() -> ssl.SSLContext:
        context = lab_ca.client_context()
        context.set_ciphers("DEFAULT@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion[version]
        return context

    implicit = security == "tls"
    with ScriptedServer(tls=old, implicit_tls=implicit, before="IMAP4rev1 STARTTLS") as server:
        if implicit:  # the server is able: it is we who refuse
            import socket

            try:
                with socket.create_connection(("localhost", server.port), 5) as plain:
                    assert lenient().wrap_socket(plain, server_hostname="localhost").version()
            except ssl.SSLError:
                pytest.skip(f"this OpenSSL does not speak {version} at all")
        with pytest.raises((TransientError, PermanentError)):
            connection(server, security=security, tls=lenient()).open()
        sent = CANARY.encode() in server.received
        record("T49", runs=1, wrong=int(sent), note=f"{version}, {security}")
        assert not sent


# -- T50: arguments ----------------------------------------------------------------------------------
MINE: dict[str, Callable[[Connection, Mailbox, str], Any]] = {
    "Connection.append": lambda c, m, evil: c.append(evil, b"x\r\n"),
    "Connection.append flags": lambda c, m, evil: c.append("Other", b"x\r\n", [evil]),
    "Connection.begin": lambda c, m, evil: [c.close(), begun(c, evil), c.open()],
    "Connection.command": lambda c, m, evil: c.command("x", b"NOOP " + evil.encode("utf-8", "replace")),
    "Connection.create": lambda c, m, evil: c.create(evil),
    "Connection.mailboxes": lambda c, m, evil: c.mailboxes([evil]),
    "Connection.may_create": lambda c, m, evil: c.may_create(evil),
    "Connection.select": lambda c, m, evil: c.select(evil),
    "Connection.select read_only": lambda c, m, evil: c.select(evil, read_only=True),
    "Connection.selected": lambda c, m, evil: c.selected(evil),
    "Connection.send": lambda c, m, evil: c.send(b"NOOP " + evil.encode("utf-8", "replace")),
    "Connection.status": lambda c, m, evil: c.status(evil),
    "Connection.statuses": lambda c, m, evil: c.statuses([evil, "Box"]),
    "Connection.watch": lambda c, m, evil: [c.watch((evil, "Box")), c.idle(), c.done()],
    "Connection.wire_name": lambda c, m, evil: c.select(c.wire_name(evil).decode("utf-8", "replace")),
    "Mailbox.add_flags": lambda c, m, evil: m.add_flags([1], [evil]),
    "Mailbox.remove_flags": lambda c, m, evil: m.remove_flags([1], [evil]),
    "Mailbox.add_labels": lambda c, m, evil: m.add_labels([1], [evil]),
    "Mailbox.remove_labels": lambda c, m, evil: m.remove_labels([1], [evil]),
    "Mailbox.copy": lambda c, m, evil: m.copy([1], evil),
    "Mailbox.copy identities": lambda c, m, evil: m.copy([1], "INBOX", identities={1: evil}),
    "Mailbox.move": lambda c, m, evil: m.move([1], evil),
    "Mailbox.move identities": lambda c, m, evil: m.move([1], "Box", identities={1: evil}),
    "Mailbox.fetch": lambda c, m, evil: m.fetch([1], [Fact("header", evil)], body_limit=10),
    "Mailbox.stream": lambda c, m, evil: m.stream([1], [Fact("header", evil)], lambda found: None),
    "Mailbox.find": lambda c, m, evil: m.find(evil),
    "Mailbox.search": lambda c, m, evil: [m.search(s, UidSet([1])) for s in searches(evil)],
    "Mailbox.search_raw": lambda c, m, evil: m.search_raw(evil, UidSet([1])),
    "Mailbox.search_raw quoted": lambda c, m, evil: m.search_raw(f'SUBJECT "{evil}"', UidSet([1])),
    "Mailbox.search_gmail": lambda c, m, evil: m.search_gmail(evil, UidSet([1])),
    "Mailbox.send": lambda c, m, evil: m.send(b"NOOP " + evil.encode("utf-8", "replace")),
}
NO_TEXT = {
    # they take no text that goes to the server
    "Connection.abort", "Connection.close", "Connection.compress", "Connection.do_without_items",
    "Connection.do_without_notify", "Connection.done", "Connection.failure", "Connection.fileno",
    "Connection.idle", "Connection.idle_events", "Connection.is_selected", "Connection.mailbox_failure",
    "Connection.no_news", "Connection.noop", "Connection.open", "Connection.reopen",
    "Connection.reselect", "Connection.special_use", "Connection.swept", "Mailbox.come_back",
    "Mailbox.dates", "Mailbox.delete", "Mailbox.foretold", "Mailbox.forget", "Mailbox.identities",
    "Mailbox.look_ahead", "Mailbox.present", "Mailbox.raw", "Mailbox.remove", "Mailbox.reopen",
    "Mailbox.spanned", "Mailbox.take_in", "Mailbox.uids",
}  # fmt: skip
EXPECTED = {
    b"APPEND", b"CAPABILITY", b"COPY", b"CREATE", b"DONE", b"EXAMINE", b"EXPUNGE", b"FETCH", b"ID", b"IDLE",
    b"LIST", b"LOGIN", b"LOGOUT", b"MOVE", b"NAMESPACE", b"NOOP", b"NOTIFY", b"SEARCH", b"SELECT", b"STATUS",
    b"STORE", b"SUBSCRIBE",
}  # fmt: skip
"""What we say by ourselves. What is injected below is none of it."""


def begun(ours: Connection, evil: str) -> None:
    ours.begin(evil, read_only=False, uids=True)


def searches(evil: str) -> Iterator[Any]:
    for key in (Key("SUBJECT", (evil,)), Key("HEADER", ("X-Y", evil)), Key("HEADER", (evil, "x")),
                Key("BODY", (evil,)), Key("KEYWORD", (evil,)), Key("FROM", (evil,)), Key(evil)):  # fmt: skip
        yield from (key, Not(key), And((key, Key("SEEN"))), Or((key, Key("SINCE", (date(2026, 1, 1),)))))


def test_every_method_is_tried() -> None:
    """The table names each public method of Connection and Mailbox that takes text."""
    public = {
        f"{of.__name__}.{name}"
        for of in (Connection, Mailbox)
        for name, member in inspect.getmembers(of, inspect.isfunction)
        if not name.startswith("_")
    }
    assert public == {name.partition(" ")[0] for name in MINE} | NO_TEXT


@pytest.fixture(scope="module")
def recording() -> Iterator[ScriptedServer]:
    with ScriptedServer(capability=FULL + " X-GM-EXT-1 NOTIFY", password=CANARY) as server:
        server.box().add(message(1))
        server.box("Box")
        server.box("Other")
        yield server


EVIL = st.tuples(
    st.text(max_size=12),
    st.sampled_from(["\r\n", "\n", "\r", "\0", "\r\n\r\n", '"\r\n', "{3}\r\n", "{3+}\r\n", ")\r\n", "\x85"]),
    st.sampled_from(
        ["ZZ9 DELETE Box", "ZZ9 UID STORE 1 +FLAGS (\\Deleted)", "ZZ9 EXPUNGE\r\n", "* OK", "DONE\r\n"]
    ),
    st.sampled_from(["", "\r\n", "\n", '"', " x"]),
).map("".join)


@pytest.mark.parametrize("method", MINE)
def test_no_argument_is_a_command(method: str, recording: ScriptedServer, record: Record) -> None:
    """CR, LF or NUL in an argument of any method: an error or nothing, never a line more at the server."""
    tried = 0
    ours = connection(recording)
    ours.open()
    mailbox = ours.select("INBOX")

    @settings(
        max_examples=hostile.many(25, 1000), deadline=None, suppress_health_check=list(HealthCheck),
        database=None,
    )  # fmt: skip
    @given(EVIL)
    def attempt(evil: str) -> None:
        nonlocal tried
        tried += 1
        del recording.commands[:], recording.received[:]
        try:
            MINE[method](ours, mailbox, evil)
        except (PermanentError, TransientError):
            pass
        for line in recording.commands:
            words = line.upper().split()
            assert words and (words[1] if words[0] == b"UID" else words[0]) in EXPECTED, line
            assert b"\0" not in line and b"\r" not in line
        # Each line on the wire is one that the server took for a command: none of its own tag.
        assert b"\nZZ9" not in recording.received and b"\rZZ9" not in recording.received
        assert not any("\\Deleted" in mail.flags for mail in recording.box().mails)
        assert ours.alive, ours.client.wire.dead

    attempt()
    ours.close()
    record("T50", runs=tried, note=method)


# -- T51: sizes ---------------------------------------------------------------------------------------
MOST_RSS = 200
"""Megabytes."""


def read_in_a_child(server: ScriptedServer, **limits: Any) -> dict[str, Any]:
    return hostile.in_a_child("read", server.port, CANARY, limits)


def endless(piece: bytes) -> Callable[[Session, bytes], bytes]:
    """An answer that ends when the client hangs up."""

    def answer(session: Session, line: bytes) -> bytes:
        while True:
            session.send(piece)

    return answer


def dripping(piece: bytes, pause: float) -> Callable[[Session, bytes], bytes]:
    """A byte now and then, for longer than anybody waits."""

    def answer(session: Session, line: bytes) -> bytes:
        end = time.monotonic() + 200
        while time.monotonic() < end:
            for byte in piece:
                session.send(bytes([byte]))
                time.sleep(pause)
        return b""

    return answer


KB = b"x" * 1000
WITHOUT_END: dict[str, Any] = {
    "4 GB literal": b"* 1 FETCH (UID 1 BODY[HEADER] {4000000000}\r\n",
    "9 TB literal": b"* 1 FETCH (UID 1 BODY[HEADER] {9000000000000}\r\n",
    "literal that fills": endless(b"* 1 FETCH (UID 1 BODY[HEADER] {30000000}\r\n" + KB * 30_000 + b")\r\n"),
    "untagged, short": endless(b"* 1 RECENT\r\n" * 500),
    "untagged, long": endless((b"* OK " + b"y" * 600 + b"\r\n") * 100),
    "untagged FETCH": endless(b"* 7 FETCH (UID 7 FLAGS (\\Seen))\r\n" * 200),
    "one line": endless(KB),
    "one SEARCH line": endless(b"* SEARCH " + b"1000001 " * 1000),
    "words": endless(b"* LIST () " + b"(1 " * 1000),
    "2 MB line": b"* OK " + KB * 2000 + b"\r\n{tag} OK done\r\n",
    "2 MB of brackets": b"* 1 FETCH (UID 1 FLAGS " + b"(" * 2_000_000 + b"\r\n{tag} OK done\r\n",
    "a drip": dripping(b"* 1 RECENT\r\n", 0.05),
    "a drip of a literal": dripping(b"* 1 FETCH (UID 1 BODY[HEADER] {9999999}\r\nxxxxxxxxx", 0.05),
}
AT = (rb"UID SEARCH", rb"UID FETCH", rb"SELECT", rb"CAPABILITY", rb"LOGIN")


@pytest.mark.parametrize("what", WITHOUT_END)
def test_answers_without_end(what: str, record: Record) -> None:
    """Literals, lines, floods and drips end by a limit on size or time, in bounded memory."""
    # A drip ends by the clock: two minutes in earnest, three seconds on every commit.
    limits = {} if hostile.FULL or "drip" not in what else {"seconds": 3}
    for command in AT if hostile.FULL else (AT[len(what) % len(AT)],):
        with ScriptedServer(password=CANARY) as server:
            server.box().add(message(1))
            server.script(command, WITHOUT_END[what])
            said = read_in_a_child(server, **limits)
        large = said["rss"] > MOST_RSS or said["seconds"] > 130
        record("T51", runs=1, wrong=int(large), note=f"{what} at {command.decode()}: {said}")
        assert said["rss"] < MOST_RSS and said["seconds"] < 130, (command, said)
        assert said["error"] or "2 MB" in what, (command, said)


def uids_of(numbers: Iterator[int]) -> bytes:
    return b"* SEARCH " + b" ".join(b"%d" % n for n in numbers) + b"\r\n{tag} OK done\r\n"


MILLION: dict[str, tuple[str, Callable[[], bytes], int]] = {
    "a line": (FULL, lambda: uids_of(iter(range(1, 1_000_001))), 1_000_000),
    "ten digits": (FULL, lambda: uids_of(iter(range(4_000_000_000, 4_001_000_000))), 1_000_000),
    "ESEARCH": (FULL + " ESEARCH", lambda: b"* ESEARCH UID ALL 1:1000000\r\n{tag} OK x\r\n", 1_000_000),
    "ESEARCH, every second": (
        FULL + " ESEARCH",
        lambda: b"* ESEARCH UID ALL " + b",".join(b"%d" % n for n in range(1, 1_000_000, 2))
        + b"\r\n{tag} OK x\r\n",
        500_000,
    ),
    "all there could be": (FULL + " ESEARCH", lambda: b"* ESEARCH UID ALL 1:4294967295\r\n{tag} OK x\r\n", 0),
}  # fmt: skip


@pytest.mark.parametrize("how", MILLION)
def test_a_million_messages(how: str, record: Record) -> None:
    """A mailbox of a million messages is read; one that claims four billion is not believed."""
    capability, answer, expected = MILLION[how]
    with ScriptedServer(capability=capability, password=CANARY) as server:
        server.script(rb"UID SEARCH", answer())
        said = read_in_a_child(server)
    record("T51", runs=1, wrong=int(said["uids"] != expected), note=f"{how}: {said}")
    assert said["error"] is None and said["uids"] == expected, said
    assert said["rss"] < MOST_RSS, said


def test_a_garbled_limit_is_not_the_others(record: Record, tmp_path: Any) -> None:
    """While one server floods, an account on another is served in the same pass."""
    from mailrules.adapters.store import Store

    rules = "rules:\n  - {name: all, when: always, then: [{move: Moved}]}\n"
    with ExitStack() as stack:
        flood = stack.enter_context(ScriptedServer(password=CANARY))
        decent = stack.enter_context(ScriptedServer(password=CANARY))
        store = stack.enter_context(Store.open(hostile.folder(tmp_path, "state")))
        for server in (flood, decent):
            server.box().add(message(1))
        flood.script(rb"UID FETCH", endless(b"* 1 RECENT\r\n" * 500))
        text = "accounts:\n" + hostile.account("flood", flood.port) + hostile.account("decent", decent.port)
        house = hostile.ShortHouse(
            hostile.read_config(text + rules, password=CANARY), store, patience={}, limits=Limits()
        )
        for name in ("flood", "decent"):
            hostile.judged_from_the_start(store, name, uidvalidity=11)
        results = {result.account: result for result in hostile.pass_over(house)}
        assert results["flood"].errors and not results["decent"].errors
        assert len(decent.box("Moved").mails) == 1
    record("T51", runs=1, note="a flood beside a decent server")
