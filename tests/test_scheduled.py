"""One run of a scheduled rule: what it leaves alone, what it says, and what does not wait for it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tests.integration.test_schedules import count, create, flags, make_due, schedule_of
from tests.lab.dovecot import Dovecot, message
from tests.lab.journal import opened
from tests.lab.program import Program, account
from tests.lab.proxy import FaultProxy


def rules(*lines: str) -> str:
    return "rules:\n" + "".join(f"  - {{{line}}}\n" for line in lines)


def again(program: Program, times: int = 1, status: int | None = 0) -> None:
    """The rules are due, and run."""
    for _ in range(times):
        make_due(program)
        program.run("run", "--once", status=status)


def test_what_failed_is_tried_once_and_waits_for_a_person(
    dovecot: Dovecot, user: str, tmp_path: Path
) -> None:
    """Run after run there is one failed effect in the log, not one a run; after `skip` it is left alone."""
    dovecot.append(user, message(1))
    text = "settings: {create_mailboxes: false}\n" + rules(
        "name: out, schedule: {every: 1h}, when: always, then: [{move: Nowhere}]"
    )
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + text) as program:
        program.run("run", "--once")
        again(program, status=1)
        again(program, 2)
        (failed,) = program.log()
        assert failed["state"] == "failed"
        create(dovecot, user, "Nowhere")
        program.run("skip", str(failed["id"]))
        again(program)
        assert (count(dovecot, user), len(program.log())) == (1, 1)
        program.config.write_text(program.config.read_text().replace("when: always", "when: {seen: false}"))
        again(program)
        assert count(dovecot, user, "Nowhere") == 1, "another rule text is another decision"


def test_what_was_undone_stays_undone(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """Flags and moves that a person took back are not made again by the clock."""
    dovecot.append(user, [message(1, subject="flag"), message(2, subject="move")])
    text = rules(
        "name: flags, schedule: {every: 1h}, when: {subject: flag}, then: [{flag: $F}]",
        "name: moves, schedule: {every: 1h}, when: {subject: move}, then: [{move: There}]",
    )
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + text) as program:
        program.run("run", "--once")
        again(program)
        assert count(dovecot, user, "There") == 1
        for rule in ("flags", "moves"):
            program.run("undo", "--rule", rule, "--since", "1h", "--yes")
        assert (count(dovecot, user), any("$F" in f for f in flags(dovecot, user))) == (2, False)
        again(program)
        assert (count(dovecot, user), any("$F" in f for f in flags(dovecot, user))) == (2, False)


def test_a_dry_run_says_it_once(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """A scheduled rule with `dry_run` logs each message once, not at every run."""
    dovecot.append(user, message(1))
    text = rules("name: r, dry_run: true, schedule: {every: 1h}, when: always, then: [{move: There}]")
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + text) as program:
        program.run("run", "--once")
        again(program, 3)
        assert [e["state"] for e in program.log()] == ["would"]
        program.config.write_text(program.config.read_text().replace("dry_run: true, ", ""))
        again(program)
        assert count(dovecot, user, "There") == 1


def test_on_return_apply_takes_it_again(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """Whoever wants it so, gets it so; and what a `stop` rule protects stays protected."""
    dovecot.append(user, [message(1, subject="out"), message(2, subject="vip out")])
    text = rules(
        "name: vip, when: {subject: vip}, stop: true",
        "name: r, on_return: apply, schedule: {every: 1h}, when: {subject: out}, then: [{move: There}]",
    )
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + text) as program:
        program.run("run", "--once")
        again(program)
        with dovecot.session(user, "There") as client:
            assert client.uid("MOVE", "1:*", "INBOX")[0] == "OK"
        again(program)
        assert (count(dovecot, user), count(dovecot, user, "There")) == (1, 1)


def test_what_may_be_protected_does_not_leave(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """Where nobody can tell whether a `stop` rule matches, the message stays, and the log says so once."""
    dovecot.append(user, message(1))
    text = rules(
        "name: vip, when: {auth: {dmarc: pass}}, stop: true",
        "name: out, schedule: {every: 1h}, when: always, then: [trash]",
    )
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + text) as program:
        program.run("run", "--once")
        again(program, 3)
        (entry,) = program.log()
        assert (entry["rule"], entry["state"]) == ("out", "skipped")
        assert "vip" in entry["detail"]["because"]
        assert count(dovecot, user) == 1


def test_a_mailbox_that_is_missing_is_told_of(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """The others are done, and `status` says which one is not there."""
    create(dovecot, user, "There")
    dovecot.append(user, message(1), "There")
    text = rules("name: r, mailboxes: [Gone, There], schedule: {every: 1h}, when: always, then: [{flag: $R}]")
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + text) as program:
        program.run("run", "--once")
        again(program)
        assert "$R" in flags(dovecot, user, "There")[0]
        assert "Gone" in schedule_of(program, "r")["trouble"]
        assert "Gone" in program.run("status").stdout


def test_what_the_process_died_of_is_tried_alone(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """A suspect has its turn by itself, after the others, and is acquitted when it is through."""
    uids = dovecot.append(user, [message(n) for n in range(3)])
    text = rules("name: r, schedule: {every: 1h}, when: always, then: [{flag: $R}]")
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + text) as program:
        program.run("run", "--once")
        with opened(program.state / "journal.db") as journal:
            journal.execute(
                "INSERT INTO in_hand SELECT account, name, 'schedule', uidvalidity, ? FROM mailbox",
                (str(uids[1]),),
            )
        again(program)
        assert all("$R" in f for f in flags(dovecot, user))
        with opened(program.state / "journal.db") as journal:
            assert journal.execute("SELECT count(*) FROM message WHERE deaths > 0").fetchone() == (0,)
        assert [e["uid"] for e in program.log()] == [uids[0], uids[2], uids[1]]


def test_a_paused_rule_is_made_up_for_after_resume(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """While it is paused nothing is held for it; when it is resumed, what was missed is run once."""
    dovecot.append(user, message(1))
    text = rules("name: r, schedule: {every: 1h}, when: always, then: [{flag: $R}]")
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + text) as program:
        program.run("run", "--once")
        program.run("pause", "r")
        program.start()
        program.wait_for(program.watching)
        make_due(program)
        program.run("reload")
        time.sleep(1)
        assert program.log() == []
        program.run("resume", "r")
        program.wait_for(lambda: "$R" in flags(dovecot, user)[0])
        assert program.stop() == 0


@pytest.mark.parametrize("where", ["INBOX", "Archive/Old"])
def test_new_mail_does_not_wait_for_a_scheduled_run(
    dovecot: Dovecot, user: str, tmp_path: Path, where: str
) -> None:
    """While scripts go over hundreds of messages, new mail is filed at once, also in that same mailbox."""
    create(dovecot, user, "Archive/Old")
    dovecot.append(user, [message(n) for n in range(200)], where)
    script = tmp_path / "slow.sh"
    script.write_text("#!/bin/sh\nsleep 0.2\n")
    script.chmod(0o755)
    text = rules(
        "name: new, when: {subject: fresh}, then: [{move: Fresh}]",
        f'name: slow, mailboxes: ["{where}"], schedule: {{every: 1h}}, when: always, '
        f"then: [{{script: [{script}]}}]",
    )
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + text) as program:
        program.run("run", "--once")
        make_due(program)
        program.start()
        program.wait_for(lambda: program.watching() and len(program.log("--state", "done")) > 3)
        began = time.monotonic()
        dovecot.deliver(user, message(9, subject="fresh"))
        program.wait_for(lambda: count(dovecot, user, "Fresh") == 1)
        took = time.monotonic() - began
        assert len(program.log("--state", "done")) < 200, "it was at it"
        assert took < 3.0


def test_after_a_journal_was_put_back_what_sends_waits_for_a_person(
    dovecot: Dovecot, user: str, tmp_path: Path
) -> None:
    """A scheduled rule with a script does not run again over what it was at since the copy; one that only
    flags goes on."""
    script = tmp_path / "count.sh"
    script.write_text(f"#!/bin/sh\necho x >> {tmp_path}/ran\n")
    script.chmod(0o755)
    dovecot.append(user, message(1))
    text = rules(
        f"name: sends, schedule: {{every: 1h}}, when: always, then: [{{script: [{script}]}}]",
        "name: flags, schedule: {every: 1h}, when: always, then: [{flag: $F}]",
    )
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + text) as program:
        program.run("run", "--once")
        journal = program.state / "journal.db"
        copy = journal.read_bytes()
        again(program)
        assert (tmp_path / "ran").read_text() == "x\n"
        for rest in program.state.glob("journal.db-*"):
            rest.unlink()
        journal.write_bytes(copy)
        program.run("resync", "--baseline", "now", "--yes")
        with dovecot.session(user, "INBOX") as client:
            client.uid("STORE", "1:*", "-FLAGS", "($F)")
        again(program, 2)
        assert (tmp_path / "ran").read_text() == "x\n"
        assert "$F" in flags(dovecot, user)[0]
        (status,) = program.json("status")
        assert [pause["target"] for pause in status["paused"]] == ["rule:sends"]
        program.run("resume", "sends")
        again(program)
        assert (tmp_path / "ran").read_text() == "x\nx\n", "a person said so"


def test_a_connection_that_breaks_is_made_again(
    dovecot: Dovecot, user: str, proxy: FaultProxy, tmp_path: Path
) -> None:
    """Cut off while it acts, the run goes on over a new connection, and everything is done once."""
    create(dovecot, user, "Old")
    dovecot.append(user, [message(n) for n in range(30)], "Old")
    text = rules(
        "name: r, mailboxes: [Old], schedule: {every: 1h}, when: always, then: [{flag: $R}, {copy: Kept}]"
    )
    with Program(tmp_path, "accounts:\n" + account(dovecot, user, port=proxy.port) + text) as program:
        program.run("run", "--once")
        make_due(program)
        cuts: list[bytes] = []

        def cut(data: bytes) -> bytes:
            if b"COPY" in data and not cuts:
                cuts.append(data)
                threading.Thread(target=proxy.cut).start()
            return data

        proxy.rewrite("c2s", cut)
        program.start()
        program.wait_for(lambda: schedule_of(program, "r")["last"] is not None, timeout=60)
        assert program.stop() == 0
        assert cuts
        assert count(dovecot, user, "Kept") == 30
        assert all("$R" in f for f in flags(dovecot, user, "Old"))
        assert {e["state"] for e in program.log()} == {"done"}
