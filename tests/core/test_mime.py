"""mailrules.core.mime: the parts of a message."""

from __future__ import annotations

import email
import time
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrules.core.mime import (
    Part,
    attachments,
    body_text,
    parse_structure,
    part,
    part_bytes,
    parts_with_bytes,
    text_parts,
)

NESTED = b"""\
From: a@b
Content-Type: multipart/mixed; boundary="xx"

preamble
--xx
Content-Type: multipart/alternative; boundary=yy

--yy

plain text
--yy
Content-Type: text/html; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

<p>caf=E9</p>
--yy--
ignored
--xx
Content-Type: application/pdf
Content-Transfer-Encoding: base64
Content-Disposition: ATTACHMENT; filename=a.pdf

YWJj
--xx
Content-Type: message/rfc822

Content-Type: multipart/mixed; boundary=zz

--zz

inner
--zz--
--xx
Content-Type: image/png; name=logo.png
Content-ID: <logo>
Content-Disposition: inline

--xx--
epilogue
""".replace(b"\n", b"\r\n")


def structure(raw: bytes) -> list[tuple[str, str]]:
    return [(p.section, p.content_type) for p in parse_structure(raw)]


def body(raw: bytes, limit: int = 10_000) -> str:
    parts = parts_with_bytes(raw)
    return body_text([(p, data) for p, data in parts if p in text_parts([p])], limit).text


def of_type(*lines: str, content: str = "x") -> bytes:
    return ("\n".join(lines) + "\n\n" + content).encode("utf-8", "surrogateescape")


def test_sections_are_those_of_imap() -> None:
    """Leaf parts are numbered as RFC 9051 section 6.4.5 does; an attached message is a leaf."""
    assert structure(NESTED) == [
        ("1.1", "text/plain"),
        ("1.2", "text/html"),
        ("2", "application/pdf"),
        ("3", "message/rfc822"),
        ("4", "image/png"),
    ]
    assert structure(b"A: b\n\nx") == [("1", "text/plain")]
    assert structure(b"") == [("1", "text/plain")]


@pytest.mark.parametrize("end", [b"\n", b"\r"], ids=["LF", "CR"])
def test_line_ends_make_no_difference(end: bytes) -> None:
    """Parts and sizes are the same whichever line ends the message uses."""
    assert parse_structure(NESTED.replace(b"\r\n", end)) == parse_structure(NESTED)


def test_what_is_body_and_what_is_attached() -> None:
    """Text parts are read; what has a name or is disposed so is attached; images in the text are neither."""
    parts = parse_structure(NESTED)
    assert [p.section for p in text_parts(parts)] == ["1.1", "1.2"]
    assert [p.section for p in attachments(parts)] == ["2"], "a message within, without a name, is none"
    assert body(NESTED) == "plain text\ncafé"


def test_bytes_of_a_part() -> None:
    """Each part's bytes are those between its headers and the next delimiter, without the last line end."""
    assert part_bytes(NESTED, "2") == b"YWJj"
    assert part_bytes(NESTED, "4") == b""
    assert part_bytes(NESTED, "3").endswith(b"--zz--")
    assert part_bytes(NESTED, "9") == b""


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"Content-Type: multipart/mixed; boundary=x\n\n--x\n\na\n--x\n\nb", [b"a", b"b"]),
        (b"Content-Type: multipart/mixed; boundary=x\n\n--x\n\na\n--x", [b"a", b""]),
        (b"Content-Type: multipart/mixed; boundary=x\n\n--x  \n\na\n--x-- \n\nb", [b"a"]),
        (b"Content-Type: multipart/mixed; boundary=x\n\n--x\n\n--y\n--xy\n--\n--x--", [b"--y\n--xy\n--"]),
        (b"Content-Type: multipart/mixed; boundary=x\n\n--x y\n\na\n--x--y\n", [b"a"]),
        (b"Content-Type: multipart/mixed; boundary=x\n\n--x\nA: b\n--x\n\nc\n--x--", [b"", b"c"]),
        (b"Content-Type: multipart/mixed; boundary=x\n\nno delimiter", [b""]),
        (b"Content-Type: multipart/mixed\n\nno boundary", [b""]),
        (b'Content-Type: multipart/mixed; boundary="a b:c"\n\n--a b:c\n\nz\n--a b:c--', [b"z"]),
        (b"Content-Type: multipart/mixed; boundary=x\n--x\n\na\n--x--", [b""]),
    ],
    ids=["truncated", "delimiter last", "blanks", "lookalikes", "more behind", "no blank line", "none",
         "no boundary", "quoted", "all header"],
)  # fmt: skip
def test_broken_multiparts(raw: bytes, expected: list[bytes]) -> None:
    """Missing ends, blanks and lookalikes of delimiters are read as servers read them."""
    assert [data for _, data in parts_with_bytes(raw)] == expected


def test_an_outer_delimiter_ends_an_inner_multipart() -> None:
    """A multipart that never closes ends where the one around it goes on."""
    raw = (
        b"Content-Type: multipart/mixed; boundary=o\n\n--o\n"
        b"Content-Type: multipart/mixed; boundary=i\n\n--i\n\na\n--o\n\nb\n--o--\n"
    )
    assert [(p.section, data) for p, data in parts_with_bytes(raw)] == [("1.1", b"a"), ("2", b"b")]


def test_a_digest_holds_messages() -> None:
    """In multipart/digest a part without Content-Type is a message (RFC 2046 section 5.1.5)."""
    raw = b"Content-Type: multipart/digest; boundary=x\n\n--x\n\nSubject: a\n\nb\n--x--"
    assert structure(raw) == [("1", "message/rfc822")]


def test_fields_of_bodystructure_make_the_same_part() -> None:
    """What a server says in BODYSTRUCTURE and what the bytes say give equal parts."""
    from_server = part(
        section="2",
        content_type="APPLICATION/PDF",
        encoding="BASE64",
        disposition="ATTACHMENT",
        disposition_parameters=[(b"filename", b"a.pdf")],
        size=4,
    )
    assert from_server == parse_structure(NESTED)[2]


@pytest.mark.parametrize(
    ("lines", "content", "text"),
    [
        (["Content-Type: text/plain; charset=utf-8"], "é", "é"),
        (["A: b"], "\udce9", "é"),
        (["Content-Transfer-Encoding: base64"], "YWJj\nYWI", "abcab"),
        (["Content-Transfer-Encoding: quoted-printable"], "a=3Db=\nc=ZZ", "a=bc=ZZ"),
        (["Content-Transfer-Encoding: martian"], "x", "x"),
        (["Content-Type: text/html"], "<b>x</b>", "x"),
        (["Content-Type: text/html"], '<meta charset="windows-1251"><p>\udccf\udcf0', "Пр"),
        (["Content-Type: text"], "x", "x"),
        (["Content-Type: text/calendar"], "x", ""),
        (["Content-Type: text/plain; name=a.txt"], "x", ""),
        (["Content-Type: multipart/mixed"], "x", ""),
    ],
)  # fmt: skip
def test_bodies(lines: list[str], content: str, text: str) -> None:
    """Transfer encodings and charsets are undone as far as they go; only text that is no file is read."""
    assert body(of_type(*lines, content=content)) == text


def test_the_body_is_cut_at_the_limit() -> None:
    """Beyond the limit nothing is read, and the body says so; also if only a piece was fetched."""
    one, two = Part("1", size=4), Part("2", size=4)
    assert body_text([(one, b"abcd"), (two, b"efgh")], 100) == body_text([(one, b"abcd"), (two, b"efgh")], 9)
    whole = body_text([(one, b"abcd"), (two, b"efgh")], 9)
    assert (whole.text, whole.cut) == ("abcd\nefgh", False)
    for limit in (8, 5, 4, 3):
        cut = body_text([(one, b"abcd"), (two, b"efgh")], limit)
        assert cut.cut and whole.text.startswith(cut.text) and len(cut.text) <= limit
    assert body_text([(Part("1", size=400), b"abcd")], 100).cut


@given(st.binary(max_size=2000))
def test_never_raises(raw: bytes) -> None:
    """Any bytes have a structure and a text."""
    for head in (b"", b"Content-Type: multipart/mixed; boundary=x\n\n--x\n", b"Content-Type: text/html\n\n"):
        parts = parts_with_bytes(head + raw)
        body_text(parts, 100)


_PIECES = st.sampled_from(
    [b"--x", b"--x--", b"--y", b"--y--", b"\n", b"\n\n", b"text",
     b"Content-Type: multipart/mixed; boundary=y", b"Content-Type: multipart/digest; boundary=x",
     b"A: b", b"\r"]
)  # fmt: skip


@given(st.lists(_PIECES, max_size=40))
def test_never_raises_on_structure(pieces: list[bytes]) -> None:
    """Delimiters in any order give parts that do not overlap."""
    raw = b"Content-Type: multipart/mixed; boundary=x\n\n" + b"".join(pieces)
    parts = parts_with_bytes(raw)
    assert sum(len(data) for _, data in parts) <= len(raw)
    assert len({p.section for p, _ in parts}) == len(parts)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["plain", "html", "file"]),
            st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["C"]), max_size=50),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_agrees_with_the_standard_library_on_sane_mail(pieces: list[tuple[str, str]]) -> None:
    """What email.message writes is read as it was meant."""
    message = EmailMessage()
    message["Subject"] = "x"
    message.make_mixed()
    for kind, text in pieces:
        if kind == "file":
            message.add_attachment(text.encode(), maintype="application", subtype="x", filename="ä.bin")
        else:
            message.add_attachment(text, subtype=kind, disposition="inline")
    raw = message.as_bytes()
    leaves = [p for p in email.message_from_bytes(raw).walk() if not p.is_multipart()]
    ours = parse_structure(raw)
    assert [p.content_type for p in ours] == [p.get_content_type() for p in leaves]
    assert [p.filename for p in ours] == ["ä.bin" if kind == "file" else None for kind, _ in pieces]


@pytest.mark.parametrize(
    ("bomb", "most"),
    [
        (b"Content-Type: multipart/mixed; boundary=x\n\n" + b"--x\n\na\n" * 100_000, 500),
        (
            b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (i, i) for i in range(3000)),
            1,
        ),
        (b"Content-Type: multipart/mixed; boundary=x\n\n--x\n\n" + b"--\n" * 1_000_000, 1),
        (b"Content-Type: multipart/mixed; boundary=x\n\n" + b"--x\n" + b"a: b\n" * 300_000, 1),
        (b"Content-Type: a/b" + b"".join(b"; name*%d=x" % i for i in range(10_000)) + b"\n\nx", 1),
        (b"Content-Type: " + b'a;a="' * 50_000 + b"\n\nx", 1),
    ],
    ids=["flat", "nested", "dashes", "no blank line", "RFC 2231", "parameters"],
)
def test_bombs_are_bounded(bomb: bytes, most: int) -> None:
    """100,000 parts, 3,000 levels, 10,000 pieces of a name: a bounded number of parts, in a second."""
    began = time.process_time()
    assert len(parse_structure(bomb)) <= most
    assert time.process_time() - began < 1
