"""The benchmark runs; how fast anything is, is not asked here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from benchmarks.contenders import FLOOR, TUNED, Measured, Runs
from benchmarks.mails import mails
from benchmarks.rules import fifty, for_imapfilter, many
from benchmarks.scenarios.bulk import fewer
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


def test_imapfilter_is_asked_for_the_same_mail() -> None:
    """Its `match_field` gives a pattern the header's value alone, so an anchor stands where it stands."""
    for tuned in (True, False):
        text = for_imapfilter(fifty(), user="u", password="p", port=143, tuned=tuned)
        assert text.count("match_field(") == 20
        assert ":match_field('Subject', '(?i)^security review ')" in text


def test_a_contender_that_moves_less_is_explained() -> None:
    """Under a table in which imapfilter moved fewer messages stands how many, and why; else nothing."""

    def runs(theirs: int) -> Runs:
        both = Runs()
        for name, moved in ((FLOOR.name, 1000), (TUNED.name, theirs)):
            both.add(Measured(name, 1, 1, 1, sent=1, received=1, trips=None, rss=1, moved=moved, load=0))
        return both

    assert fewer(runs(1000)) == fewer(Runs()) == ()
    (words,) = fewer(runs(999))
    assert "moves 1 fewer" in words and "encoded" in words
