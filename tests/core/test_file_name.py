"""core/file_name.py: whatever mail calls a file, it is a harmless name; and what becomes a file."""

from __future__ import annotations

import itertools
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrules.core.file_name import LONGEST_NAME, attachment_files, message_file, numbered, safe_name


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("invoice.pdf", "invoice.pdf"),
        ("Rechnung Nr. 5 (März).pdf", "Rechnung Nr. 5 (März).pdf"),
        ("../../etc/cron.d/x", "x"),
        ("/etc/passwd", "passwd"),
        ("C:\\Users\\me\\a.doc", "a.doc"),
        (".bashrc", "bashrc"),
        ("-rf", "rf"),
        ("a\x00b\x1b[2Jc", "ab[2Jc"),
        ("a\nb.txt", "a b.txt"),
        ("gpj.\u202eexe.", "gpj._exe"),
        ("$(id) `x` | y;", "_(id) _x_ _ y_"),
        ("請求書.pdf", "請求書.pdf"),
        ("", ""),
        ("...", ""),
        ("/", ""),
        ("-_-", ""),
    ],
)
def test_safe_name(said: str, name: str) -> None:
    """Only the last level, no leading dot or dash, nothing that a shell or terminal obeys."""
    assert safe_name(said) == name


def test_a_long_name_keeps_its_suffix() -> None:
    """It is cut before its end."""
    name = safe_name("ü" * 300 + ".pdf")
    assert name.endswith("ü.pdf") and len(name.encode()) <= LONGEST_NAME


@given(st.text(max_size=400))
def test_any_text(said: str) -> None:
    """Whatever it is: one level, printable, not hidden, not an option, not too long, the same again."""
    name = safe_name(said)
    assert "/" not in name and "\0" not in name and name.isprintable()
    assert not name.startswith((".", "-", " ")) and len(name.encode()) <= LONGEST_NAME
    assert safe_name(name) == name


def test_numbered() -> None:
    """The number stands before the suffix."""
    assert list(itertools.islice(numbered("a.tar.gz"), 3)) == ["a.tar.gz", "a.tar-2.gz", "a.tar-3.gz"]
    assert list(itertools.islice(numbered("README"), 2)) == ["README", "README-2"]


def letter() -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = "Invoice 4/2: ../x"
    message.set_content("text")
    message.add_attachment(b"%PDF\r\n\x00", maintype="application", subtype="pdf", filename="rechnung-ä.pdf")
    message.add_attachment(b"2", maintype="image", subtype="png", disposition="attachment")
    message.add_attachment("a,b\n", subtype="csv", filename="../b.CSV")
    return message


def test_attachments() -> None:
    """Decoded names (RFC 2231) and contents; one without a name is called after its type; globs choose."""
    raw = letter().as_bytes()
    assert attachment_files(raw) == [
        ("rechnung-ä.pdf", b"%PDF\r\n\x00"), ("attachment.png", b"2"), ("b.CSV", b"a,b\n"),
    ]  # fmt: skip
    assert [name for name, _ in attachment_files(raw, ["*.csv", "x*"])] == ["b.CSV"]
    assert attachment_files(b"Subject: x\n\ntext\n") == []


def test_the_whole_message() -> None:
    """It is called by its subject, and every byte is kept."""
    raw = letter().as_bytes()
    assert message_file(raw) == ("Invoice 4-2_.-x.eml", raw)
    assert message_file(b"\n\n")[0] == "message.eml"
    assert message_file(b"Subject: a.exe\n\n")[0] == "a.exe.eml"
