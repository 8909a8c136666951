"""Bytes into responses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrules.adapters.imap.framing import Framer, Limits, OutOfBounds, Response, Status

TRANSCRIPT = (
    b"* 1 FETCH (UID 5 BODY[HEADER] {8}\r\nA: b\r\n\r\n FLAGS (\\Seen))\r\n"
    b"* OK [ALERT] text that ends in {5}\r\n"
    b'* LIST () "/" {5}\r\na\r\nb!\r\n'
    b"+ go\r\nA1 OK done {9}\r\n* 3 EXISTS\n"
)
RESPONSES = [
    [b"* 1 FETCH (UID 5 BODY[HEADER] ", b"A: b\r\n\r\n", b" FLAGS (\\Seen))"],
    [b"* OK [ALERT] text that ends in {5}"],
    [b'* LIST () "/" ', b"a\r\nb!", b""],
    [b"+ go"],
    [b"A1 OK done {9}"],
    [b"* 3 EXISTS"],
]


def frames(chunks: list[bytes], limits: Limits | None = None) -> list[Response]:
    framer, found = Framer(limits or Limits()), []
    framer.expect(b"A1")
    for chunk in chunks:
        framer.feed(chunk)
        while (response := framer.next()) is not None:
            found.append(response)
    return found


def test_literals_are_joined_and_text_is_not_taken_for_one() -> None:
    """A literal may hold anything; text for people may end in braces."""
    assert frames([TRANSCRIPT]) == RESPONSES


@pytest.mark.parametrize("place", range(1, len(TRANSCRIPT)))
def test_split_at_every_byte(place: int) -> None:
    """Wherever the network cuts, the same responses come out."""
    assert frames([TRANSCRIPT[:place], TRANSCRIPT[place:]]) == RESPONSES


def test_one_byte_at_a_time() -> None:
    """A server that drips is understood as well."""
    assert frames([bytes([byte]) for byte in TRANSCRIPT]) == RESPONSES


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_garbage_never_breaks_the_framer(chunks: list[bytes]) -> None:
    """Whatever comes is a response, an incomplete one, or out of bounds."""
    try:
        frames(chunks, Limits(literal=1000))
    except OutOfBounds:
        pass


def test_a_huge_literal_is_refused_when_it_is_announced() -> None:
    """Four gigabytes are not waited for, nor reserved."""
    with pytest.raises(OutOfBounds, match="4000000000"):
        frames([b"* 1 FETCH (BODY[] {4000000000}\r\n"])


def test_an_endless_line_is_refused() -> None:
    """A line has an end; only lists of UIDs may be long."""
    limits = Limits(line=1000, search_line=5000)
    with pytest.raises(OutOfBounds):
        frames([b"* FLAGS " + b"x" * 1000], limits)
    assert frames([b"* SEARCH " + b"1 " * 2000 + b"\r\n"], limits)
    with pytest.raises(OutOfBounds):
        frames([b"* SEARCH " + b"1 " * 3000], limits)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"OK", Status("OK")),
        (b"OK [HIGHESTMODSEQ 126550]", Status("OK", "HIGHESTMODSEQ", b"126550")),
        (b"no [OverQuota] full", Status("NO", "OVERQUOTA", b"", "full")),
        (b"NO [BADCHARSET (US-ASCII UTF-8)] x", Status("NO", "BADCHARSET", b"(US-ASCII UTF-8)", "x")),
        (b"OK Success [THROTTLED]", Status("OK", "", b"", "Success [THROTTLED]")),
        (b"BAD \x1b[31mred\x07", Status("BAD", "", b"", "\ufffd[31mred\ufffd")),
        (b"OKAY", None),
        (b"5 EXISTS", None),
    ],
)
def test_status(line: bytes, status: Status | None) -> None:
    """Codes with and without text, and text that can be shown on a terminal."""
    assert Status.parse(line) == status
