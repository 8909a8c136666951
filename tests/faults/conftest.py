"""What the runs of a fault test count."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Record = Callable[..., None]


@pytest.fixture
def record() -> Record:
    """`record("T52", runs=…, wrong=…)`: how often a fault was tried, and what was lost, doubled or wrong."""
    counted: list[dict[str, object]] = []

    def record(
        test: str,
        runs: int,
        lost: int = 0,
        doubled: int = 0,
        wrong: int = 0,
        unknown: int = 0,
        note: str = "",
    ) -> None:
        counted.append(
            {"test": test, "runs": runs, "lost": lost, "doubled": doubled, "wrong": wrong,
             "unknown": unknown, "note": note}
        )  # fmt: skip

    return record
