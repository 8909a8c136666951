"""One table for the terminal, one page for the repository."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.contenders import ROOT, Runs

PAGE = Path(__file__).with_name("RESULTS.md")
KEPT = ROOT / ".lab" / "benchmarks"
"""What earlier runs gave, a file for each scenario: the page is made of all of them."""


@dataclass(frozen=True, slots=True)
class Target:
    """What was promised, what was measured, and whether that is enough (None: not measured here)."""

    promised: str
    measured: str
    met: bool | None


@dataclass(frozen=True, slots=True)
class Result:
    """One scenario's table, its targets, and notes on how it was measured."""

    scenario: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    targets: tuple[Target, ...] = ()
    notes: tuple[str, ...] = ()
    when: str = field(default_factory=lambda: f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC")


COLUMNS = (
    "contender", "runs", "wall s", "client CPU s", "server CPU s", "sent", "received", "round trips",
    "peak RSS",
    "× floor", "× tuned", "moved", "load",
)  # fmt: skip


def compared(
    runs: Runs, *, floor: str = "floor", tuned: str = "imapfilter, tuned"
) -> tuple[tuple[str, ...], ...]:
    """A row for each contender: its median run."""
    return tuple(_row(runs, name, floor, tuned) for name in runs.runs)


def _row(runs: Runs, name: str, floor: str, tuned: str) -> tuple[str, ...]:
    run = runs.median(name)
    return (
        name, str(len(runs.runs[name])), spread(runs.walls(name), "{:.2f}"),
        f"{run.client:.2f}", f"{run.server:.2f}", size(run.sent), size(run.received),
        "–" if run.trips is None else f"{run.trips:,}", size(run.rss),
        spread(runs.ratios(name, floor)) if floor in runs else "–",
        spread(runs.ratios(tuned, name)) if tuned in runs else "–",
        f"{run.moved:,}", f"{run.load:.0f}",
    )  # fmt: skip


def spread(values: Sequence[float], form: str = "") -> str:
    """The median, and from where to where."""

    def said(value: float) -> str:
        return form.format(value) if form else times(value, 1)

    middle = said(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({said(min(values))}–{said(max(values))})"


def size(count: float | None) -> str:
    if count is None:
        return "–"
    for unit, limit in (("B", 1e3), ("KB", 1e6), ("MB", 1e9)):
        if count < limit:
            return f"{count / limit * 1000:.{0 if unit == 'B' or count >= limit / 10 else 1}f} {unit}"
    return f"{count / 1e9:.1f} GB"


def times(one: float, other: float) -> str:
    if not other:
        return "–"
    ratio = one / other
    return f"{ratio:.0f}" if ratio >= 20 else f"{ratio:.1f}" if ratio >= 1 else f"{ratio:.2f}"


def at_least(promised: str, measured: Sequence[float], limit: float) -> Target:
    """More is better. Met if every turn meets it."""
    return Target(promised, f"{spread(measured)}x", min(measured) >= limit)


def at_most(promised: str, measured: float | Sequence[float], limit: float, words: str = "") -> Target:
    """Less is better. Met if every turn meets it."""
    values = [measured] if isinstance(measured, float | int) else measured
    return Target(promised, words or f"{spread(values)}x", max(values) <= limit)


_HEAD = """\
# What it costs, measured

Written by `make bench` on {machine}.
Every row of one table comes from one run, the contenders in turns on copies of one mailbox. Figures are
medians over the turns, with the least and the most in brackets. Ratios are taken within a turn, so that a
quiet minute never stands against a busy one; a target is met if every turn meets it. The machine may have
been busy with other things: the load average stands beside each row, and where the brackets are wide, so is
the doubt.

`× floor`: wall time in floors (a client that only fetches three headers and moves what it is told).
`× tuned`: how many times faster than hand-tuned imapfilter. A round trip is a turn of the conversation,
counted by a proxy: client bytes after server bytes. Server CPU is all of Dovecot's processes. Bytes are what
Dovecot says at logout, or, where round trips are counted, what the proxy saw. RSS is the kernel's figure.

## Targets

| scenario | target | measured | |
|---|---|---|---|
"""


# -- showing ------------------------------------------------------------------------------------
def show(results: Iterable[Result]) -> None:
    """One table on the terminal."""
    console = Console()
    console.width = max(console.width, 190)  # a table that wraps can't be read
    for result in results:
        table = Table(title=result.title, title_justify="left", caption_justify="left")
        for place, column in enumerate(result.columns):
            table.add_column(column, justify="left" if place == 0 else "right")
        for row in result.rows:
            table.add_row(*row)
        console.print(table)
        for target in result.targets:
            console.print(f"  {_verdict(target)}: {target.promised}: {target.measured}", highlight=False)


def keep(results: Sequence[Result]) -> None:
    """Remember the results of whole scenarios."""
    KEPT.mkdir(parents=True, exist_ok=True)
    for name in {result.scenario for result in results}:
        mine = [asdict(result) for result in results if result.scenario == name]
        (KEPT / f"{name}.json").write_text(json.dumps(mine, indent=1))


def remembered(order: Sequence[str]) -> list[Result]:
    """What the last runs of these scenarios gave."""
    found = []
    for name in order:
        if (KEPT / f"{name}.json").exists():
            for kept in json.loads((KEPT / f"{name}.json").read_text()):
                kept["targets"] = tuple(Target(**target) for target in kept["targets"])
                kept["rows"] = tuple(map(tuple, kept["rows"]))
                found.append(Result(**kept))
    return found


def write(results: Sequence[Result]) -> None:
    """RESULTS.md."""
    lines = [*_HEAD.format(machine=_machine()).splitlines()]
    lines += [
        f"| {result.scenario} | {target.promised} | {target.measured} | {_verdict(target)} |"
        for result in results
        for target in result.targets
    ]
    for result in results:
        lines += ["", f"## {result.title}", f"`python -m benchmarks {result.scenario}`, {result.when}", ""]
        lines.append("| " + " | ".join(result.columns) + " |")
        lines.append("|---|" + "---:|" * (len(result.columns) - 1))
        lines += ["| " + " | ".join(row) + " |" for row in result.rows]
        lines += ["", *result.notes] if result.notes else []
    lines += _written_by_hand()
    PAGE.write_text("\n".join(lines) + "\n")


_BY_HAND = "## What stands in the way"


def _written_by_hand() -> list[str]:
    """The part of the page that people write stays as it is."""
    if PAGE.exists() and _BY_HAND in PAGE.read_text():
        return ["", _BY_HAND + PAGE.read_text().split(_BY_HAND, 1)[1].rstrip()]
    return []


def _verdict(target: Target) -> str:
    return {True: "met", False: "MISSED", None: "not measured"}[target.met]


def _machine() -> str:
    system = f"{platform.system()} {platform.machine()}"
    return f"{os.cpu_count()} cores, {system}, Python {platform.python_version()}"
