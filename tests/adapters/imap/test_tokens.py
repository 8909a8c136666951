"""The inside of responses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrules.adapters.imap.tokens import (
    Unreadable,
    flag_list,
    flags,
    number,
    numeral,
    pairs,
    tokens,
    validity,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"(\\Seen $Todo)", [[b"\\Seen", b"$Todo"]]),
        (b'"a \\"b\\" \\\\" NIL "NIL" nil', [b'a "b" \\', None, b"NIL", None]),
        (b"BODY[HEADER.FIELDS (FROM TO)]<0> x", [b"BODY[HEADER.FIELDS (FROM TO)]<0>", b"x"]),
        (b"(1 (2 (3)) 4) ", [[b"1", [b"2", [b"3"]], b"4"]]),
        (b"()()", [[], []]),
        (b"[Gmail]/x", [b"[Gmail]/x"]),
    ],
)
def test_tokens(text: bytes, value: list[Any]) -> None:
    """Lists, quoted strings, NIL, atoms and sections."""
    assert tokens([text]) == value


def test_literals_stand_where_they_came() -> None:
    """A literal is a value like any other, whatever it holds."""
    assert tokens([b"* 1 FETCH (A ", b")(", b" B ", b"NIL", b")"], 10) == [[b"A", b")(", b"B", b"NIL"]]


@pytest.mark.parametrize("text", [b"(a", b"a)", b'"a', b"(" * 500 + b")" * 500, b'(a "b)'])
def test_broken(text: bytes) -> None:
    """What can't be read is said to be so."""
    with pytest.raises(Unreadable):
        tokens([text])


@given(st.lists(st.binary(max_size=30), min_size=1, max_size=5))
def test_garbage_is_unreadable_at_worst(parts: list[bytes]) -> None:
    """No other exception, whatever a server sends."""
    try:
        pairs(tokens(parts))
    except Unreadable:
        pass


@pytest.mark.parametrize(
    "text", [b"9" * 5000, b"9223372036854775808", b"-1", b"1.5", b"", b"x", "²".encode()]
)
def test_numbers_have_an_end(text: bytes) -> None:
    """Thousands of digits, which Python refuses to convert, are no number; nor is what no journal keeps."""
    assert numeral(text) is None
    with pytest.raises(Unreadable):
        number(text)
    assert (numeral(b"9223372036854775807"), validity(b"18446744073709551615")) == (2**63 - 1, 2**64 - 1)


def test_pairs_as_servers_send_them() -> None:
    """Domino wraps items in parentheses, Yandex leaves out the last value."""
    assert pairs(tokens([b"UID 1 (ENVELOPE (NIL)) flags ()"])) == {
        b"UID": b"1", b"ENVELOPE": [None], b"FLAGS": [],
    }  # fmt: skip
    assert pairs(tokens([b"UID 3016 BODY[2]"])) == {b"UID": b"3016"}


def test_flags_with_parentheses_in_their_names() -> None:
    """A flag that no grammar allows does not cost the others."""
    assert flags(tokens([b"(\\Seen Foo(bar) $X)"])[0]) == {"\\Seen", "Foo", "bar", "$X"}


def test_the_same_flags_are_kept_once() -> None:
    """Mailboxes that keep the same flags share them; what is long is not remembered."""
    assert flag_list(b"(\\Seen $Todo)") is flag_list(b"(\\Seen $Todo)") == {"\\Seen", "$Todo"}
    long = b"(" + b" ".join(b"keyword%d" % n for n in range(100)) + b")"
    assert flag_list(long) == flag_list(long) and flag_list(long) is not flag_list(long)


def test_few_flags_are_the_same_for_all() -> None:
    """One set for all messages that have it, so that thousands of them are not kept."""
    assert flags([b"\\Seen", b"$A"]) is flags([b"$A", b"\\Seen"])
    assert flags([b"x" * 200]) == flags([b"x" * 200]) == frozenset(["x" * 200])
