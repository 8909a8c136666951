"""T46: files that are broken in ways nobody thought of. Those that people write: `tests/config/bad_yaml`."""

from __future__ import annotations

import random
import re
import time
from pathlib import Path

import pytest

from mailrules import config
from mailrules.core.errors import ConfigError
from tests.faults import hostile
from tests.faults.conftest import Record

EXAMPLE = (Path(__file__).parents[2] / "rules.example.yaml").read_text()
BITS = (
    "\t", "\0", "\x1b", "\ufeff", "\u2028", "\ud800", "&a", "*a", "<<: *a", "!!python/object:os.system ",
    "!!binary ",
    "? ", "- ", ": ", "{", "}", "[", "]", "'", '"', "|\n", ">-\n", "%", "@", "`", "#", "---\n", "...\n",
    "~", "NO",
    "0o17", "1e999", "12:30:45", "2026-13-45", ".inf", "{{", "}}", "{% for x in range(10**9) %}",
    "{{ 'a' * 10**9 }}",
    "(a+)+$", "(?=x)", "[" * 2000, "{a: " * 500, "- " * 3000, "x" * 100_000, "9" * 5000, "../" * 50,
)  # fmt: skip
PLACE = re.compile(r"rules\.yaml:\d+:\d+: \S")
LONGEST = 10.0
"""Seconds: the figure is one; machines that run tests are busy."""


def broken(dice: random.Random) -> str:
    """The example, damaged: bits put in, lines lost, doubled, shuffled or moved to the right."""
    text = EXAMPLE
    for _ in range(dice.choice((1, 1, 2, 5))):
        kind, lines = dice.randrange(6), text.split("\n")
        at = dice.randrange(len(lines))
        if kind <= 1:
            place = dice.randrange(len(text))
            text = text[:place] + dice.choice(BITS) + text[place + dice.choice((0, 0, 3)) :]
            continue
        if kind == 2:
            del lines[at]
        elif kind == 3:
            lines.insert(at, dice.choice(lines))
        elif kind == 4:
            lines[at] = " " * dice.randrange(1, 5) + lines[at]
        else:
            name, colon, _ = lines[at].partition(":")
            lines[at] = name + colon + " " + dice.choice(BITS)
        text = "\n".join(lines)
    return text


@pytest.mark.timeout(3600)
def test_damaged_files(record: Record) -> None:
    """A damaged file is either right, or refused with places, soon; there is no other way to fail."""
    runs, wrong, refused, slowest = hostile.many(60, 5000), [], 0, 0.0
    for seed in range(runs):
        text = broken(random.Random(f"configuration {seed}"))
        began = time.process_time()
        try:
            config.parse(text, environ={})
        except ConfigError as error:
            refused += 1
            if not error.lines or not all(PLACE.match(line) for line in error.lines):
                wrong.append(f"{seed}: {error.lines[:3]}")
        except Exception as error:
            wrong.append(f"{seed}: {type(error).__name__}: {error}")
        slowest = max(slowest, time.process_time() - began)
    record("T46", runs=runs, wrong=len(wrong), note=f"{refused} refused; slowest {slowest:.2f} s")
    assert not wrong, "\n".join(wrong[:10])
    assert refused > runs / 3 and slowest < LONGEST
