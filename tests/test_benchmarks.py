"""The benchmark runs; how fast anything is, is not asked here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from benchmarks.mails import mails
from benchmarks.rules import fifty, many
from tests.conftest import need_dovecot

ROOT = Path(__file__).parent.parent


def test_a_scenario_runs_and_says_what_it_measured() -> None:
    """`python -m benchmarks link --quick` sorts a small mailbox with each contender and prints the table."""
    need_dovecot()
    page = ROOT / "benchmarks" / "RESULTS.md"
    before = page.read_bytes() if page.exists() else None
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "link", "--quick"], cwd=ROOT, check=False,
        capture_output=True, text=True, timeout=110, env={**os.environ, "COLUMNS": "160"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    moved = dict(re.findall(r"^ +(.+): [\d.]+ s, (\d+) moved", done.stderr, re.MULTILINE))
    assert {"floor", "mailrules apply"} <= moved.keys()
    assert moved["floor"] == moved["mailrules apply"] != "0"
    assert "round trips" in done.stdout and "mailrules apply" in done.stdout
    assert (page.read_bytes() if page.exists() else None) == before, "a smoke run wrote the page"


def test_the_mails_are_the_same_every_time() -> None:
    """Two runs measure the same work, so the mails may not depend on the day or on a seed."""
    assert list(mails(5)) == list(mails(5))
    assert b"\r\nDKIM-Signature: " in next(mails(1)).raw


def test_many_rules_are_the_fifty_and_more() -> None:
    """A thousand rules move what fifty move: only the number differs."""
    rules = many(300)
    assert len({rule.name for rule in rules}) == 300
    assert rules[-50:] == fifty()
