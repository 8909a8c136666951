"""Scheduled rules, end to end: `mailrules run` and `run --once` against a real Dovecot."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.lab.dovecot import Dovecot, message
from tests.lab.journal import opened
from tests.lab.program import Program, account
from tests.lab.proxy import FaultProxy


def count(server: Dovecot, user: str, mailbox: str = "INBOX") -> int:
    with server.session(user) as client:
        answer = client.status(f'"{mailbox}"', "(MESSAGES)")
        return int(answer[1][0].split()[-1].rstrip(b")")) if answer[0] == "OK" else 0


def flags(server: Dovecot, user: str, mailbox: str = "INBOX") -> list[str]:
    with server.session(user, mailbox) as client:
        return [line.decode() for line in client.uid("FETCH", "1:*", "(FLAGS)")[1] if line]


def create(server: Dovecot, user: str, *names: str) -> None:
    with server.session(user) as client:
        for name in names:
            client.create(f'"{name}"')


def make_due(program: Program) -> None:
    """As if the program had been away for two days."""
    with closing(sqlite3.connect(program.state / "journal.db")) as journal, journal:
        journal.execute("UPDATE scheduled SET since = since - 172800 * 1000000")


def rows(program: Program, table: str) -> int:
    with closing(sqlite3.connect(program.state / "journal.db")) as journal:
        return int(journal.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def schedule_of(program: Program, rule: str) -> dict[str, Any]:
    (status,) = program.json("status")
    return next(r["schedule"] for r in status["rules"] if r["rule"] == rule)


AGED = """
rules:
  - name: aged
    schedule: {every: 1s}
    when: {older_than: 4s}
    then: [{move: Old}]
"""


def test_a_message_that_ages_is_filed_by_the_clock(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """What was too young when it came is done when it is old enough; so is mail that was there before."""
    dovecot.append(user, message(1))
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + AGED) as program:
        program.start()
        program.wait_for("connected")
        program.wait_for(lambda: count(dovecot, user, "Old") == 1)
        dovecot.deliver(user, message(2))
        came = time.monotonic()
        program.wait_for(lambda: count(dovecot, user, "Old") == 2)
        assert time.monotonic() - came > 2.5, "not as new mail"
        assert count(dovecot, user) == 0
        assert schedule_of(program, "aged")["last"] is not None
        assert program.stop() == 0
        assert [(e["rule"], e["state"]) for e in program.log()] == [("aged", "done")] * 2
    with opened(tmp_path / "state" / "journal.db") as journal:
        kinds = {
            kind
            for (kind,) in journal.execute("SELECT DISTINCT run.kind FROM effect JOIN run ON run = run.id")
        }
    assert kinds == {"schedule"}


def test_new_mail_is_for_a_scheduled_rule_only_with_on_new(
    dovecot: Dovecot, user: str, tmp_path: Path
) -> None:
    """Without `on_new` a scheduled rule leaves new mail alone until its time."""
    text = """
rules:
  - {name: later, schedule: {every: 1h}, when: {subject: later}, then: [{flag: $Later}]}
  - {name: both, schedule: {every: 1h}, on_new: true, when: {subject: now}, then: [{flag: $Now}]}
"""
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + text) as program:
        program.run("run", "--once")
        dovecot.append(user, [message(1, subject="later"), message(2, subject="now")])
        program.run("run", "--once")
        assert ["$Later" in f or "$Now" in f for f in flags(dovecot, user)] == [False, True]
        make_due(program)
        program.run("run", "--once")
        later, now = flags(dovecot, user)
        assert "$Later" in later and "$Now" in now
        assert len(program.log()) == 2, "what is done is not done again"


def test_missed_runs_are_made_up_once(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """After two days away one run is made up, at the start, and the next is at its time."""
    text = (
        "rules:\n  - {name: daily, schedule: {cron: '0 3 * * *'}, when: always, then: [{flag: $D}, log: x]}\n"
    )
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + text) as program:
        program.run("run", "--once")
        dovecot.append(user, message(1))
        make_due(program)
        program.start()
        program.wait_for(lambda: schedule_of(program, "daily")["last"] is not None)
        assert "$D" in flags(dovecot, user)[0]
        told = schedule_of(program, "daily")
        assert told["schedule"] == "cron 0 3 * * *"
        assert datetime.fromisoformat(told["next"]) - datetime.now(UTC) <= timedelta(days=1)
        assert program.stop() == 0
        program.start()
        program.wait_for(program.watching)
        time.sleep(1)
        assert program.stop() == 0
        assert schedule_of(program, "daily")["last"] == told["last"]
        assert len(program.log()) == 2


def test_all_mailboxes_it_names_and_not_what_a_stop_protects(
    dovecot: Dovecot, user: str, tmp_path: Path
) -> None:
    """Unwatched mailboxes, globs, and earlier rules that stop: those protect and do nothing themselves."""
    create(dovecot, user, "Team/A", "Team/B", "Other")
    for mailbox in ("Team/A", "Team/B", "Other"):
        dovecot.append(user, [message(1), message(2, subject="keep this")], mailbox)
    text = """
rules:
  - {name: keep, when: {subject: keep}, then: [{flag: $Kept}], stop: true}
  - {name: acts, when: always, then: [{flag: $Acted}]}
  - {name: out, mailboxes: ["Team/*"], schedule: {every: 1h}, when: always, then: [trash]}
"""
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + text) as program:
        program.run("run", "--once")
        planned = program.json("plan", "--rule", "out")
        assert planned[-1]["summary"]["rules"] == {"out": 2}
        make_due(program)
        program.run("run", "--once")
        assert [count(dovecot, user, m) for m in ("Team/A", "Team/B", "Other", "Trash")] == [1, 1, 2, 2]
        assert not any("$Kept" in f or "$Acted" in f for f in flags(dovecot, user, "Team/A"))
        make_due(program)
        program.run("run", "--once")
        assert len(program.log()) == 2


def test_what_a_person_brings_back_is_left_alone(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """A schedule does not fight for mail that it took away and a person brought back."""
    text = "rules:\n  - {name: out, schedule: {every: 1h}, when: always, then: [{move: Old}]}\n"
    dovecot.append(user, message(1))
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + text) as program:
        program.run("run", "--once")
        make_due(program)
        program.run("run", "--once")
        assert count(dovecot, user, "Old") == 1
        with dovecot.session(user, "Old") as client:
            assert client.uid("MOVE", "1:*", "INBOX")[0] == "OK"
        make_due(program)
        program.run("run", "--once")
        assert (count(dovecot, user), count(dovecot, user, "Old")) == (1, 0)


def test_copies_notes_and_scripts_happen_once(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """Run after run, a message is copied, told of and handed to a script one time."""
    script = tmp_path / "count.sh"
    script.write_text(f"#!/bin/sh\necho x >> {tmp_path}/ran\n")
    script.chmod(0o755)
    text = f"""
rules:
  - name: again
    schedule: {{every: 1h}}
    when: always
    then: [{{copy: Backup}}, {{log: seen}}, {{script: [{script}]}}]
"""
    dovecot.append(user, message(1))
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + text) as program:
        program.run("run", "--once")
        for _ in range(3):
            make_due(program)
            program.run("run", "--once")
        assert count(dovecot, user, "Backup") == 1
        assert (tmp_path / "ran").read_text() == "x\n"
        assert len(program.log()) == 3


def test_more_than_half_of_a_large_mailbox_pauses_the_rule(
    dovecot: Dovecot, user: str, tmp_path: Path
) -> None:
    """The brake stops the run before anything leaves; a person looks, and says so or resumes."""
    dovecot.append(user, [message(n, subject="x") for n in range(101)])
    text = "rules:\n  - {name: wild, schedule: {every: 1h}, when: {subject: x}, then: [trash]}\n"
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + text) as program:
        program.run("run", "--once")
        make_due(program)
        said = program.run("run", "--once", status=1).stderr
        assert "101 of 101" in said and "--over-brakes" in said
        assert count(dovecot, user) == 101
        (status,) = program.json("status")
        assert [p["target"] for p in status["paused"]] == ["rule:wild"]
        make_due(program)
        program.run("run", "--once")
        assert count(dovecot, user) == 101, "a paused schedule does not run"
        program.run("resume", "wild")
        program.run("apply", "--yes", "--rule", "wild", status=1)
        assert count(dovecot, user) == 101, "--yes does not imply it"
        program.run("apply", "--yes", "--rule", "wild", "--over-brakes")
        assert count(dovecot, user) == 0


def test_a_big_mailbox_is_cheap(dovecot: Dovecot, user: str, proxy: FaultProxy, tmp_path: Path) -> None:
    """Of thousands of messages those are fetched that SEARCH can't leave out, and a run that changes
    nothing writes nothing."""
    with dovecot.session(user) as client:
        for at in range(0, 3000, 500):
            batch = [message(n, body="x" * 10) for n in range(at, at + 500)]
            client_append(client, batch)
        client_append(client, [message(9, body="y" * 3000) for _ in range(5)])
        client.select("INBOX")
        client.uid("STORE", "1:2900", "+FLAGS", "(\\Seen)")
    asked: list[bytes] = []

    def listen(data: bytes) -> bytes:
        asked.append(data)
        return data

    proxy.rewrite("c2s", listen)
    text = """
rules:
  - {name: read, schedule: {every: 1h}, when: {larger_than: 1KB}, then: [{mark: read}]}
  - {name: tag, schedule: {every: 1h}, when: {seen: true}, then: [{flag: $Tagged}]}
"""
    with Program(tmp_path, "accounts:\n" + account(dovecot, user, port=proxy.port) + text) as program:
        program.run("run", "--once")
        make_due(program)
        asked.clear()
        program.run("run", "--once")
        assert sum("$Tagged" in f for f in flags(dovecot, user)) == 2905
        assert len(program.log("--rule", "read")) == 5
        before = [rows(program, table) for table in ("effect", "message", "run")]
        make_due(program)
        asked.clear()
        program.run("run", "--once")
        assert [rows(program, table) for table in ("effect", "message")] == before[:2]
        assert b"SEARCH" in b"".join(asked)
        fetches = [line for line in b"".join(asked).split(b"\r\n") if b"FETCH" in line]
        assert fetches == []


def client_append(client: Any, batch: list[bytes]) -> None:
    for raw in batch:
        assert client.append("INBOX", "", "", raw)[0] == "OK"


def test_an_interrupted_run_goes_on_after_a_restart(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """Killed in the middle, the rest is done at the next start, and nothing twice."""
    create(dovecot, user, "A", "B")
    for mailbox in ("A", "B"):
        dovecot.append(user, [message(n) for n in range(60)], mailbox)
    script = tmp_path / "slow.sh"
    script.write_text(f"#!/bin/sh\necho x >> {tmp_path}/ran\nsleep 0.05\n")
    script.chmod(0o755)
    text = f"""
rules:
  - {{name: hand, mailboxes: [A, B], schedule: {{every: 1h}}, when: always, then: [{{script: [{script}]}}]}}
"""
    ran = tmp_path / "ran"
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + text) as program:
        program.run("run", "--once")
        make_due(program)
        program.start()
        program.wait_for(lambda: ran.exists() and ran.read_text().count("x") > 10)
        program.kill()
        program.start()
        program.wait_for(lambda: ran.read_text().count("x") >= 118, timeout=60)
        program.wait_for(lambda: schedule_of(program, "hand")["last"] is not None)
        assert program.stop() == 0
        states = [e["state"] for e in program.log()]
        assert len(states) == 120 and set(states) <= {"done", "unknown"}
        assert ran.read_text().count("x") <= 120


@pytest.mark.parametrize("change", ["every: 2h", "cron: '0 5 * * *'"])
def test_reload_plans_anew_and_keeps_the_last_run(
    dovecot: Dovecot, user: str, tmp_path: Path, change: str
) -> None:
    """A changed schedule is counted from the change; what ran last is still known."""
    text = "rules:\n  - {name: r, schedule: {every: 1h}, when: always, then: [{flag: $R}]}\n"
    head = "accounts:\n" + account(dovecot, user)
    dovecot.append(user, message(1))
    with Program(tmp_path, head + text) as program:
        program.run("run", "--once")
        make_due(program)
        program.start()
        program.wait_for(lambda: schedule_of(program, "r")["last"] is not None)
        last = schedule_of(program, "r")["last"]
        program.config.write_text(head + text.replace("every: 1h", change))
        program.run("reload")
        told = schedule_of(program, "r")
        assert told["last"] == last
        assert told["schedule"] == change.replace(": ", " ").replace("'", "")
        assert datetime.fromisoformat(told["next"]) > datetime.now(UTC)
