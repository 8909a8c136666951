"""mailrules.core.charset: bytes to text, whatever the charset is called."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrules.core.charset import decode_bytes, known, nfc


@pytest.mark.parametrize(
    ("data", "charset", "text"),
    [
        (b"caf\xe9", "iso-8859-1", "café"),
        (b"\x93x\x94", "ISO-8859-1", "“x”"),  # labelled Latin-1, written by Windows
        (b"caf\xc3\xa9", "utf8", "café"),
        (b"caf\xc3\xa9", "us-ascii", "café"),
        (b"caf\xe9", "utf-8", "café"),
        (b"\xcf\xf0\xe8", "windows-1251", "При"),
        (b"\xcf\xf0\xe8", "x-cp1251", "При"),
        (b"\xc4\xe3\xba\xc3", "gb2312", "你好"),
        (b"\x82\xa0", "Shift_JIS", "あ"),
        (b"\x1b$BF|K\\\x1b(B", "iso-2022-jp", "日本"),
        (b"\xb0\xa1", "ks_c_5601-1987", "가"),
        (b"\xe9", "utf-8*en", "é"),
        (b"\xe9", "x-unknown", "é"),
        (b"a\0b", "", "ab"),
        (b"\x81", "", "\x81"),
    ],
)
def test_charsets_are_read_as_mail_means_them(data: bytes, charset: str, text: str) -> None:
    """Aliases, supersets of what is labelled, and UTF-8 or else Windows-1252 for the unknown."""
    assert decode_bytes(data, charset) == text


def test_only_text_codecs_are_known() -> None:
    """Codecs that pack, run or take quadratic time are no charsets."""
    for name in ("zlib", "bz2", "hex", "rot13", "punycode", "idna", "unicode_escape", "undefined", "uu"):
        assert not known(name)
        assert decode_bytes(b"x\\u0041", name) == "x\\u0041"


@given(
    st.binary(), st.sampled_from(["", "utf-7", "utf-16", "hz", "iso-2022-kr", "big5", "gb18030", "utf-32"])
)
def test_never_raises_and_gives_clean_text(data: bytes, charset: str) -> None:
    """No bytes raise, and the text has neither NUL nor lone surrogates."""
    text = decode_bytes(data, charset)
    assert "\0" not in text
    text.encode("utf-8")


def test_normal_form_of_hostile_text_takes_linear_time() -> None:
    """A long run of combining characters, which the standard library sorts in quadratic time, is quick."""
    began = time.process_time()
    nfc("a" + "\u0301\u0323" * 100_000)
    assert time.process_time() - began < 1


@given(st.text(alphabet=st.sampled_from("ae\u0301\u0323 é日ｶ\u1112\u1161\u11ab"), max_size=1500))
def test_short_texts_are_in_normal_form_c(text: str) -> None:
    """Text of the size of headers is exactly in NFC; longer text is made so piece by piece."""
    import unicodedata

    if len(text) <= 800:
        assert nfc(text) == unicodedata.normalize("NFC", text)
    assert unicodedata.normalize("NFC", nfc(text)) == unicodedata.normalize("NFC", text)
