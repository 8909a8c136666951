"""The commands a person uses beside a running worker, against a real Dovecot."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.lab.dovecot import Dovecot, message
from tests.lab.program import Program, account

RULES = """
rules:
  - name: invoices
    when: {subject: invoice}
    then: [{flag: $Invoice}, {move: Accounting}]
  - name: rest
    when: {subject: note}
    then: [{mark: read}]
"""


def messages(server: Dovecot, user: str, mailbox: str) -> list[str]:
    with server.session(user) as client:
        if client.select(f'"{mailbox}"', readonly=True)[0] != "OK":
            return []
        return [line.decode() for line in client.uid("FETCH", "1:*", "(FLAGS)")[1] if line]


@pytest.fixture
def program(dovecot: Dovecot, user: str, tmp_path: Path) -> Program:
    return Program(tmp_path, "accounts:\n" + account(dovecot, user) + RULES)


def test_explain_on_the_server(dovecot: Dovecot, user: str, program: Program) -> None:
    """`explain --uid` and `--message-id` say of a message on the server what `explain FILE` would."""
    raw = message(1, subject="An invoice", message_id="<the.one@example.test>")
    (uid,) = dovecot.append(user, raw)
    path = program.directory / "one.eml"
    path.write_bytes(raw)
    (by_file,) = program.json("explain", str(path))
    (by_uid,) = program.json("explain", "--uid", str(uid), "--mailbox", "INBOX")
    (by_id,) = program.json("explain", "--message-id", "the.one@example.test")
    assert by_uid == by_id
    assert by_uid["rules"] == by_file["rules"] and by_uid["actions"] == by_file["actions"]
    assert (by_uid["uid"], by_uid["message_id"]) == (uid, "<the.one@example.test>")
    assert "An invoice" in program.run("explain", "--uid", str(uid)).stdout
    assert "no message" in program.run("explain", "--uid", "999", status=1).stderr
    assert messages(dovecot, user, "INBOX") and "\\Seen" not in messages(dovecot, user, "INBOX")[0]


def test_pause_holds_and_resume_does(dovecot: Dovecot, user: str, program: Program) -> None:
    """A paused rule's effects are held, over a restart too; `resume` performs them."""
    with program:
        program.start()
        program.wait_for("connected")
        program.run("pause", "invoices")
        dovecot.deliver(user, message(1, subject="invoice"))
        program.wait_for(lambda: [e["state"] for e in program.log()] == ["held", "held"])
        assert program.stop() == 0
        program.start()
        program.wait_for(lambda: program.said().count("connected") == 2)
        assert len(messages(dovecot, user, "INBOX")) == 1
        status = program.json("status")[0]
        assert [h["rule"] for h in status["held"]] == ["invoices", "invoices"]
        program.run("resume", "invoices")
        program.wait_for(lambda: len(messages(dovecot, user, "Accounting")) == 1)
        assert {e["state"] for e in program.log()} == {"done"}
        assert program.stop() == 0


def test_a_failed_effect_keeps_the_message_until_a_person_decides(
    dovecot: Dovecot, user: str, tmp_path: Path
) -> None:
    """A message stays while an earlier effect has failed; `skip` lets it go, `retry` tries again."""
    rules = """
rules:
  - name: hand over
    when: {subject: invoice}
    then:
      - script: [./missing-program]
      - move: Accounting
"""
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + rules) as program:
        program.run("run", "--once")
        dovecot.append(user, [message(1, subject="invoice 1"), message(2, subject="invoice 2")])
        program.run("run", "--once", status=1)
        log = program.log()
        assert [(e["action"], e["state"]) for e in log] == [
            ("script", "failed"), ("script", "failed"), ("move", "planned"), ("move", "planned"),
        ] or sorted((e["action"], e["state"]) for e in log) == [
            ("move", "planned"), ("move", "planned"), ("script", "failed"), ("script", "failed"),
        ]  # fmt: skip
        assert len(messages(dovecot, user, "INBOX")) == 2
        first, second = sorted(e["id"] for e in log if e["action"] == "script")
        program.run("skip", str(first))
        (tmp_path / "missing-program").write_text("#!/bin/sh\ncat > seen.eml\nexit 0\n")
        (tmp_path / "missing-program").chmod(0o755)
        program.run("retry", str(second))
        program.run("run", "--once")
        assert len(messages(dovecot, user, "Accounting")) == 2
        assert sorted(e["state"] for e in program.log()) == ["done", "done", "done", "skipped"]


def test_apply_goes_through_the_running_worker(dovecot: Dovecot, user: str, program: Program) -> None:
    """With a worker running, `apply` is done by it, and says the same as without."""
    dovecot.append(user, [message(n, subject="invoice") for n in range(5)])
    with program:
        program.start()
        program.wait_for("watched from now on")
        planned = program.json("plan")
        applied = program.json("apply", "--yes")
        assert applied == planned and applied[-1]["summary"]["effects"] == {"flag": 5, "move": 5}
        assert len(messages(dovecot, user, "Accounting")) == 5
        assert program.json("apply", "--yes")[-1]["summary"]["matched"] == 0
        assert program.stop() == 0


def test_apply_needs_the_rules_that_the_worker_has(dovecot: Dovecot, user: str, program: Program) -> None:
    """An edited file that the worker has not read yet: nothing is done by rules that the file has not."""
    dovecot.append(user, message(subject="invoice"))
    with program:
        program.start()
        program.wait_for("watched from now on")
        program.config.write_text(program.config.read_text() + "# edited\n")
        said = program.run("apply", "--yes", status=1).stderr
        assert "the running worker has other rules than" in said and "mailrules reload" in said
        assert len(messages(dovecot, user, "INBOX")) == 1
        program.run("reload")
        program.run("apply", "--yes")
        assert len(messages(dovecot, user, "Accounting")) == 1
        assert program.stop() == 0


def test_apply_has_a_brake(dovecot: Dovecot, user: str, program: Program) -> None:
    """`apply` does not empty more than half of a mailbox of over 100 messages unless told so."""
    dovecot.append(user, [message(n, subject="invoice" if n % 3 else "hello") for n in range(120)])
    done = program.run("apply", "--yes", status=1)
    assert "--over-brakes" in done.stderr and len(messages(dovecot, user, "INBOX")) == 120
    program.run("apply", "--yes", "--over-brakes")
    assert len(messages(dovecot, user, "INBOX")) == 40


def test_plan_selects_by_rule_and_time(dovecot: Dovecot, user: str, program: Program) -> None:
    """`--rule`, `--since` and `--mailbox` narrow what is planned; an unknown rule is an error."""
    dovecot.append(user, [message(1, subject="invoice"), message(2, subject="a note")])
    only = program.json("plan", "--rule", "rest")[-1]["summary"]
    assert only["rules"] == {"rest": 1} and only["messages"] == 2
    assert program.json("plan", "--since", "1h")[-1]["summary"]["messages"] == 2
    time.sleep(1.1)
    assert program.json("plan", "--since", "1s")[-1]["summary"]["messages"] == 0
    assert "no rule 'rset'" in program.run("plan", "--rule", "rset", status=2).stderr
    assert messages(dovecot, user, "INBOX") and program.run("log", status=None).returncode != 0


def test_dry_run_changes_nothing(dovecot: Dovecot, user: str, program: Program) -> None:
    """`run --dry-run` logs what it would do, and does nothing."""
    program.run("run", "--once")
    dovecot.append(user, message(1, subject="invoice"))
    program.run("run", "--once", "--dry-run")
    assert [e["state"] for e in program.log()] == ["would", "would"]
    assert (
        messages(dovecot, user, "Accounting") == [] and "$Invoice" not in messages(dovecot, user, "INBOX")[0]
    )


def test_status_tells_who_is_watching(dovecot: Dovecot, user: str, program: Program) -> None:
    """`status --json` says that the account is connected and watched, and by which process."""
    with program:
        program.start()
        program.wait_for(program.watching)
        status = program.json("status")[0]
        assert program.worker is not None and status["worker"]["pid"] == program.worker.pid
        assert program.run("status").stdout
        assert program.stop() == 0


def test_status_tells_what_is_missing(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """A mailbox that the server does not have is not watched, and is said to be missing."""
    rules = "accounts:\n" + account(dovecot, user, mailboxes=("INBOX", "Nope")) + "rules: []\n"
    with Program(tmp_path, rules) as program:
        program.start()
        program.wait_for("mailbox 'Nope' does not exist")
        program.wait_for(lambda: program.json("status")[0]["accounts"][0]["watching"])
        (told,) = program.json("status")[0]["accounts"]
        assert [(m["mailbox"], m["watching"], m["missing"]) for m in told["mailboxes"]] == [
            ("INBOX", True, False), ("Nope", False, True),
        ]  # fmt: skip
        lines = program.run("status").stdout.splitlines()
        assert [line.split()[1:3] for line in lines if line.startswith(user)] == [
            ["INBOX", "watching"], ["Nope", "missing"],
        ]  # fmt: skip
