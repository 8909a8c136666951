"""core/compose.py: what a forward and a redirect owe (RFC 5228 section 4.2, RFC 5322 section 3.6.6)."""

from __future__ import annotations

import email.policy
import os
import random
import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import EmailMessage
from email.parser import BytesParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrules.core.compose import Outgoing, forward_message, loop_mark, redirect_message, reply_message
from mailrules.core.errors import PermanentError

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ME = "me@our.example"
RAW = (
    b"Return-Path: <ann@acme.example>\r\nReceived: from a by b; x\r\nReceived: from c\r\n by d; y\r\n"
    b"DKIM-Signature: v=1; b=abc\r\nFrom: Ann Lee <ann@acme.example>\r\nTo: me@our.example\r\n"
    b"Bcc: secret@acme.example\r\nSubject: Hello\r\nAuto-Submitted: no\r\nReferences: <0@acme.example>\r\n"
    b"Message-ID: <1@acme.example>\r\n\r\n.dot\r\nbody\r\n"
)


def forwarded(raw: bytes = RAW, **arguments: Any) -> Outgoing:
    given_ = {"to": ["boss@x.example"], "mode": "attach", "subject": "Fwd: Hello", **arguments}
    return forward_message(raw, arguments=given_, address=ME, effect_key="KEY234", now=NOW)


def redirected(raw: bytes = RAW, *to: str) -> Outgoing:
    arguments = {"to": list(to) or ["boss@x.example"]}
    return redirect_message(raw, arguments=arguments, address=ME, effect_key="KEY234", now=NOW)


def with_header(line: bytes) -> bytes:
    return line + b"\r\n" + RAW


def read(outgoing: Outgoing) -> EmailMessage:
    message = BytesParser(policy=email.policy.SMTP).parsebytes(outgoing.data)
    assert isinstance(message, EmailMessage) and not message.defects
    return message


def sendable(outgoing: Outgoing) -> bool:
    """CRLF only, no NUL, lines of at most 998 bytes."""
    lines = outgoing.data.split(b"\r\n")
    return not re.search(rb"[\r\n\0]", b"".join(lines)) and max(map(len, lines)) <= 998


# -- redirect -------------------------------------------------------------------------------------------
def test_redirect_changes_nothing_below_its_block() -> None:
    """New headers stand on top as one block; the rest is the message, byte for byte, without Return-Path."""
    outgoing = redirected()
    head, _, rest = outgoing.data.partition(b"Received: from a by b")
    assert b"Received: from a by b" + rest == RAW[RAW.index(b"Received: from a") :]
    names = re.findall(rb"^([A-Za-z-]+):", head, re.MULTILINE)
    assert names == [
        b"Received", b"X-Mailrules-Loop", b"Resent-Date", b"Resent-From", b"Resent-To", b"Resent-Message-ID",
    ]  # fmt: skip
    assert b"Return-Path" not in outgoing.data and sendable(outgoing)
    assert outgoing.data.count(b"Received:") == RAW.count(b"Received:") + 1


def test_redirect_block_says_who_and_when() -> None:
    """Resent-From is the account, the Resent-Message-ID is that of the effect, on every try."""
    message = read(redirected(RAW, "a@x.example", "b@x.example"))
    assert message["Resent-From"] == ME and message["Resent-To"] == "a@x.example, b@x.example"
    assert message["Resent-Message-ID"] == "<KEY234@our.example>"
    assert message["Resent-Date"] == "Sun, 01 Mar 2026 12:00:00 +0000"
    assert message["From"] == "Ann Lee <ann@acme.example>" and message["Message-ID"] == "<1@acme.example>"
    assert redirected() == redirected()


def test_second_redirect_adds_a_block() -> None:
    """An older Resent block is left as it is."""
    once = redirected().data.replace(loop_mark(ME).encode(), b"other@x.example")
    twice = redirected(once, "new@x.example").data
    assert twice.endswith(once) and twice.count(b"Resent-From:") == 2


@pytest.mark.parametrize(
    ("path", "sender"),
    [(b"Return-Path: <>", ""), (b"Return-Path: < >", ""), (b"Return-Path:\r\n <>", ""), (b"X: 1", ME)],
)
@pytest.mark.parametrize("send", [forwarded, redirected])
def test_null_sender_stays_null(send: Callable[[bytes], Outgoing], path: bytes, sender: str) -> None:
    """A bounce is sent on with a null sender; everything else with the account's own."""
    raw = RAW.partition(b"\r\n")[2]
    assert send(path + b"\r\n" + raw).mail_from == sender


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (RAW + b"a\0b", "NUL"),
        (RAW + b"x" * 999 + b"\r\n", "line longer"),
        (with_header(b"X: " + b"x" * 1000), "line longer"),
        (with_header(b"X-Name: J\xf6rg"), "8-bit headers"),
        (with_header(b"X-Spam-Flag: YES"), "X-Spam-Flag"),
        (with_header(b"X-Virus-Status: Infected (Eicar)"), "X-Virus-Status"),
    ],
)
def test_redirect_that_cannot_be(raw: bytes, words: str) -> None:
    """What can't travel unchanged, or should not, is refused and `forward` named; a forward carries it."""
    with pytest.raises(PermanentError, match=words) as error:
        redirected(raw)
    assert "forward" in str(error.value)
    assert sendable(forwarded(raw))


def test_redirect_in_utf8_needs_smtputf8() -> None:
    """Raw UTF-8 headers go with SMTPUTF8, eight-bit text alone does not need it."""
    assert redirected(with_header("X-Name: Jörg".encode())).utf8
    assert not redirected(RAW + "Grüße\r\n".encode()).utf8
    assert redirected(RAW, "jörg@x.example").utf8 and not redirected(RAW, "a@bücher.example").utf8


def test_bare_line_ends_make_no_header() -> None:
    """LF becomes CRLF; a lone CR becomes a blank, so that no header begins behind it."""
    outgoing = redirected(with_header(b"X-A: a\rBcc: evil@x.example").replace(b".dot\r\n", b"a\nb\rc\n"))
    assert sendable(outgoing) and b"X-A: a Bcc: evil@x.example\r\n" in outgoing.data
    assert outgoing.data.endswith(b"\r\n\r\na\r\nb c\r\nbody\r\n") and outgoing.notes
    assert redirected(RAW.replace(b"\r\n", b"\n")).data == redirected().data


def test_mbox_line_is_no_header() -> None:
    """A From_ line is left behind."""
    assert redirected(b"From ann Sat Mar  1 2026\r\n" + RAW).data == redirected().data


# -- forward --------------------------------------------------------------------------------------------
def test_forward_is_a_new_mail() -> None:
    """From, Message-ID and Date are its own; the author gets the replies; it is marked as automatic."""
    message = read(forwarded())
    assert message["From"] == ME and message["To"] == "boss@x.example" and message["Subject"] == "Fwd: Hello"
    assert message["Reply-To"] == "ann@acme.example" and message["Auto-Submitted"] == "auto-generated"
    assert message["Message-ID"] == "<KEY234@our.example>"
    assert message["In-Reply-To"] == "<1@acme.example>"
    assert message["References"].split() == ["<0@acme.example>", "<1@acme.example>"]
    assert message["X-Mailrules-Loop"] == ME and message["Bcc"] is None and message["DKIM-Signature"] is None
    assert sendable(forwarded()) and forwarded() == forwarded()


def test_forward_attaches_the_original() -> None:
    """The original is message/rfc822, unencoded, whole."""
    text, original = read(forwarded(text="Bitte prüfen.")).iter_parts()
    assert text.get_content().strip() == "Bitte prüfen."
    assert original.get_content_type() == "message/rfc822" and original["Content-Transfer-Encoding"] == "7bit"
    assert original.get_filename() == "message.eml"
    assert RAW in forwarded().data


def test_forward_of_eight_bit() -> None:
    """Eight-bit originals go as they are; for a server without 8BITMIME there is a form in base64."""
    raw = RAW + "Grüße\r\n".encode()
    outgoing = forwarded(raw)
    assert raw in outgoing.data and read(outgoing)["Content-Transfer-Encoding"] == "8bit"
    assert outgoing.seven_bit is not None
    plain = outgoing.seven_bit()
    assert plain.isascii()
    file = list(BytesParser(policy=email.policy.SMTP).parsebytes(plain).iter_parts())[1]
    assert file.get_content_type() == "application/octet-stream" and file.get_content() == raw


@pytest.mark.parametrize("odd", [b"a\0b\r\n", b"x" * 2000 + b"\r\n", b"a\rb\r\n", b"a\r\r\n"])
def test_forward_of_what_cannot_travel(odd: bytes) -> None:
    """NUL, long lines and bare CR go in base64, every byte kept, and the log says so."""
    outgoing = forwarded(RAW + odd)
    file = list(read(outgoing).iter_parts())[1]
    assert file.get_content() == RAW + odd and outgoing.notes and sendable(outgoing)


def test_forward_inline() -> None:
    """Inline quotes the text, names who wrote it, and what is not quoted; Bcc is not told."""
    parts = [
        b"Content-Type: text/plain; charset=latin-1\r\n\r\nGr\xfc\xdfe\r\nzwei",
        b"Content-Type: application/pdf\r\nContent-Disposition: attachment; filename=a.pdf\r\n\r\nx",
    ]
    body = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"
    kind = b"\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    raw = RAW[: RAW.index(b"\r\n\r\n")] + kind + body
    outgoing = forwarded(raw, mode="inline", text="See below.")
    text = read(outgoing).get_content().replace("\r\n", "\n")
    assert text.startswith("See below.\n") and "\n> Grüße\n> zwei\n" in text
    assert "From: Ann Lee <ann@acme.example>" in text and "a.pdf" in text and "secret@" not in text
    assert sendable(outgoing) and outgoing.data.isascii()


def test_boundary_is_not_in_the_original() -> None:
    """A message that holds the boundary we would take can't break out of its attachment."""
    evil = RAW + b"--=_KEY234_0\r\nContent-Type: text/html\r\n\r\nevil\r\n--=_KEY234_0--\r\n"
    parts = list(read(forwarded(evil)).iter_parts())
    assert len(parts) == 2 and evil in forwarded(evil).data


def test_addresses_outside_ascii() -> None:
    """Domains are written in ASCII; a local part needs SMTPUTF8."""
    outgoing = forwarded(to=["a@bücher.example"])
    assert b"To: a@xn--bcher-kva.example\r\n" in outgoing.data and not outgoing.utf8
    assert forwarded(to=["jörg@x.example"]).utf8
    assert b"\r\nReply-To" not in forwarded(RAW.replace(b"ann@acme", "ännchen@acme".encode())).data


# -- loops ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("send", [forwarded, redirected])
@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"X-Mailrules-Loop: ME@our.example", "before"),
        (b"X-Mailrules-Loop: boss@x.example", "sending it back"),
        (b"Delivered-To: Boss@X.example", "delivered to"),
        (b"X-Original-To: <boss@x.example>", "delivered to"),
        (b"\r\n".join([b"Received: x"] * 29), "31 Received"),
    ],
)
def test_loops_end(send: Callable[[bytes], Outgoing], line: bytes, words: str) -> None:
    """Our mark, a recipient it was delivered to, or too many hops refuse it."""
    with pytest.raises(PermanentError, match=words):
        send(with_header(line))


def test_never_to_itself() -> None:
    """The account is no target, in any letter case."""
    with pytest.raises(PermanentError, match="account itself"):
        forwarded(to=["Me@OUR.example"])
    with pytest.raises(PermanentError, match="account itself"):
        redirected(RAW, ME)


def test_two_that_forward_to_each_other_stop() -> None:
    """A to B, B to A: the second sending is refused."""
    for send in (forward_message, redirect_message):
        arguments = {"to": ["b@x.example"], "mode": "attach", "subject": "x"}
        first = send(RAW, arguments=arguments, address="a@x.example", effect_key="1", now=NOW)
        back = {**arguments, "to": ["a@x.example"]}
        with pytest.raises(PermanentError, match="loop"):
            send(first.data, arguments=back, address="b@x.example", effect_key="2", now=NOW)


def test_three_in_a_ring_stop() -> None:
    """The marks of all who sent it on go along, also in a new mail around the old one."""
    for send in (forward_message, redirect_message):
        data, ring = RAW, ["a@x.example", "b@x.example", "c@x.example", "a@x.example"]
        with pytest.raises(PermanentError, match="loop"):
            for sender, target in pairwise(ring):
                arguments = {"to": [target], "mode": "attach", "subject": "x"}
                data = send(data, arguments=arguments, address=sender, effect_key="1", now=NOW).data
        assert data.count(b"X-Mailrules-Loop: b@x.example") == 1


# -- hostile --------------------------------------------------------------------------------------------
ENDS = [
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\x0b", b"\x0c", b"\x1c", b"\x1e", b"\xc2\x85", b"\xe2\x80\xa8",
    b"\0\r\n", b"\r\n ", b"=0D=0A", b"?=\r\n",
]  # fmt: skip
NAMES = [b"Bcc", b"To", b"X-Evil", b"Content-Type", b"From", b"Resent-To"]
INJECTIONS = [end + name + b": evil@x.example" for end in ENDS for name in NAMES]
PLACES = [
    b"Subject: %s", b"From: %s <a@acme.example>", b"From: <a%s@acme.example>", b"Message-ID: <1%s@x>",
    b"References: <1@x>%s", b"Date: %s", b"To: %s", b"X-Mailrules-Loop: %s",
]  # fmt: skip


@pytest.mark.parametrize("mode", ["attach", "inline"])
def test_no_header_is_injected(mode: str) -> None:
    """1,300 tries in raw and encoded headers, subject and text: not one header or recipient more."""
    expected = set(read(forwarded(mode=mode)).keys()) | {"In-Reply-To", "References", "Reply-To"}
    tried = 0
    for place in PLACES:
        for evil in INJECTIONS:
            encoded = b"=?utf-8?q?a" + b"".join(b"=%02X" % c for c in evil) + b"?="
            for value in (evil, encoded):
                raw = place % value + b"\r\nX: 1\r\n\r\nbody\r\n"
                subject = "Fwd: a" + evil.decode("utf-8", "replace")
                outgoing = forwarded(raw, mode=mode, subject=subject, text=subject)
                head = outgoing.data.partition(b"\r\n\r\n")[0]
                names = re.findall(r"^([^\s:]+):", head.decode("ascii"), re.MULTILINE)
                once = [name for name in names if name != "X-Mailrules-Loop"]
                assert set(names) <= expected and len(once) == len(set(once))
                assert outgoing.recipients == ("boss@x.example",) and sendable(outgoing)
                assert read(outgoing)["To"] == "boss@x.example"
                tried += 1
    assert tried >= 500


@given(st.binary(max_size=400), st.text(max_size=100), st.text(max_size=100))
def test_any_bytes_can_be_forwarded(raw: bytes, subject: str, text: str) -> None:
    """Whatever the original is, a forward of it is a message that SMTP can carry."""
    for mode in ("attach", "inline"):
        outgoing = forwarded(raw, mode=mode, subject=subject, text=text)
        assert sendable(outgoing) and read(outgoing)["To"] == "boss@x.example"


@given(st.binary(max_size=400))
def test_any_bytes_are_redirected_or_refused(raw: bytes) -> None:
    """A redirect either can travel or says why not."""
    try:
        outgoing = redirected(raw)
    except PermanentError:
        return
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n|\0", outgoing.data)
    assert outgoing.data.startswith(b"Received: by our.example")


@pytest.mark.corpus
@pytest.mark.skipif("MAILRULES_CORPUS" not in os.environ, reason="MAILRULES_CORPUS is not set")
def test_real_mail() -> None:
    """Real mail, broken as it is, can be forwarded; a redirect of it is whole or refused in words."""
    files = sorted(p for p in Path(os.environ["MAILRULES_CORPUS"]).rglob("*") if p.is_file())
    for file in random.Random(2).sample(files, min(400, len(files))):
        raw = file.read_bytes()
        try:
            for mode in ("attach", "inline"):
                assert sendable(forwarded(raw, mode=mode))
            outgoing = redirected(raw)
        except PermanentError as error:
            assert str(error).endswith(".")
            continue
        assert sendable(outgoing)


# -- replies --------------------------------------------------------------------------------------------
def replied(raw: bytes = RAW, **arguments: Any) -> Outgoing:
    given_ = {"to": ["ann@acme.example"], "subject": "Auto: Hello", "text": "I am away.", **arguments}
    return reply_message(raw, arguments=given_, address=ME, effect_key="KEY234", now=NOW)


def test_a_reply_is_what_rfc_3834_asks_for() -> None:
    """Null return path, one recipient, Auto-Submitted, the thread, its own Date and Message-ID."""
    outgoing = replied()
    assert (outgoing.mail_from, outgoing.recipients) == ("", ("ann@acme.example",))
    message = read(outgoing)
    assert message["Auto-Submitted"] == "auto-replied" and message["Subject"] == "Auto: Hello"
    assert (message["From"], message["To"]) == (ME, "ann@acme.example")
    assert message["In-Reply-To"] == "<1@acme.example>"
    assert message["References"].split() == ["<0@acme.example>", "<1@acme.example>"]
    assert message["Message-ID"] == "<KEY234@our.example>" == outgoing.message_id
    assert message["X-Mailrules-Loop"] == ME and message["Date"]
    assert message.get_content() == "I am away.\r\n"
    assert replied() == outgoing, "the same bytes on every try"


def test_a_reply_lets_nothing_in() -> None:
    """Line ends in what is filled in make no headers; an address that is none is refused."""
    message = read(replied(subject="x\r\nBcc: a@b.example", text="a\r\n.\r\nb\0c ü"))
    assert message["Bcc"] is None and "Bcc" in message["Subject"]
    assert message.get_content() == "a\r\n.\r\nbc ü\r\n"
    with pytest.raises(PermanentError):
        replied(to=["a@b.example>\r\nRCPT TO:<c@d.example"])
