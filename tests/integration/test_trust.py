"""What people fear most: the wrong mail moved, one lost or done twice, and a worker that stops silently."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.lab.dovecot import Dovecot, message
from tests.lab.journal import opened
from tests.lab.program import Program, account
from tests.lab.scripted import CUT, FULL, ScriptedServer
from tests.lab.smtp import SmtpSink


def count(server: Dovecot, user: str, mailbox: str) -> int:
    with server.session(user) as client:
        if client.select(f'"{mailbox}"', readonly=True)[0] != "OK":
            return 0
        return len(client.uid("SEARCH", "ALL")[1][0].split())


def create(server: Dovecot, user: str, *mailboxes: str) -> None:
    with server.session(user) as client:
        for mailbox in mailboxes:
            client.create(f'"{mailbox}"')


def scripted(server: ScriptedServer, folder: Path, rules: str, mailboxes: str = "INBOX") -> Program:
    text = (
        f"accounts:\n  work:\n    host: 127.0.0.1\n    port: {server.port}\n    security: none\n"
        f"    username: me\n    password: {{env: SCRIPTED}}\n    mailboxes: [{mailboxes}]\nrules:\n" + rules
    )
    return Program(folder, text, environment={"SCRIPTED": server.password})


# -- which mail is new ------------------------------------------------------------------------------
def test_a_glob_added_to_the_file_leaves_old_mail_alone(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """Mailboxes that existed all along have a baseline when they are first watched."""
    create(dovecot, user, "Old1", "New/A")
    dovecot.append(user, [message(n) for n in range(3)], "Old1")
    rules = "rules:\n  - {name: all, when: always, then: [{move: Moved}]}\n"
    first = "accounts:\n" + account(dovecot, user, mailboxes=["INBOX", '"New/*"']) + rules
    with Program(tmp_path, first) as program:
        program.run("run", "--once")
        program.config.write_text(first.replace('"New/*"', '"New/*", "Old*"'))
        program.run("run", "--once")
        assert count(dovecot, user, "Old1") == 3
        # One that comes into being while we watch for it is judged from its first message.
        create(dovecot, user, "New/B")
        dovecot.append(user, message(9), "New/B")
        program.run("run", "--once")
        assert (count(dovecot, user, "New/B"), count(dovecot, user, "Moved")) == (0, 1)


def test_a_mailbox_that_comes_later_is_judged_from_its_first_message(
    dovecot: Dovecot, user: str, tmp_path: Path
) -> None:
    """A watched mailbox that was missing and then appears has no baseline."""
    rules = "rules:\n  - {name: all, when: always, then: [{move: Moved}]}\n"
    text = "accounts:\n" + account(dovecot, user, mailboxes=["INBOX", "Later"]) + rules
    with Program(tmp_path, text) as program:
        program.run("run", "--once", status=1)
        create(dovecot, user, "Later")
        dovecot.append(user, message(1), "Later")
        program.run("run", "--once")
        assert (count(dovecot, user, "Later"), count(dovecot, user, "Moved")) == (0, 1)


def test_two_rules_cannot_play_ping_pong(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """What mailrules put somewhere is not judged there, whatever on_return says."""
    create(dovecot, user, "Second")
    rules = (
        "rules:\n"
        "  - {name: there, mailboxes: [INBOX], when: always, then: [{move: Second}], on_return: apply}\n"
        "  - {name: back, mailboxes: [Second], when: always, then: [{move: INBOX}], on_return: apply}\n"
    )
    text = "accounts:\n" + account(dovecot, user, mailboxes=["INBOX", "Second"]) + rules
    with Program(tmp_path, text) as program:
        program.run("run", "--once")
        dovecot.append(user, message(1))
        for _ in range(3):
            program.run("run", "--once")
        assert len(program.log()) == 1


@pytest.mark.parametrize("what", [rb"UID FETCH .*EMAILID|UID FETCH .*BODY\.PEEK\[HEADER\]", rb"UID FETCH"])
def test_a_message_that_could_not_be_read_is_not_forgotten(what: bytes, tmp_path: Path) -> None:
    """Mail that the server did not send this time is looked at again, not taken for gone."""
    with ScriptedServer() as server:
        program = scripted(server, tmp_path, "  - {name: all, when: {subject: m}, then: [{move: There}]}\n")
        program.run("run", "--once")
        server.box().add(message(1))
        server.script(what, b"{tag} OK nothing to say\r\n", times=3)
        program.run("run", "--once", status=None)
        assert len(server.box().mails) == 1
        (waiting,) = program.json("status")[0]["accounts"]
        moved = [mail for name, box in server.boxes.items() if name == "There" for mail in box.mails]
        assert moved or waiting["lag"] > 0 or waiting["mailboxes"][0]["waiting"] == 1


# -- done once --------------------------------------------------------------------------------------
def test_a_dry_run_does_not_finish_what_was_left(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """`run --dry-run` changes nothing, also not what an earlier run had planned."""
    rules = "rules:\n  - {name: all, when: always, then: [{move: There}]}\n"
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + rules) as program:
        program.run("run", "--once")
        program.run("pause", "all")
        dovecot.append(user, message(1))
        program.run("run", "--once")
        program.run("resume", "all")
        program.run("run", "--once", "--dry-run")
        assert count(dovecot, user, "INBOX") == 1
        program.run("run", "--once")
        assert count(dovecot, user, "There") == 1


def test_held_effects_do_not_multiply(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """However often `apply` is said during a pause, `resume` does each effect once."""
    rules = "rules:\n  - {name: all, when: always, then: [{copy: Copies}]}\n"
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + rules) as program:
        program.run("run", "--once")
        program.run("pause", "--all")
        dovecot.append(user, message(1))
        program.run("run", "--once")
        program.run("apply", "--yes")
        program.run("apply", "--yes")
        program.run("resume", "--all")
        program.run("run", "--once")
        assert count(dovecot, user, "Copies") == 1


def test_retrying_a_failed_rule_does_not_repeat_the_others(
    dovecot: Dovecot, user: str, tmp_path: Path
) -> None:
    """A message judged again after a template failed keeps what was done, and then may leave."""
    rules = (
        "rules:\n  - {name: file, when: always, then: [{copy: Copies}]}\n"
        "  - {name: bad, when: always, then: [{copy: 'L/{{ message.in_reply_to }}'}]}\n"
        "  - {name: go, when: always, then: [{move: There}]}\n"
    )
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + rules) as program:
        program.run("run", "--once")
        dovecot.append(user, message(1))
        done = program.run("run", "--once", status=1)
        assert "rule=bad copy failed" in done.stderr
        (failed,) = program.log("--state", "failed")
        assert count(dovecot, user, "INBOX") == 1, "nothing leaves before what failed"
        program.run("retry", str(failed["id"]))
        program.run("run", "--once", status=1)
        assert count(dovecot, user, "Copies") == 1
        (failed,) = program.log("--state", "failed")
        program.run("skip", str(failed["id"]))
        program.run("run", "--once")
        assert (count(dovecot, user, "Copies"), count(dovecot, user, "There")) == (1, 1)


def test_apply_does_what_it_shows_and_no_more(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """`apply --rule` leaves the other rules alone, also on new mail; and the brake holds for new mail."""
    rules = (
        "rules:\n  - {name: one, when: {subject: zebra}, then: [{move: Z}]}\n"
        "  - {name: rest, when: always, then: [{move: Rest}]}\n"
    )
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + rules) as program:
        program.run("run", "--once")
        dovecot.append(user, [message(1, subject="zebra"), message(2), message(3)])
        applied = program.json("apply", "--yes", "--rule", "one")
        assert applied[-1]["summary"]["effects"] == {"move": 1}
        assert (count(dovecot, user, "Z"), count(dovecot, user, "INBOX")) == (1, 2)
        dovecot.append(user, [message(n) for n in range(110)])
        assert "--over-brakes" in program.run("apply", "--yes", status=1).stderr
        assert count(dovecot, user, "INBOX") == 112
        program.run("run", "--once")
        assert count(dovecot, user, "Rest") == 112, "what only one rule saw is still new to the others"


# -- one thing's trouble is its own -------------------------------------------------------------------
def test_one_bad_target_does_not_stop_the_mailbox(tmp_path: Path) -> None:
    """A target the server can't open now puts off its own effects; the others are done."""
    with ScriptedServer() as server:
        rules = (
            "  - {name: bad, when: {subject: bad}, then: [{move: Broken}]}\n"
            "  - {name: good, when: {subject: good}, then: [{move: Fine}]}\n"
        )
        program = scripted(server, tmp_path, rules)
        server.box("Broken")
        server.box("Fine")
        program.run("run", "--once")
        server.box().add(message(1, subject="bad"))
        server.box().add(message(2, subject="good"))
        server.script(rb"STATUS .*Broken", b"{tag} NO [SERVERBUG] internal error\r\n")
        program.run("run", "--once", status=75)
        server.box().add(message(3, subject="good"))
        program.run("run", "--once", status=None)
        states = {(e["rule"], e["state"]) for e in program.log()}
        assert states == {("bad", "later"), ("good", "done")}
        assert len(server.box("Fine").mails) == 2 and len(server.box().mails) == 1


def test_one_missing_mailbox_does_not_starve_the_others(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """Of several mailboxes on one connection, one that fails is passed over."""
    create(dovecot, user, "A", "B")
    rules = "rules:\n  - {name: all, when: always, then: [{move: Moved}]}\n"
    text = account(dovecot, user, mailboxes=["INBOX", "A", "Missing", "B"])
    with Program(tmp_path, "accounts:\n" + text + rules) as program:
        program.start()
        program.wait_for(f"{user}/B: watched from now on")
        assert "'Missing' does not exist" in program.said()
        assert program.stop() == 0


def test_an_unknown_condition_is_in_the_log_and_costs_no_other(
    dovecot: Dovecot, user: str, tmp_path: Path
) -> None:
    """`gmail_label` elsewhere makes its own rule unknown; the others read their facts as always."""
    rules = (
        "rules:\n  - {name: plain, when: {subject: hello}, then: [{flag: $P}]}\n"
        "  - {name: gm, when: {any: [{gmail_label: x}, {subject: either}]}, then: [{flag: $G}]}\n"
    )
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + rules) as program:
        program.run("run", "--once")
        dovecot.append(user, [message(1, subject="hello"), message(2, subject="either")])
        program.run("run", "--once")
        log = {(e["rule"], e["uid"]): e["state"] for e in program.log()}
        assert log == {("plain", 1): "done", ("gm", 1): "skipped", ("gm", 2): "done"}
        (skipped,) = program.log("--state", "skipped")
        assert "Gmail" in skipped["detail"]["because"]


def test_plan_comes_before_the_first_run(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """`plan` and `explain --uid` need no journal, also with globs among the mailboxes."""
    create(dovecot, user, "Li/st")
    (uid,) = dovecot.append(user, message(1))
    rules = "rules:\n  - {name: all, when: always, then: [{move: Moved}]}\n"
    text = "accounts:\n" + account(dovecot, user, mailboxes=["INBOX", '"Li/*"', '"No/*"']) + rules
    with Program(tmp_path, text) as program:
        assert program.json("plan")[-1]["summary"]["matched"] == 1
        program.run("run", "--once")
        assert program.json("plan")[-1]["summary"]["matched"] == 1
        (explained,) = program.json("explain", "--uid", str(uid), "--mailbox", "INBOX")
        (planned, _) = program.json("plan", "--mailbox", "INBOX")
        assert planned == explained, "plan says of each message what explain says"


def test_a_run_that_hangs_ends_when_told(tmp_path: Path) -> None:
    """SIGTERM ends `run --once` within ten seconds, also while a server does not answer."""
    with ScriptedServer(capability=FULL) as server:
        from tests.lab.scripted import HANG

        program = scripted(server, tmp_path, "  - {name: all, when: always, then: [keep]}\n")
        server.script(rb"UID SEARCH", HANG)
        with program:
            program.start("--once")
            deadline = time.monotonic() + 10
            while not any(b"UID SEARCH" in line for line in server.commands):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            began = time.monotonic()
            program.stop(timeout=15)
            assert time.monotonic() - began < 12


@pytest.mark.parametrize("refusal", [b"NO [UNAVAILABLE] not now", b"NO [NOPERM] never"])
def test_what_is_past_its_commit_point_is_not_sent_again(
    refusal: bytes, smtp_sink: SmtpSink, tmp_path: Path
) -> None:
    """A forward found at `commit` is unknown, whatever the IMAP server answers just then."""
    with ScriptedServer() as server:
        smtp = f"    smtp: {{host: 127.0.0.1, port: {smtp_sink.port}, security: none}}\nrules:\n"
        rules = "  - {name: all, when: always, then: [{forward: desk@example.test}]}\n"
        program = scripted(server, tmp_path, rules)
        program.config.write_text(program.config.read_text().replace("rules:\n", smtp))
        program.run("run", "--once")
        server.box().add(message(1))
        smtp_sink.plan("rcpt", "451 later")
        program.run("run", "--once", status=None)
        with opened(program.state / "journal.db") as journal:  # as a crash leaves it
            journal.execute("UPDATE effect SET state = 'commit', next_try = NULL")
        server.script(rb"UID (SEARCH|FETCH)", b"{tag} " + refusal + b"\r\n", times=6)
        for _ in range(8):
            program.run("run", "--once", status=None)
            with opened(program.state / "journal.db") as journal:
                journal.execute("UPDATE effect SET next_try = 0 WHERE state = 'later'")
        assert smtp_sink.messages == []
        assert [e["state"] for e in program.log()] == ["unknown"]


def test_a_destination_that_can_not_be_looked_into_holds_up_nobody(tmp_path: Path) -> None:
    """A move that a crash left begun, into a mailbox that is closed to us now: other mail is judged."""
    with ScriptedServer() as server:
        rules = (
            "  - {name: shut, when: {subject: shut}, then: [{move: Shut}]}\n"
            "  - {name: open, when: {subject: open}, then: [{move: Open}]}\n"
        )
        program = scripted(server, tmp_path, rules)
        server.box("Shut")
        server.box("Open")
        program.run("run", "--once")
        server.box().add(message(1, subject="shut"))
        server.script(rb"UID MOVE", CUT, times=1)
        program.run("run", "--once", status=75)
        server.script(rb"EXAMINE .*Shut", b"{tag} NO [NOPERM] not for you\r\n")
        server.box().add(message(2, subject="open"))
        program.run("run", "--once", status=None)
        assert len(server.box("Open").mails) == 1 and len(server.box().mails) == 1
