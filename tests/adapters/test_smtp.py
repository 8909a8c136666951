"""adapters/smtp.py: each step's refusals and losses, TLS, and what must not be smuggled."""

from __future__ import annotations

import re
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from mailrules.adapters.smtp import SmtpServer, send
from mailrules.core.actions.base import Outcome
from mailrules.core.compose import Outgoing
from mailrules.core.errors import PermanentError
from tests.lab.proxy import FaultProxy
from tests.lab.smtp import DROP, ScriptedSmtp, SmtpSink

DATA = b"Subject: hi\r\n\r\n.dot\r\nbody\r\n"
MAIL = Outgoing(DATA, "me@example.test", ("bob@example.test",), "<key@example.test>")
TWO = replace(MAIL, recipients=("bob@example.test", "eve@example.test"))


class Commits:
    """A journal that counts."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def plain(port: int, **more: Any) -> SmtpServer:
    return SmtpServer("127.0.0.1", port, "none", **{"timeout": 3.0, "final_timeout": 5.0, **more})


def states(outcome: Outcome) -> list[str]:
    return [r["state"] for r in outcome.detail["recipients"].values()]


@pytest.fixture
def scripted() -> Iterator[Callable[..., ScriptedSmtp]]:
    running: list[ScriptedSmtp] = []

    def start(*features: str, **more: Any) -> ScriptedSmtp:
        server = ScriptedSmtp(features, **more)
        running.append(server)
        return server.__enter__()

    yield start
    for server in running:
        server.__exit__()


# -- the way it should go -------------------------------------------------------------------------------
def test_a_message_arrives_as_it_was_built() -> None:
    """Sender, recipients and every byte arrive; the journal commits once."""
    commits = Commits()
    with SmtpSink() as sink:
        outcome = send(plain(sink.port), TWO, commit=commits)
        [message] = sink.wait(1)
    assert outcome.state == "done" and commits.count == 1
    assert (message.mail_from, message.rcpt_tos) == ("me@example.test", list(TWO.recipients))
    assert message.content == DATA
    assert states(outcome) == ["done", "done"]
    assert outcome.detail["reply"] == "250 2.0.0 queued"


def test_commit_stands_before_the_end_of_the_message(scripted: Callable[..., ScriptedSmtp]) -> None:
    """When the journal commits, the body is there and the message is not yet accepted."""
    for features in ((), ("CHUNKING",)):
        server = scripted(*features)
        seen = []
        outcome = send(plain(server.port), MAIL, commit=lambda s=server, n=seen: n.append(len(s.messages)))
        assert (outcome.state, seen, server.accepted) == ("done", [0], 1)


def test_chunking_acknowledges_the_body_first(scripted: Callable[..., ScriptedSmtp]) -> None:
    """With CHUNKING the body goes by BDAT, undotted, and only `BDAT 0 LAST` follows the commit."""
    server = scripted("CHUNKING")
    assert send(plain(server.port), MAIL, commit=Commits()).state == "done"
    assert server.messages == [DATA]
    assert server.commands[-3:] == [f"BDAT {len(DATA)}", "BDAT 0 LAST", "QUIT"]


def test_null_sender_is_null() -> None:
    """A bounce is sent on with `MAIL FROM:<>`."""
    with SmtpSink() as sink:
        assert send(plain(sink.port), replace(MAIL, mail_from=""), commit=Commits()).state == "done"
        assert sink.wait(1)[0].mail_from == "<>"


# -- what a server may say ------------------------------------------------------------------------------
@pytest.mark.parametrize("verb", ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "."])
@pytest.mark.parametrize(("reply", "state"), [("451 4.3.0 later", "later"), ("550 5.7.1 no", "failed")])
def test_refused_at_a_step(scripted: Callable[..., ScriptedSmtp], verb: str, reply: str, state: str) -> None:
    """4yz at any verb is tried later, 5yz failed; neither is unknown, and the reply is told."""
    server = scripted()
    server.replies[verb] = reply
    commits = Commits()
    outcome = send(plain(server.port), MAIL, commit=commits)
    assert outcome.state == state and states(outcome) == [state]
    assert reply in outcome.detail["error"]
    assert commits.count == (verb == ".")


@pytest.mark.parametrize("verb", ["BDAT", "LAST"])
@pytest.mark.parametrize(("reply", "state"), [("452 4.3.1 full", "later"), ("552 5.3.4 big", "failed")])
def test_refused_chunk(scripted: Callable[..., ScriptedSmtp], verb: str, reply: str, state: str) -> None:
    """The same for the body in chunks."""
    server = scripted("CHUNKING")
    server.replies[verb] = reply
    assert send(plain(server.port), MAIL, commit=Commits()).state == state


@pytest.mark.parametrize("verb", ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA"])
def test_dropped_before_the_end(scripted: Callable[..., ScriptedSmtp], verb: str) -> None:
    """A connection lost before the commit point is tried later: nothing was sent."""
    server = scripted()
    server.replies[verb] = DROP
    commits = Commits()
    outcome = send(plain(server.port), MAIL, commit=commits)
    assert (outcome.state, commits.count) == ("later", 0)


@pytest.mark.parametrize(("features", "step"), [((), "."), (("CHUNKING",), "LAST")])
def test_reply_lost_after_the_end_is_unknown(
    scripted: Callable[..., ScriptedSmtp], features: tuple[str, ...], step: str
) -> None:
    """A connection lost after the end of the message is unknown, never repeated by itself."""
    server = scripted(*features)
    server.replies[step] = DROP
    outcome = send(plain(server.port), MAIL, commit=Commits())
    assert outcome.state == "unknown" and "may have been delivered" in outcome.detail["error"]


def test_accepted_then_dropped_is_unknown() -> None:
    """The server keeps the message and hangs up: unknown, and the sink has it once."""
    with SmtpSink() as sink:
        sink.plan("end", "accept-then-drop")
        assert send(plain(sink.port), MAIL, commit=Commits()).state == "unknown"
        assert len(sink.wait(1)) == 1


@pytest.mark.parametrize("reply", ["354 what?", "hello", "199 odd", "250-" + "x" * 70000])
def test_nonsense_after_the_end_is_unknown(scripted: Callable[..., ScriptedSmtp], reply: str) -> None:
    """A final reply that says neither yes nor no leaves it unknown."""
    server = scripted()
    server.replies["."] = reply
    assert send(plain(server.port), MAIL, commit=Commits()).state == "unknown"


def test_slow_final_reply_is_waited_for() -> None:
    """The final reply may take longer than any other."""
    with SmtpSink() as sink:
        sink.plan("end", ("sleep", 1.5))
        assert send(plain(sink.port, timeout=0.5), MAIL, commit=Commits()).state == "done"


def test_final_reply_that_never_comes_is_unknown() -> None:
    """After `final_timeout` it is unknown."""
    with SmtpSink() as sink:
        sink.plan("end", ("sleep", 30))
        assert send(plain(sink.port, final_timeout=0.5), MAIL, commit=Commits()).state == "unknown"


def test_dripping_server_has_one_deadline() -> None:
    """A server that sends a byte now and then does not hold the worker for ever."""
    listener = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        peer, _ = listener.accept()
        with peer:
            for _ in range(100):
                try:
                    peer.sendall(b"2")
                except OSError:
                    return
                time.sleep(0.1)

    threading.Thread(target=drip, daemon=True).start()
    started = time.monotonic()
    with listener:
        outcome = send(plain(listener.getsockname()[1], timeout=0.6), MAIL, commit=Commits())
    assert outcome.state == "later" and time.monotonic() - started < 3


@pytest.mark.parametrize("endless", ["250-more\r\n" * 20000, "x" * 200_000])
def test_reply_without_end_is_cut(scripted: Callable[..., ScriptedSmtp], endless: str) -> None:
    """A reply of any number of lines, or one long line, does not fill the memory."""
    server = scripted()
    server.replies["EHLO"] = endless
    assert send(plain(server.port), MAIL, commit=Commits()).state == "later"


def test_nobody_listens() -> None:
    """No server: later, in words that say which."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    outcome = send(plain(port), MAIL, commit=Commits())
    assert outcome.state == "later" and f"127.0.0.1:{port}" in outcome.detail["error"]


# -- several recipients ---------------------------------------------------------------------------------
def test_each_recipient_has_its_state() -> None:
    """One is refused, the other gets it; the next try goes to nobody twice."""
    with SmtpSink() as sink:
        sink.plan("rcpt", "450 4.2.0 greylisted")
        first = send(plain(sink.port), TWO, commit=Commits())
        assert first.state == "later" and states(first) == ["later", "done"]
        second = send(plain(sink.port), TWO, commit=Commits(), previous=first.detail["recipients"])
        assert second.state == "done" and states(second) == ["done", "done"]
        assert [m.rcpt_tos for m in sink.wait(2)] == [["eve@example.test"], ["bob@example.test"]]


def test_one_refused_for_good_makes_the_whole_failed() -> None:
    """Who got it and who did not is told for each."""
    with SmtpSink() as sink:
        sink.plan("rcpt", "550 5.1.1 nobody")
        outcome = send(plain(sink.port), TWO, commit=Commits())
    assert outcome.state == "failed" and states(outcome) == ["failed", "done"]
    assert outcome.detail["error"] == "bob@example.test: 550 5.1.1 nobody"


def test_all_refused_sends_nothing() -> None:
    """Without a recipient there is no DATA and no commit."""
    commits = Commits()
    with SmtpSink() as sink:
        sink.plan("rcpt", "550 5.1.1 nobody", times=2)
        assert send(plain(sink.port), TWO, commit=commits).state == "failed"
        assert sink.messages == [] and commits.count == 0


def test_too_many_recipients_is_later(scripted: Callable[..., ScriptedSmtp]) -> None:
    """552 to RCPT is 452 (RFC 5321 section 4.5.3.1.10)."""
    server = scripted()
    server.replies["RCPT"] = "552 too many recipients"
    assert send(plain(server.port), MAIL, commit=Commits()).state == "later"


# -- the journal and the end of the worker --------------------------------------------------------------
@pytest.mark.parametrize("features", [(), ("CHUNKING",)])
def test_fenced_effect_sends_nothing(
    scripted: Callable[..., ScriptedSmtp], features: tuple[str, ...]
) -> None:
    """What the commit raises comes through, and the server never sees the end of the message."""

    def fenced() -> None:
        raise OSError("the journal says no")

    server = scripted(*features)
    with pytest.raises(OSError, match="journal says no"):
        send(plain(server.port), MAIL, commit=fenced)
    time.sleep(0.2)
    assert server.messages == []


def test_refusal_during_the_body_is_not_unknown() -> None:
    """A server that refuses before the message is whole has not accepted it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def refuse() -> None:
        peer, _ = listener.accept()
        with peer, peer.makefile("rb") as file:
            peer.sendall(b"220 hi\r\n")
            for reply in (b"250 hi", b"250 ok", b"250 ok", b"354 go\r\n552 5.3.4 too big"):
                file.readline()
                peer.sendall(reply + b"\r\n")
            time.sleep(1)

    threading.Thread(target=refuse, daemon=True).start()
    commits = Commits()
    with listener:
        slow = replace(MAIL, data=DATA + b"x" * 900 + b"\r\n")
        outcome = send(plain(listener.getsockname()[1]), slow, commit=commits)
    assert (outcome.state, commits.count) == ("failed", 0)


@pytest.mark.parametrize(
    ("said", "state"),
    [(b"", "later"), (b"421 4.3.2 bye\r\n", "later"), (b"552 5.3.4 big\r\n", "failed"),
     (b"250 2.0.0 queued\r\n", "unknown")],
)  # fmt: skip
def test_what_happens_during_the_commit(said: bytes, state: str) -> None:
    """Whoever leaves or refuses while the journal commits never saw the end; who says yes may have it."""
    with SmtpSink() as sink, FaultProxy(("127.0.0.1", sink.port)) as proxy:

        def commit() -> None:
            proxy.inject(said) if said else proxy.cut()
            time.sleep(0.2)

        assert send(plain(proxy.port), MAIL, commit=commit).state == state
        proxy.cut()
        assert sink.messages == []


def test_yes_before_the_end_is_unknown(scripted: Callable[..., ScriptedSmtp]) -> None:
    """A server that says it has the message before it was whole: nobody knows what it has."""
    server = scripted()
    server.replies["DATA"] = "354 go on\r\n250 2.0.0 queued"
    commits = Commits()
    outcome = send(plain(server.port), MAIL, commit=commits)
    assert (outcome.state, commits.count) == ("unknown", 0)
    assert "may have been delivered" in outcome.detail["error"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is not yet acknowledged")
def test_what_never_left_is_not_unknown() -> None:
    """The network goes while the text is on its way: the journal does not commit, and it is later."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    over = threading.Event()

    def hear_no_more() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.sendall(b"220 hi\r\n")
            for reply in (b"250 hi", b"250 ok", b"250 ok", b"354 go"):
                while not peer.recv(200).endswith(b"\n"):
                    pass
                peer.sendall(reply + b"\r\n")
            over.wait(10)

    threading.Thread(target=hear_no_more, daemon=True).start()
    commits = Commits()
    with listener:
        large = replace(MAIL, data=DATA + (b"x" * 70 + b"\r\n") * 200)
        outcome = send(plain(listener.getsockname()[1], timeout=1, final_timeout=1), large, commit=commits)
    over.set()
    assert (outcome.state, commits.count) == ("later", 0)


def test_stop_before_the_commit_is_later() -> None:
    """A worker that shuts down gives up what is not yet committed, at once."""
    stop = threading.Event()
    with SmtpSink() as sink:
        sink.plan("mail", ("sleep", 10))
        threading.Timer(0.3, stop.set).start()
        started = time.monotonic()
        outcome = send(plain(sink.port, timeout=20), MAIL, commit=Commits(), stop=stop)
    assert outcome.state == "later" and time.monotonic() - started < 5


def test_stop_after_the_commit_waits_its_grace() -> None:
    """After the commit it waits on, within the grace: then it is unknown."""
    with SmtpSink() as sink:
        for grace, state in ((5.0, "done"), (0.3, "unknown")):
            stop = threading.Event()
            sink.plan("end", ("sleep", 1.2))
            outcome = send(plain(sink.port), MAIL, commit=stop.set, stop=stop, grace=grace)
            assert outcome.state == state


# -- what can't be sent ---------------------------------------------------------------------------------
def test_eight_bit_needs_8bitmime(scripted: Callable[..., ScriptedSmtp]) -> None:
    """Without 8BITMIME the seven-bit form goes; where there is none it is a visible failure."""
    server = scripted()
    eight = replace(MAIL, data="Subject: x\r\n\r\né\r\n".encode())
    outcome = send(plain(server.port), eight, commit=Commits())
    assert outcome.state == "failed" and "8BITMIME" in outcome.detail["error"]
    assert send(plain(server.port), replace(eight, seven_bit=lambda: DATA), commit=Commits()).state == "done"
    assert server.messages == [DATA]
    with SmtpSink() as sink:
        assert send(plain(sink.port), eight, commit=Commits()).state == "done"
        assert "BODY=8BITMIME" in sink.wait(1)[0].mail_options


def test_utf8_needs_smtputf8(scripted: Callable[..., ScriptedSmtp]) -> None:
    """An address outside ASCII needs SMTPUTF8; only its domain can be written otherwise."""
    server = scripted()
    local = replace(MAIL, recipients=("jörg@example.test",), utf8=True)
    outcome = send(plain(server.port), local, commit=Commits())
    assert outcome.state == "failed" and "SMTPUTF8" in outcome.detail["error"]
    domain = replace(MAIL, recipients=("bob@bücher.test",))
    assert send(plain(server.port), domain, commit=Commits()).state == "done"
    assert "RCPT TO:<bob@xn--bcher-kva.test>" in server.commands
    with SmtpSink() as sink:
        assert send(plain(sink.port), local, commit=Commits()).state == "done"
        assert sink.wait(1)[0].rcpt_tos == ["jörg@example.test"]


def test_size_is_asked_before_sending() -> None:
    """A message over the server's SIZE fails with both figures."""
    with SmtpSink(size_limit=1000) as sink:
        outcome = send(plain(sink.port), replace(MAIL, data=DATA + b"x\r\n" * 1000), commit=Commits())
    assert outcome.state == "failed" and "1000" in outcome.detail["error"]


@pytest.mark.parametrize("data", [b"a\0b\r\n", b"x" * 999 + b"\r\n"])
def test_what_smtp_cannot_carry_is_refused(data: bytes) -> None:
    """NUL and lines over 998 bytes fail before anything is said."""
    with SmtpSink() as sink:
        assert send(plain(sink.port), replace(MAIL, data=data), commit=Commits()).state == "failed"
        assert sink.messages == []


ENDS = [b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n.\n", b"\r.\r\n", b"\r\n.\r", b"\n.\r", b"\r.\n", b"\r\n.\r\n"]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("before", [b"", b"\r", b"\n", b"."])
def test_nothing_is_smuggled(scripted: Callable[..., ScriptedSmtp], end: bytes, before: bytes) -> None:
    """No ending in the text ends the message, also for a server that is lenient about line ends."""
    server = scripted(lenient=True)
    evil = b"Subject: x\r\n\r\nhi" + before + end + b"MAIL FROM:<evil@x>\r\nRCPT TO:<v@x>\r\nDATA\r\n" + end
    assert send(plain(server.port), replace(MAIL, data=evil), commit=Commits()).state == "done"
    assert len(server.messages) == 1
    assert [c for c in server.commands if "evil" in c] == []


@pytest.mark.parametrize(
    "address",
    [
        "a@b\r\nRCPT TO:<v@x>",
        "a@b>\r\nDATA",
        "a b@c",
        "<a@b>",
        "a@b\0",
        "a@b\u2028c",
        "@b",
        "a@",
        "a@-b.c",
        "a" * 65 + "@b",
    ],
)
def test_odd_addresses_never_reach_the_wire(address: str) -> None:
    """An address that could say more than an address fails before anything is said."""
    with SmtpSink() as sink:
        for outgoing in (replace(MAIL, recipients=(address,)), replace(MAIL, mail_from=address)):
            assert send(plain(sink.port), outgoing, commit=Commits()).state == "failed"
        assert sink.messages == []


# -- TLS and logging in ---------------------------------------------------------------------------------
@pytest.fixture
def trusting(lab_ca: Any) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(lab_ca.ca_file))


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_tls_and_login(lab_ca: Any, trusting: ssl.SSLContext, security: Any) -> None:
    """Over TLS, from the start or by STARTTLS, it logs in and sends."""
    with SmtpSink(lab_ca, {"ann": "pw"}, require_auth=True, implicit_tls=security == "tls") as sink:
        server = replace(
            plain(sink.port), security=security, username="ann", password=lambda: "pw", tls=trusting
        )
        assert send(server, MAIL, commit=Commits()).state == "done"
        [message] = sink.wait(1)
        assert (message.auth_user, message.tls) == ("ann", True)
        wrong = send(replace(server, password=lambda: "guess"), MAIL, commit=Commits())
        assert wrong.state == "failed" and "535" in wrong.detail["error"]
        sink.plan("auth", "454 4.7.0 later")
        assert send(server, MAIL, commit=Commits()).state == "later"


def test_xoauth2(lab_ca: Any, trusting: ssl.SSLContext) -> None:
    """A token logs in; a stale one fails with the server's word."""
    with SmtpSink(lab_ca) as sink:
        sink.tokens["ann"] = "good"
        server = replace(
            plain(sink.port), security="starttls", username="ann", token=lambda: "good", tls=trusting
        )
        assert send(server, MAIL, commit=Commits()).state == "done"
        assert send(replace(server, token=lambda: "stale"), MAIL, commit=Commits()).state == "failed"


def test_secret_that_cannot_be_read() -> None:
    """A password that is not there fails with its own words, before a login is tried."""

    def missing() -> str:
        raise PermanentError("the variable SMTP_PASSWORD is not set")

    with ScriptedSmtp(("AUTH PLAIN",)) as server:
        outcome = send(plain(server.port, username="ann", password=missing), MAIL, commit=Commits())
        assert outcome.state == "failed" and "SMTP_PASSWORD" in outcome.detail["error"]
        assert not any(c.startswith("AUTH") for c in server.commands)


@pytest.mark.parametrize("fault", ["untrusted", "expired", "wrong name"])
@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_no_trust_no_login(lab_ca: Any, trusting: ssl.SSLContext, fault: str, security: Any) -> None:
    """A certificate that can't be trusted ends it before the password: later, with the reason."""
    cert = {
        "untrusted": lab_ca.issue("a"),
        "expired": lab_ca.issue("b", days=-1),
        "wrong name": lab_ca.issue("c", ("other.test",)),
    }[fault]
    asked = []
    with SmtpSink(cert=cert, users={"ann": "pw"}, implicit_tls=security == "tls") as sink:
        server = replace(
            plain(sink.port), security=security, username="ann", password=lambda: asked.append(1) or "pw",
            tls=None if fault == "untrusted" else trusting,
        )  # fmt: skip
        outcome = send(server, MAIL, commit=Commits())
    assert outcome.state == "later" and "certificate" in outcome.detail["error"]
    assert asked == []


def test_starttls_stripped(scripted: Callable[..., ScriptedSmtp]) -> None:
    """A server that does not offer, or refuses, the STARTTLS that was asked for gets nothing."""
    for features in ((), ("STARTTLS", "AUTH PLAIN")):
        server = scripted(*features)
        mine = replace(plain(server.port), security="starttls", username="ann", password=lambda: "pw")
        assert send(mine, MAIL, commit=Commits()).state == "later"
        assert not [c for c in server.commands if c.startswith(("AUTH", "MAIL"))]


def test_starttls_injection_is_seen(scripted: Callable[..., ScriptedSmtp]) -> None:
    """What comes in clear behind the answer to STARTTLS ends it."""
    server = scripted("STARTTLS")
    server.replies["STARTTLS"] = "220 go\r\n250 injected"
    mine = replace(plain(server.port), security="starttls")
    outcome = send(mine, MAIL, commit=Commits())
    assert outcome.state == "later" and "before TLS" in outcome.detail["error"]


def test_secrets_are_not_in_what_is_told(scripted: Callable[..., ScriptedSmtp]) -> None:
    """A server object does not show its password."""
    server = plain(scripted().port, username="ann", password=lambda: "hunter2")
    assert "hunter2" not in repr(server) and not re.search("password|lambda", repr(server))
