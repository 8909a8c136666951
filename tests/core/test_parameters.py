"""mailrules.core.parameters: values and parameters of Content-Type and Content-Disposition."""

from __future__ import annotations

import pytest

from mailrules.core.parameters import parameter, parse_field


@pytest.mark.parametrize(
    ("raw", "value", "parameters"),
    [
        (b"text/plain", "text/plain", []),
        (b"TEXT / Plain; charset=UTF-8", "text/plain", [(b"charset", b"UTF-8")]),
        (b"text/plain charset=utf-8", "text/plain", [(b"charset", b"utf-8")]),
        (b'a/b; n="x;\\"y"; m=z ; ;k=v', "a/b", [(b"n", b'x;"y'), (b"m", b"z"), (b"k", b"v")]),
        (b'a/b; n="open', "a/b", [(b"n", b"open")]),
        (b"a/b; name=two words.pdf; x=y", "a/b", [(b"name", b"two words.pdf"), (b"x", b"y")]),
        (b"a/b;\r\n\tn=v", "a/b", [(b"n", b"v")]),
        (b"attachment", "attachment", []),
        (b"", "", []),
    ],
)
def test_fields_with_parameters(raw: bytes, value: str, parameters: list[tuple[bytes, bytes]]) -> None:
    """Values and parameters are read with and without quotes, semicolons and closing quotes."""
    assert parse_field(raw) == (value, parameters)


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ([(b"filename", b"a.pdf")], "a.pdf"),
        ([(b"FILENAME", b"a.pdf"), (b"filename", b"b.pdf")], "a.pdf"),
        ([(b"filename", b"=?utf-8?q?caf=C3=A9.pdf?=")], "café.pdf"),
        ([(b"filename", b"caf\xe9.pdf")], "café.pdf"),
        ([(b"filename*", b"utf-8'de'%e2%82%ac.pdf"), (b"filename", b"x")], "€.pdf"),
        ([(b"filename*0*", b"utf-8''%e2%82"), (b"filename*1*", b"%ac"), (b"filename*2", b".pdf")], "€.pdf"),
        ([(b"filename*1", b"b"), (b"filename*0", b"a")], "ab"),
        ([(b"filename*0", b"a"), (b"filename*2", b"c")], "a"),
        ([(b"filename*1", b"b")], None),
        ([(b"filename*", b"no quotes%41")], "no quotesA"),
        ([(b"filename*", b"x-unknown''%e9")], "é"),
        ([(b"filename*99999", b"x")], None),
        ([], None),
    ],
)
def test_file_names(parameters: list[tuple[bytes, bytes]], name: str | None) -> None:
    """RFC 2231 in pieces and charsets, RFC 2047 as many mailers write it, raw 8-bit."""
    assert parameter(parameters, "filename") == name
