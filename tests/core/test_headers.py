"""mailrules.core.headers: splitting a header block as servers do."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailrules.core.headers import parse_block, split_message


def fields(raw: bytes) -> list[tuple[bytes, bytes]]:
    return parse_block(raw).fields


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r"], ids=["CRLF", "LF", "CR"])
def test_fields_with_any_line_end(end: bytes) -> None:
    """CRLF, LF and CR alone end lines; folded values stay folded."""
    block = parse_block(b"A: 1\n 2\nb : 3\n\nC: body".replace(b"\n", end))
    assert block.names() == ("a", "b")
    assert [value.split() for value in block.get("a")] == [[b"1", b"2"]]
    assert block.get("B") == (b"3",)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", []),
        (b"\nA: 1", []),
        (b"A: 1", [(b"A", b"1")]),
        (b"A:1\nbroken line\nB: 2\n", [(b"A", b"1"), (b"B", b"2")]),
        (b"From joe Mon\nA: 1\n", [(b"A", b"1")]),
        (b">From joe\nA: 1\n", [(b"A", b"1")]),
        (b" leading\nA: 1\n", [(b"A", b"1")]),
        (b"A: 1\n \nB: 2\n", [(b"A", b"1"), (b"B", b"2")]),
        (b"A: 1\rB: 2\nC: 3\n", [(b"A", b"1\rB: 2"), (b"C", b"3")]),  # a lone CR smuggles nothing in
        (b"A:\0x\n", [(b"A", b"\0x")]),
        (b"\xc3\xa9: 1\n", [(b"\xc3\xa9", b"1")]),
        (b": no name\nA: 1\n", [(b"A", b"1")]),
        (b"A:\nB: 2\n", [(b"A", b""), (b"B", b"2")]),
    ],
)
def test_odd_blocks(raw: bytes, expected: list[tuple[bytes, bytes]]) -> None:
    """Lines that are neither a field nor a continuation are skipped; only a blank line ends the block."""
    assert fields(raw) == expected


def test_every_occurrence_in_order() -> None:
    """A header that is there three times has three values, topmost first; an absent one none."""
    block = parse_block(b"Received: 1\r\nX: y\r\nRECEIVED: 2\r\nreceived: 3\r\n\r\n")
    assert block.get("Received") == (b"1", b"2", b"3")
    assert block.get("Subject") == ()


def test_too_many_fields_are_cut() -> None:
    """Of more than 1,000 fields and 256 KB the first are read, and the block says so."""
    many = parse_block(b"".join(b"X-%d: y\n" % i for i in range(5000)) + b"\n")
    assert len(many.fields) == 1000 and many.cut
    long = parse_block(b"A: " + b"x" * 1_000_000)
    assert len(long.get("a")[0]) <= 256 * 1024 and long.cut
    assert not parse_block(b"A: 1\n\n").cut


def test_where_the_body_begins() -> None:
    """The body begins behind the first blank line; without one there is no body."""
    raw = b"A: 1\r\n\r\nbody"
    assert raw[split_message(raw)[1] :] == b"body"
    assert split_message(b"A: 1\r\nB: 2")[1] == len(b"A: 1\r\nB: 2")


@given(st.binary())
@example(b"\xc0:")
def test_never_raises(raw: bytes) -> None:
    """Any bytes are a header block and a body."""
    block, start = split_message(raw)
    assert 0 <= start <= len(raw)
    for name in block.names():
        assert block.get(name)


@given(
    st.lists(
        st.tuples(
            st.from_regex(rb"[A-Za-z][A-Za-z0-9-]{0,10}", fullmatch=True),
            st.from_regex(rb"[!-~]{1,20}( [!-~]{1,20}){0,3}", fullmatch=True),
        ),
        max_size=20,
    )
)
def test_what_was_written_is_read(written: list[tuple[bytes, bytes]]) -> None:
    """Well-formed fields come back as they were written."""
    raw = b"".join(name + b": " + value + b"\r\n" for name, value in written) + b"\r\n"
    assert fields(raw) == written


def test_hostile_blocks_take_linear_time() -> None:
    """Names without colons, folds without end: read at once."""
    for bomb in (b"a" * 260_000, b"a \n" * 90_000, b"\n ".join([b"a:"] * 60_000), b" " * 260_000):
        began = time.process_time()
        parse_block(bomb)
        assert time.process_time() - began < 0.5
