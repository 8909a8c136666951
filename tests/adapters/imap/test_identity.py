"""Who a message is, as its header says it."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from mailrules.adapters.imap.identity import said, said_carefully

NAMES = st.sampled_from(
    [b"Message-ID", b"MESSAGE-ID", b"Subject", b"subject", b"From", b"from", b"From ", b"Date"]
)
VALUES = st.one_of(
    st.sampled_from(
        [
            b" <a.b@x.example>", b"<a@x>", b" a@x.example", b' "B, A" <a@x.example>', b" B A <a@x.example>  ",
            b"", b" ", b" two\r\n lines", b" =?utf-8?q?=C3=A9?=", b" caf\xc3\xa9", b" <a@x>, <b@y>", b" root",
            b" a (comment) <a@x>", b' "q\\"q" <a@x>', b" \x00", b" nul\x0bvt ", b" x <a@[127.0.0.1]>",
        ]
    ),
    st.binary(max_size=30),
    st.text("ab <>@\".,;:()[]\\=?\t-_", max_size=20).map(str.encode),
)  # fmt: skip
BLOCKS = st.builds(
    lambda fields, end: b"".join(b"%b:%b\r\n" % field for field in fields) + end,
    st.lists(st.tuples(NAMES, VALUES), max_size=4),
    st.sampled_from([b"\r\n", b"", b"\n"]),
)


@given(BLOCKS)
@example(b"From: c@d\r\nFrom: A <a@b>\r\n\r\n")
@example(b"Message-ID: <1@x>\r\nSubject: Hello, you\r\nFrom: A B <a@x.example>\r\n\r\n")
@example(b"Subject: a\r\n\r\nSubject: b\r\n\r\n")
def test_what_is_read_quickly_is_what_is_read_carefully(block: bytes) -> None:
    """Whatever the header block, Message-ID, Subject and sender are the same either way."""
    assert said(block) == said_carefully(block)


def test_the_first_of_several_counts() -> None:
    """Of two senders the first one is named, and what is missing is empty."""
    block = b"From: c@d.example\r\nFrom: A <a@b.example>\r\nSubject:  two  words \r\n\r\n"
    assert said(block) == ("", "two  words", "c@d.example")
