"""T2: a worker with three accounts is killed at random times while mail comes in."""

from __future__ import annotations

import dataclasses
import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.checker import Verdict, check
from tests.faults.conftest import FULL
from tests.faults.post import Post
from tests.faults.stage import SCENARIOS, Scenario, Stage
from tests.lab.dovecot import Dovecot
from tests.lab.program import Program, account
from tests.lab.smtp import SmtpSink

KILLS = 1000 if FULL else 12
SEED = 2026
ACCOUNTS = 3
RATE = 20.0
"""Messages a second, over all accounts."""
BACKLOG = 400 if FULL else 80
"""No more come while so many wait: a worker that is dead half of the time falls behind."""
KINDS = ("flag", "copy", "forward", "script", "move", "everything")


def _of_kind(kind: str) -> Scenario:
    """A scenario for those messages alone whose subject names it."""
    scenario = SCENARIOS[kind]
    rules = scenario.rules.replace("name: all", f"name: {kind}").replace(
        "subject: lab", f"subject: lab-{kind}"
    )
    return dataclasses.replace(scenario, rules=rules)


@pytest.mark.timeout(4 * 3600 if FULL else 300)
def test_a_worker_that_is_killed_again_and_again(
    dovecot: Dovecot, sink: SmtpSink, tmp_path: Path, expect_clean: Callable[..., None]
) -> None:
    """Whenever it is killed, each message ends as its rule says, once; unknown is only what was in flight."""
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    unknown: set[tuple[int, str]] = set()
    stages = [
        (kind, Stage(dovecot, sink, tmp_path, _of_kind(kind), user=user, unknown=unknown))
        for user in [dovecot.new_user() for _ in range(ACCOUNTS)]
        for kind in KINDS
    ]
    stages.sort(key=lambda pair: KINDS.index(pair[0]))  # in turn: every account, then the next kind
    accounts = "".join(
        account(dovecot, user, smtp=f"{{host: 127.0.0.1, port: {sink.port}, security: none}}")
        for user in dict.fromkeys(stage.user for _, stage in stages)
    )
    rules = "".join(_of_kind(kind).rules for kind in KINDS)
    with Program(tmp_path, f"accounts:\n{accounts}rules:\n{rules}") as program:
        program.run("run", "--once")
        in_flight = 0
        with Post(stages, rate=RATE) as post:
            for kill in range(KILLS):
                _live(program, chance, from_its_start=kill % 2 == 0)
                died_with, judged = _journal(program.state)
                in_flight += died_with
                (post.pausing.set if post.count - judged > BACKLOG else post.pausing.clear)()
        said = program.said()
    stages[0][1].settle(passes=12)  # the file and the journal are everybody's
    verdict = Verdict()
    for _, stage in stages:
        verdict += check(stage)
    verdict.runs, verdict.unknown = KILLS, len(unknown)
    expect_clean("T2", verdict, f"kills; {ACCOUNTS} accounts, {post.count} messages")
    assert len(unknown) <= in_flight, (len(unknown), in_flight)
    assert "Traceback" not in said


def _live(program: Program, chance: random.Random, *, from_its_start: bool) -> None:
    """Start it, let it live for 0.3 to 2 s, from its start or from when it has read its file, and kill it."""
    lives = program.said().count("accounts: ")
    program.start()
    if not from_its_start:
        program.wait_for(lambda: program.said().count("accounts: ") > lives, timeout=60)
    time.sleep(chance.uniform(0.3, 2.0))
    assert program.worker is not None and program.worker.poll() is None, program.said()[-2000:]
    program.kill()


def _journal(state: Path) -> tuple[int, int]:
    """What a dead worker's journal holds: effects past the point of no return, messages judged."""
    connection = sqlite3.connect(f"file:{state}/journal.db?mode=ro", uri=True)
    try:
        return (
            connection.execute("SELECT count(*) FROM effect WHERE state = 'commit'").fetchone()[0],
            connection.execute("SELECT count(*) FROM message WHERE state = 'judged'").fetchone()[0],
        )
    finally:
        connection.close()
