"""Commands that should answer at once."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.contenders import ROOT
from benchmarks.report import Result, at_most, size
from benchmarks.rules import for_mailrules, many

_ACCOUNT = "accounts:\n  a:\n    host: imap.example.org\n    username: a\n    password: {env: LAB_PASSWORD}\n"


def answers(bench: Bench) -> list[Result]:
    """`check` of a big file, `--version`, `--help`, and, to compare with, a Python that does nothing."""
    rules, turns = bench.sizes.rules, 3 * bench.sizes.repeat
    with tempfile.TemporaryDirectory(prefix="mailrules-bench-") as name:
        folder = Path(name)
        config = folder / "rules.yaml"
        config.write_text(_ACCOUNT + for_mailrules(many(rules)))
        ours = [sys.executable, "-m", "mailrules"]
        check = [*ours, "check", "--config", str(config), "--state", str(folder / "state")]
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "mailrules --version": [*ours, "--version"],
            "mailrules --help": [*ours, "--help"],
            f"mailrules check, {rules:,} rules": check,
        }
        costs: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
        for _ in range(turns):
            for name, command in commands.items():
                costs[name].append(_cost(command, folder / "cost.json"))
    wall = {name: statistics.median(cost["wall"] for cost in those) for name, those in costs.items()}
    rows = tuple(
        (
            name, f"{wall[name]:.3f}", f"{statistics.median(cost['cpu'] for cost in those):.3f}",
            size(max(cost["rss"] for cost in those)), f"{those[-1]['load']:.0f}",
        )
        for name, those in costs.items()
    )  # fmt: skip
    version, checked = wall["mailrules --version"], wall[f"mailrules check, {rules:,} rules"]
    targets = (
        at_most(f"check of {rules:,} rules ≤ 1 s", checked, 1, f"{checked:.2f} s"),
        at_most("--version ≤ 150 ms", version, 0.15, f"{version * 1000:.0f} ms"),
    )
    columns = ("command", "wall s", "client CPU s", "peak RSS", "load")
    return [Result("commands", f"Commands, median of {turns}", columns, rows, targets)]


def _cost(command: list[str], out: Path) -> dict[str, float]:
    script = str(Path(__file__).parent.parent / "measured.py")
    subprocess.run(
        [sys.executable, "-S", "-E", script, str(out), *command], cwd=ROOT, check=True,
        env={**os.environ, "LAB_PASSWORD": "pw", "PYTHONDONTWRITEBYTECODE": ""}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    cost: dict[str, float] = json.loads(out.read_text())
    if cost["status"]:
        raise RuntimeError(f"{command} ended with {cost['status']}")
    return cost
