"""larger_than, smaller_than."""

from __future__ import annotations

import pytest

from mailrules.core.search import Everything, Key
from tests.core.conditions.speaking import condition, mail, matches, problem, trace


def test_sizes() -> None:
    """Larger is larger, not as large; sizes have units."""
    assert matches("larger_than: 10", size=11)
    assert not matches("larger_than: 10", size=10)
    assert matches("smaller_than: 10", size=9)
    assert not matches("smaller_than: 10", size=10)
    assert matches("larger_than: 1 KB", size=1001) and not matches("larger_than: 1 KiB", size=1001)


def test_search() -> None:
    """Every server gets sizes right, so they are exact; beyond 32 bits they are not asked."""
    assert condition("larger_than: 10").search() == Key("LARGER", (10,), exact=True)
    assert condition("smaller_than: 10").search() == Key("SMALLER", (10,), exact=True)
    assert condition("larger_than: 5GB").search() == Key("LARGER", (2**32 - 1,))
    assert condition("smaller_than: 5GB").search() == Everything(exact=False)


def test_trace() -> None:
    """The value is the size; a bare number stays a number."""
    shown = trace("larger_than: 10", mail(size=11))
    assert (shown.argument, shown.value) == (10, 11)
    assert trace("larger_than: 10 KB", mail(size=11)).argument == "10 KB"


@pytest.mark.parametrize("value", ["big", "-1", "[1]", "", "10 XB"])
def test_errors(value: str) -> None:
    """Anything that is no size is refused."""
    assert "size" in problem(f"larger_than: {value}")
