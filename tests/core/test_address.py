"""mailrules.core.address: mailboxes in header fields."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrules.core.address import Address, addresses, compared, without_comments


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"a@b.c", [("", "a", "b.c")]),
        (b"Ann <a@b.c>", [("Ann", "a", "b.c")]),
        (b'"Doe, John" <j@x.org>, bob@y.net', [("Doe, John", "j", "x.org"), ("", "bob", "y.net")]),
        (b"a@b.c (Ann)", [("Ann", "a", "b.c")]),
        (b"john (J (Q) Doe) . doe @ example . com", [("J (Q) Doe", "john.doe", "example.com")]),
        (b"Team: a@b.c, B <b@c.d>;, x@y", [("", "a", "b.c"), ("B", "b", "c.d"), ("", "x", "y")]),
        (b"undisclosed-recipients:;", []),
        (b"<@hop,@hop2:u@h>, <x@y>", [("", "u", "h"), ("", "x", "y")]),
        (b'"a b"@c.d', [("", "a b", "c.d")]),
        (b'<"a@b"@c.d>', [("", "a@b", "c.d")]),
        (b"a@[192.0.2.1]", [("", "a", "[192.0.2.1]")]),
        (b"=?utf-8?q?Jos=C3=A9=2C_x=40y?= <j@x>", [("José, x@y", "j", "x")]),
        (b'"=?utf-8?b?Sm9zw6k=?=" <j@x>', [("José", "j", "x")]),
        (b'"Joe \\"J\\" D" <j@x>', [('Joe "J" D', "j", "x")]),
        (b"jos\xe9 <jos\xc3\xa9@ex.com>", [("josé", "josé", "ex.com")]),
        (b"boss@good.example <evil@bad.example>", [("boss@good.example", "evil", "bad.example")]),
        (b"root", [("", "root", "")]),
        (b"root (Cron)", [("Cron", "root", "")]),
        (b"The Boss", [("The Boss", "", "")]),
        (b"John Doe john@x.com", [("John Doe", "john", "x.com")]),
        (b"'joe@x.com'", [("", "joe", "x.com")]),
        (b"Joe <mailto:joe@x.com>", [("Joe", "joe", "x.com")]),
        (b"Ann <a@b, Bob <c@d>", [("Ann", "a", "b"), ("Bob", "c", "d")]),
        (b"<a@b> <c@d>", [("", "a", "b"), ("", "c", "d")]),
        (b"<<a@b>>", [("", "a", "b")]),
        (b'"Ann <a@b>', [('"Ann', "a", "b")]),
        (b"Ann (x <a@b>", [("Ann x", "a", "b")]),
        (b"a@b; c@d", [("", "a", "b"), ("", "c", "d")]),
        (b"<>", []),
        (b",,", []),
        (b"", []),
    ],
)
def test_mailboxes(raw: bytes, expected: list[tuple[str, str, str]]) -> None:
    """RFC 5322 with its obsolete forms is read to the letter, and what is broken as well as it can be."""
    assert [tuple(address) for address in addresses([raw])] == expected


def test_a_decoded_name_forges_nothing() -> None:
    """A `<` or comma that comes out of an encoded word is text, not structure."""
    (one,) = addresses([b"=?utf-8?q?boss=40good=2E_=3Cboss=40good=3E=2C?= <evil@bad>"])
    assert one.address == "evil@bad"


def test_headers_follow_each_other() -> None:
    """Several occurrences are read one after the other; the address is local@domain."""
    found = addresses([b"a@b", b"c@d, e"])
    assert [address.address for address in found] == ["a@b", "c@d", "e"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("EXAMPLE.com", "example.COM."),
        ("xn--mller-kva.example", "müller.example"),
        ("MÜLLER.example", "xn--mller-kva.example"),
    ],
)
def test_domains_are_compared_in_one_form(one: str, other: str) -> None:
    """Case, a dot at the end, and punycode make no difference."""
    assert compared(one) == compared(other)


def test_broken_punycode_stays_as_it_is() -> None:
    """A label that is no punycode, or would smuggle in a dot or an @, is left alone."""
    for domain in (
        "xn--.example",
        "xn--\u00fc.example",
        "xn--" + "a" * 80 + ".example",
        "xn--99999999.example",
    ):
        assert compared(domain)


@given(st.binary())
def test_never_raises(raw: bytes) -> None:
    """Any bytes are some mailboxes, of clean text."""
    for address in addresses([raw]):
        assert isinstance(address, Address)
        assert any(address)
        compared(address.domain)
        "".join(address).encode("utf-8")


@given(st.from_regex(r'[a-z0-9 "<>(),;:@\\.\[\]=?\n\t-]{0,60}', fullmatch=True))
def test_never_raises_on_structure(text: str) -> None:
    """Whatever the order of specials, nothing raises."""
    addresses([text.encode()])
    without_comments(text)


@pytest.mark.parametrize(
    "piece", ["(", "<", '"', "@", ",", ":", "[ ", "\\", "(a)", "<@,", "a ", "a@b ", '"a', "a. ", "(\\", "<a"]
)
def test_hostile_addresses_take_linear_time(piece: str) -> None:
    """256 KB of any special are read in less than a second, without recursion."""
    began = time.process_time()
    addresses([(piece * (256_000 // len(piece))).encode()])
    assert time.process_time() - began < 1


def test_comments_are_taken_out() -> None:
    """Comments go, nested ones too; quoted parentheses stay."""
    assert without_comments('a (b (c)) "(d)" (e').split() == ["a", '"(d)"', "(e"]
