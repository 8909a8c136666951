"""What the fault suite shares: how long it runs, and the table of what came of it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

import pytest

from tests.conftest import need_dovecot
from tests.faults.checker import Verdict
from tests.lab.ca import LabCA
from tests.lab.dovecot import Dovecot, Layout
from tests.lab.smtp import SmtpSink

FULL = os.environ.get("MAILRULES_FAULTS") == "full"
"""Whether the figures of the catalogue are wanted (`make faults`), or a slice of every family."""


@dataclass
class Row:
    test: str
    runs: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    unknown: int = 0
    note: str = ""


_rows: dict[tuple[str, str], Row] = {}


class Record(Protocol):
    def __call__(
        self, test: str, runs: int, *, lost: int = 0, doubled: int = 0, wrong: int = 0, unknown: int = 0,
        note: str = "",
    ) -> None: ...  # fmt: skip


@pytest.fixture
def record() -> Record:
    """Add to a row of the table that is shown at the end: one row a test and note."""

    def add(
        test: str,
        runs: int,
        *,
        lost: int = 0,
        doubled: int = 0,
        wrong: int = 0,
        unknown: int = 0,
        note: str = "",
    ) -> None:
        row = _rows.setdefault((test, note), Row(test, note=note))
        row.runs += runs
        row.lost += lost
        row.doubled += doubled
        row.wrong += wrong
        row.unknown += unknown

    return add


@pytest.fixture
def expect_clean(record: Record) -> Callable[[str, Verdict], None]:
    """Record a verdict, and fail if anything was lost, doubled or wrong."""

    def expect(test: str, verdict: Verdict, note: str = "") -> None:
        record(
            test, verdict.runs, lost=verdict.lost, doubled=verdict.doubled, wrong=verdict.wrong,
            unknown=verdict.unknown, note=note,
        )  # fmt: skip
        assert verdict.clean, "\n".join(verdict.notes[:20])

    return expect


@pytest.fixture(scope="session")
def full() -> bool:
    """Whether to run at the figures of the catalogue."""
    return FULL


@pytest.fixture(scope="session")
def server_for(lab_ca: LabCA) -> Iterator[Callable[[str], Dovecot]]:
    """A Dovecot that announces just these capabilities ("": all it has); one for each list."""
    need_dovecot()
    with ExitStack() as stack:

        @functools.cache
        def started(capability: str) -> Dovecot:
            return stack.enter_context(Dovecot(Layout(capability=capability), ca=lab_ca))

        yield started


@pytest.fixture
def sink() -> Iterator[SmtpSink]:
    with SmtpSink() as server:
        yield server


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The table: test, runs, lost, doubled, wrong, unknown."""
    if not _rows:
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title="faults" if FULL else "faults (a slice)", title_justify="left")
    table.add_column("test")
    for name in ("runs", "lost", "doubled", "wrong", "unknown"):
        table.add_column(name, justify="right")
    table.add_column("note")
    for row in sorted(
        _rows.values(), key=lambda row: (int("".join(filter(str.isdigit, row.test)) or 0), row.test)
    ):
        style = "red" if row.lost or row.doubled or row.wrong else None
        figures = (row.runs, row.lost, row.doubled, row.wrong, row.unknown)
        table.add_row(row.test, *map(str, figures), row.note, style=style)
    terminalreporter.write_line("")
    Console(file=terminalreporter._tw._file, width=110).print(table)
