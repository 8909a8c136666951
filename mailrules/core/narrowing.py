"""Whether SEARCH first spares time: chosen by what it and FETCH have taken on this connection.

A database chooses an index so: on a slow link, and where rules are selective, it spares most of what would be
fetched; on a fast one the server searches longer than it takes to fetch a few headers of all.
"""

from __future__ import annotations

from dataclasses import dataclass

AGAIN = 10
"""Windows after which SEARCH is tried once more: rules may have become selective, or the link slow."""
ENOUGH = 20
"""Messages from which a time says something of the next ones."""


@dataclass(slots=True)
class Narrowing:
    """Of one mailbox under one set of rules: seconds for each message, and which way is quicker.

    `search`: that SEARCH looked at; `fetch`: that was fetched and judged; `kept`: the share SEARCH leaves.
    """

    search: float | None = None
    fetch: float | None = None
    kept: float = 1.0
    _passed: int = 0

    def first(self) -> bool:
        """Whether to ask SEARCH first. As long as nothing is known, yes."""
        if self.search is None or self.fetch is None or self.search + self.kept * self.fetch < self.fetch:
            return True
        self._passed += 1
        if self._passed < AGAIN:
            return False
        self._passed = 0
        return True

    def searched(self, messages: int, kept: int, *, seconds: float) -> None:
        """SEARCH looked at so many messages, and left so many of them."""
        if messages >= ENOUGH:
            self.search, self.kept = seconds / messages, kept / messages

    def fetched(self, messages: int, *, seconds: float) -> None:
        """So many were fetched and judged."""
        if messages >= ENOUGH:
            self.fetch = seconds / messages

    def __str__(self) -> str:
        if self.search is None or self.fetch is None:
            return "nothing measured yet"
        quicker = "SEARCH first" if self.search + self.kept * self.fetch < self.fetch else "FETCH of all"
        return (
            f"SEARCH takes {_time(self.search)} a message and leaves {self.kept:.0%}, FETCH and judging take "
            f"{_time(self.fetch)}: {quicker} is quicker"
        )


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} µs" if seconds < 1e-3 else f"{seconds * 1e3:.1f} ms"
