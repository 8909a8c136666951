"""A fresh journal for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mailrules.adapters.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "state") as opened:
        yield opened
