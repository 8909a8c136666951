"""Sets of UIDs as ascending ranges: what is judged, and what is written to the wire."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence

_PART = re.compile(r"[^,]+")


class UidSet:
    """An immutable set of UIDs, kept as ascending, disjoint, non-adjacent ranges: 16 octets for each."""

    __slots__ = ("_highs", "_lows")

    def __init__(self, uids: Iterable[int] = ()) -> None:
        self._keep(_ranges(sorted(uids)))

    def _keep(self, ranges: Iterable[tuple[int, int]]) -> None:
        self._lows, self._highs = array("Q"), array("Q")
        for low, high in ranges:
            self._lows.append(low)
            self._highs.append(high)

    @classmethod
    def ascending(cls, uids: Iterable[int]) -> UidSet:
        """From UIDs that ascend already, and are not all held at once."""
        new = cls()
        new._keep(_ranges(uids))
        return new

    @classmethod
    def of_ranges(cls, ranges: Iterable[tuple[int, int]]) -> UidSet:
        """From (low, high) pairs in any order; overlapping and adjacent ones are joined."""
        new = cls()
        new._keep(_joined(sorted(ranges)))
        return new

    @classmethod
    def parse(cls, text: str) -> UidSet:
        """From IMAP's `1:3,5` (RFC 9051 sequence-set without `*`). Raises ValueError."""
        try:
            return cls.of_ranges(map(_pair, _PART.finditer(text)))
        except OverflowError as error:
            raise ValueError("a UID of more than 64 bits") from error

    def __contains__(self, uid: int) -> bool:
        place = bisect_right(self._lows, uid) - 1
        return place >= 0 and uid <= self._highs[place]

    def part(self, uids: Sequence[int]) -> tuple[list[int], list[int]]:
        """Ascending UIDs parted: those that are in it, the others."""
        inside: list[int] = []
        outside: list[int] = []
        at = 0
        begin = max(bisect_right(self._lows, uids[0]) - 1, 0) if uids else 0
        for place in range(begin, len(self._lows)):
            if at == len(uids):
                break
            low, high = self._lows[place], self._highs[place]
            first = bisect_left(uids, low, at)
            outside += uids[at:first]
            at = bisect_right(uids, high, first)
            inside += uids[first:at]
        outside += uids[at:]
        return inside, outside

    def __iter__(self) -> Iterator[int]:
        for low, high in self.ranges():
            yield from range(low, high + 1)

    def __len__(self) -> int:
        return sum(high - low + 1 for low, high in self.ranges())

    def __bool__(self) -> bool:
        return bool(self._lows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UidSet) and self._lows == other._lows and self._highs == other._highs

    def __hash__(self) -> int:
        return hash((self._lows.tobytes(), self._highs.tobytes()))

    def __or__(self, other: UidSet) -> UidSet:
        return UidSet.of_ranges((*self.ranges(), *other.ranges()))

    def __str__(self) -> str:
        return ",".join(f"{low}" if low == high else f"{low}:{high}" for low, high in self.ranges())

    def __repr__(self) -> str:
        return f"UidSet({str(self)!r})"

    def ranges(self) -> Iterator[tuple[int, int]]:
        """(low, high) of each range, ascending."""
        return zip(self._lows, self._highs, strict=True)

    @property
    def lowest(self) -> int:
        """The lowest UID; 0 if empty."""
        return self._lows[0] if self._lows else 0

    @property
    def highest(self) -> int:
        """The highest UID; 0 if empty."""
        return self._highs[-1] if self._highs else 0

    def chunks(self, *, count: int, width: int = 8000) -> Iterator[UidSet]:
        """Pieces of at most `count` UIDs whose text is at most `width` bytes, ascending.

        8,000 bytes a line is what servers take (Dovecot's limit is 64 KiB, others' are lower).
        """
        piece: list[tuple[int, int]] = []
        held = length = 0
        for low, high in self.ranges():
            while low <= high:
                last = min(high, low + count - held - 1)
                size = len(f"{low},") if low == last else len(f"{low}:{last},")
                if piece and length + size > width:
                    yield UidSet.of_ranges(piece)
                    piece, held, length = [], 0, 0
                    continue
                piece.append((low, last))
                held, length, low = held + last - low + 1, length + size, last + 1
                if held == count:
                    yield UidSet.of_ranges(piece)
                    piece, held, length = [], 0, 0
        if piece:
            yield UidSet.of_ranges(piece)


def _pair(part: re.Match[str]) -> tuple[int, int]:
    low, _, high = part[0].partition(":")
    first = int(low)
    last = int(high) if high else first
    return (first, last) if first <= last else (last, first)


def _joined(ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Ascending ranges; those that overlap or touch as one."""
    start = end = -1
    for low, high in ranges:
        if end >= 0 and low <= end + 1:
            end = max(end, high)
            continue
        if end >= 0:
            yield start, end
        start, end = low, high
    if end >= 0:
        yield start, end


def _ranges(uids: Iterable[int]) -> Iterator[tuple[int, int]]:
    start = end = 0
    for uid in uids:
        if end and uid <= end + 1:
            end = uid
            continue
        if end:
            yield start, end
        start = end = uid
    if end:
        yield start, end
