"""Real mail, broken in every way people have found: every message is judged, none raises, none is slow.

Needs MAILRULES_CORPUS, a folder with one message a file.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import pytest

from mailrules.core.conditions import TABLE
from mailrules.core.conditions.base import Condition
from mailrules.core.conditions.logic import All, AnyOf, Not
from mailrules.core.offline import message_from_bytes, without_server
from tests.core.conditions.speaking import condition

CORPUS = os.environ.get("MAILRULES_CORPUS")
pytestmark = [
    pytest.mark.corpus,
    pytest.mark.skipif(not CORPUS, reason="MAILRULES_CORPUS is not set"),
]
NOW = datetime(2026, 3, 4, tzinfo=UTC)
MOST_CPU_SECONDS = 2.0
"""For one message and all conditions; the promise is a second, the machine is anybody's."""

EVERY_CONDITION = """
any:
- from: [alice@example.com, "@example.org", example.net, "*-bot@*.example.com"]
- to: {name: ann, domain: example.com, regex: "(?P<who>.+)@"}
- cc: {user: ann, detail: {exists: true}}
- bcc: {localpart: {starts_with: x}}
- reply_to: {contains: "@"}
- sender: {exists: true}
- recipient: {glob: "*@*"}
- delivered_to: a@b.c
- subject: {contains: [invoice, ü], regex: '(\\w+\\s?)*$'}
- header: {Received: {regex: "from (?P<host>\\\\S+)"}, X-Mailer: {starts_with: micro}}
- list_id: {ends_with: .org}
- exists: [X-Spam-Status, Precedence]
- body: {contains: unsubscribe, regex: "(?m)^-- $", ends_with: x}
- text: {regex: "(?P<money>[$€][0-9,.]+)", contains: free, glob: "*a*b*c*"}
- larger_than: 1 MB
- smaller_than: 1 KB
- older_than: 7d
- newer_than: 7d
- received: {since: 2002-01-01, weekday: [mon, sun], between: "18:00-08:00"}
- sent: {before: 2010-01-01, on: 2002-09-01}
- {seen: true, flagged: false}
- answered: true
- draft: true
- deleted: true
- keyword: $Todo
- has_attachment: true
- attachment: {name: ["*.pdf", "*.exe"], type: "application/*", larger_than: 10 KB}
- is_bulk: true
- is_auto: true
- auth: {dmarc: pass, spf: [fail, softfail], dkim: none}
- search: UNSEEN
- gmail: is:important
- gmail_label: Travel
- replied_to: true
- duplicate: 7d
- unanswered_for: 4h
- script: [check]
- all: [{not: always}]
"""


def files() -> Iterator[Path]:
    """All files; in a fixed order."""
    yield from sorted(path for path in Path(CORPUS or ".").rglob("*") if path.is_file())


def leaves(of: Condition) -> Iterator[Condition]:
    if isinstance(of, All | AnyOf):
        for part in of.conditions:
            yield from leaves(part)
    elif isinstance(of, Not):
        yield from leaves(of.condition)
    else:
        yield of


def judge_files(paths: list[Path]) -> list[str]:
    """What went wrong with these files."""
    when = condition(EVERY_CONDITION)
    facts = when.facts()
    wrong = []
    for path in paths:
        raw = path.read_bytes()
        began = time.process_time()
        try:
            message = message_from_bytes(raw, now=NOW, trusted_authserv=["mx.example.org"])
            without_server(message, facts)
            trace = when.trace(message)
            verdict = when.judge(message)
        except Exception as error:
            wrong.append(f"{path}: {type(error).__name__}: {error}")
            continue
        spent = time.process_time() - began
        if spent > MOST_CPU_SECONDS:
            wrong.append(f"{path}: took {spent:.1f} s")
        if verdict.needs or trace.matched is not verdict.truth:
            wrong.append(f"{path}: needs {verdict.needs}")
    return wrong


def test_every_condition_is_among_them() -> None:
    """The condition below uses each of the table."""
    assert {leaf.key for leaf in leaves(condition(EVERY_CONDITION))} | {"all", "any", "not"} >= set(TABLE)


@pytest.mark.timeout(600)
def test_every_message_is_judged_by_every_condition() -> None:
    """None raises, none takes a second, none is left without a verdict."""
    paths = files()
    chunks = iter(lambda: list(islice(paths, 250)), [])
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        wrong = [words for found in pool.map(judge_files, chunks) for words in found]
    assert not wrong, "\n".join(wrong[:20])
