"""What the fault suite shares: how long it runs, and the table of what came of it."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import pytest

from mailrules.adapters.store import sending
from tests.conftest import need_dovecot
from tests.faults import launcher
from tests.faults.checker import Verdict
from tests.lab.ca import LabCA
from tests.lab.dovecot import Dovecot, Layout
from tests.lab.smtp import SmtpSink

FULL = os.environ.get("MAILRULES_FAULTS") == "full"
"""Whether the figures of the catalogue are wanted (`make faults`), or a slice of every family."""


@pytest.fixture(autouse=True)
def no_brakes_on_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faults come in numbers: more is sent than the brakes let go, here and in the programs we start."""
    for name in ("A_MINUTE", "A_DAY"):
        monkeypatch.setattr(sending, name, launcher.MANY)
    monkeypatch.setenv("LAB_CHANGES", "{}")


@dataclass
class Row:
    test: str
    note: str = ""
    runs: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    unknown: int = 0


FIGURES = ("runs", "lost", "doubled", "wrong", "unknown")


class Record(Protocol):
    def __call__(
        self, test: str, runs: int, *, lost: int = 0, doubled: int = 0, wrong: int = 0, unknown: int = 0,
        note: str = "",
    ) -> None: ...  # fmt: skip


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Record:
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
        # With the test's report it also comes from pytest-xdist's processes.
        row = Row(test, note, runs, lost, doubled, wrong, unknown)
        request.node.user_properties.append(("faults", asdict(row)))

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


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The table: test, runs, lost, doubled, wrong, unknown. In full it is also in build/faults.md."""
    rows = _rows(terminalreporter)
    if not rows:
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title="faults" if FULL else "faults (a slice)", title_justify="left")
    table.add_column("test")
    for name in FIGURES:
        table.add_column(name, justify="right")
    table.add_column("note")
    for row in rows:
        style = "red" if row.lost or row.doubled or row.wrong else None
        table.add_row(row.test, *(str(getattr(row, name)) for name in FIGURES), row.note, style=style)
    terminalreporter.write_line("")
    Console(file=terminalreporter._tw._file, width=110).print(table)
    if FULL:
        path = config.rootpath / "build" / "faults.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text(_markdown(rows))
        terminalreporter.write_line(f"the table is in {path.relative_to(config.rootpath)}")


def _rows(terminalreporter: Any) -> list[Row]:
    """What the tests have recorded: rows of the same test and note are one."""
    rows: dict[tuple[str, str], Row] = {}
    for report in itertools.chain.from_iterable(terminalreporter.stats.values()):
        if getattr(report, "when", "") != "call":
            continue
        for name, recorded in report.user_properties:
            if name == "faults":
                row = rows.setdefault(
                    (recorded["test"], recorded["note"]), Row(recorded["test"], recorded["note"])
                )
                for figure in FIGURES:
                    setattr(row, figure, getattr(row, figure) + recorded[figure])
    return sorted(rows.values(), key=lambda r: (int("".join(filter(str.isdigit, r.test)) or 0), r.test))


def _markdown(rows: Iterable[Row]) -> str:
    lines = [f"| test | {' | '.join(FIGURES)} | note |", f"|---|{'---:|' * len(FIGURES)}---|"]
    for row in rows:
        figures = " | ".join(str(getattr(row, name)) for name in FIGURES)
        lines.append(f"| {row.test} | {figures} | {row.note} |")
    return "\n".join(lines) + "\n"
