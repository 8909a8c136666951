"""mailrules.core.decoding: header values to text."""

from __future__ import annotations

import time
from email.header import Header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrules.core.decoding import base64, decode


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b" plain ", "plain"),
        (b"a\r\n b\n\tc", "a b\tc"),
        (b"=?utf-8?q?caf=C3=A9_au_lait?=", "café au lait"),
        (b"=?UTF-8?B?4oKs?=\r\n =?utf-8?B?4oKs?=", "€€"),
        (b"=?utf-8?B?4oI=?= =?utf-8?B?rA==?=", "€"),  # one character split over two words
        (b"=?utf-8?q?a?= b =?utf-8?q?c?=", "a b c"),
        (b"x=?utf-8?q?a?=y", "xay"),
        (b"=?iso-8859-1?q?=E9?= =?utf-8?q?=C3=A9?=", "éé"),
        (b"=?utf-8?q?what??= then", "what? then"),
        (b"=?utf-8?q?with blanks?=", "with blanks"),
        (b"=?utf-8?b?YWJj", "=?utf-8?b?YWJj"),
        (b"=?utf-8?b?YWJ?=", "ab"),
        (b"=?utf-8?b?YW J*j?=", "abc"),
        (b"=?utf-8?b?YQ==Yg==?=", "ab"),
        (b"=?utf-8?q?=ZZ=4?=", "=ZZ=4"),
        (b"=?x-martian?q?=C3=A9?=", "é"),
        (b"=?utf-8*de?q?=C3=A9?=", "é"),
        (b"caf\xc3\xa9", "café"),
        (b"caf\xe9", "café"),
        (b"=?utf-8?q?a=0D=0ABcc:_x?=", "a  Bcc: x"),
        (b"=?utf-8?q?a=00b?=", "ab"),
        (b"e\xcc\x81", "é"),
        (b"", ""),
    ],
)
def test_decode(raw: bytes, text: str) -> None:
    """Folds go, encoded words are decoded as far as they can be, line ends and NUL never come out."""
    assert decode(raw) == text


@given(st.binary())
def test_never_raises(raw: bytes) -> None:
    """Any bytes give one line of clean text."""
    text = decode(raw)
    assert not set(text) & set("\0\r\n")
    text.encode("utf-8")


@given(
    st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=200)
)
def test_reads_what_the_standard_library_writes(text: str) -> None:
    """An encoded header comes back as it was."""
    import unicodedata

    written = Header(text, "utf-8", maxlinelen=76).encode().encode()
    assert decode(written) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize(
    "bomb",
    [b"=?x?q?" * 40_000, b"=?" * 120_000 + b"?=", b"?=" + b"=?x?q?" * 40_000, b"=?a?q?x?= " * 25_000],
    ids=["open", "starts", "behind", "words"],
)
def test_hostile_words_take_linear_time(bomb: bytes) -> None:
    """A header full of encoded words that never end is read at once."""
    began = time.process_time()
    decode(bomb)
    assert time.process_time() - began < 0.5


@given(st.binary(max_size=300))
def test_base64_round_trip(data: bytes) -> None:
    """What is right base64 is read exactly, with line ends anywhere."""
    import base64 as standard

    assert base64(standard.encodebytes(data)) == data
    assert base64(standard.encodebytes(data).rstrip(b"=\n")) == data


def test_base64_of_padding_alone() -> None:
    """Padding between and without groups is passed over, whatever there is of it."""
    assert base64(b"=" * 100_000) == b""
    assert base64(b"aGk=aGk=" + b"=" * 9 + b"aA") == b"hihih"
