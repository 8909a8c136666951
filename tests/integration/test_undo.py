"""`undo` against a real Dovecot: everything is back where it was, with the flags it had."""

from __future__ import annotations

import imaplib
import json
import re
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.json_contract import objects
from tests.lab import gmail
from tests.lab.dovecot import Dovecot, message
from tests.lab.gmail import Hoodiecrow
from tests.lab.journal import opened
from tests.lab.program import Program, account

RULES = """
rules:
  - name: invoices
    when: {subject: invoice}
    then: [{flag: [$Invoice, flagged]}, {mark: read}, {copy: Keep}, {move: Accounting}]
"""

Mail = dict[str, frozenset[str]]


def mail(server: Dovecot, user: str, mailbox: str) -> Mail:
    """Subject -> flags of what is in a mailbox."""
    found: Mail = {}
    with server.session(user) as client:
        if client.select(f'"{mailbox}"', readonly=True)[0] != "OK":
            return found
        answer = client.uid("FETCH", "1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1]
        for part in answer:
            if isinstance(part, tuple):
                flags = part[0].decode().partition("FLAGS (")[2].partition(")")[0].split()
                subject = part[1].decode().strip().removeprefix("Subject: ")
                found[subject] = frozenset(flags) - {"\\Recent"}
    return found


def by_hand(server: Dovecot, user: str, mailbox: str, *command: str) -> None:
    """What a person does to the messages of a mailbox in a mail client."""
    with server.session(user, mailbox) as client:
        assert client.uid(*command)[0] == "OK"


@pytest.fixture
def program(dovecot: Dovecot, user: str, tmp_path: Path) -> Program:
    program = Program(tmp_path, "accounts:\n" + account(dovecot, user, special_use="{trash: Trash}") + RULES)
    program.run("run", "--once")
    with dovecot.session(user) as client:
        client.create("Trash")
    return program


def deliver(server: Dovecot, user: str, *subjects: str, flags: str = "") -> None:
    for n, subject in enumerate(subjects):
        (uid,) = server.append(user, message(n, subject=subject))
        if flags:
            by_hand(server, user, "INBOX", "STORE", str(uid), "+FLAGS", flags)


def undo(program: Program, *arguments: str, **options: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What `undo` says of each effect, and its summary."""
    said = program.run("undo", *arguments, "--yes", "--json", **options).stdout
    *taken, last = objects("undo", said)
    return taken, last["summary"]


def test_everything_is_taken_back(dovecot: Dovecot, user: str, program: Program) -> None:
    """Move, copy and flags go back: also a flag that the message had before stays."""
    deliver(dovecot, user, "invoice 1")
    deliver(dovecot, user, "invoice 2", flags="(\\Flagged)")
    before = mail(dovecot, user, "INBOX")
    program.run("run", "--once")
    assert mail(dovecot, user, "INBOX") == {}
    (run,) = {e["run"] for e in program.log()}
    taken, summary = undo(program, "--run", str(run))
    assert (summary["effects"], summary["undone"], summary["left"]) == (8, 8, 0)
    assert mail(dovecot, user, "INBOX") == before
    assert mail(dovecot, user, "Accounting") == mail(dovecot, user, "Keep") == {}
    assert mail(dovecot, user, "Trash").keys() == before.keys()
    log = program.log()
    assert all(e["undone"] for e in log if e["run"] == run)
    assert {e["undo"]["id"] for e in taken} == {e["undone"] for e in log if e["run"] == run}
    program.run("run", "--once")  # what was put back is left alone
    assert mail(dovecot, user, "INBOX") == before
    assert undo(program, "--run", str(run))[1]["undone"] == 0


def test_an_undo_can_be_undone(dovecot: Dovecot, user: str, program: Program) -> None:
    """To undo the undo does everything again, and that can be taken back once more."""
    deliver(dovecot, user, "invoice 1", "invoice 2")
    before = mail(dovecot, user, "INBOX")
    program.run("run", "--once")
    after = {name: mail(dovecot, user, name) for name in ("INBOX", "Accounting", "Keep", "Trash")}
    (run,) = {e["run"] for e in program.log()}
    first = undo(program, "--run", str(run))[1]["run"]
    again = undo(program, "--run", str(first))[1]["run"]
    assert {name: mail(dovecot, user, name) for name in after} == after
    assert not any(e["undone"] for e in program.log() if e["run"] == run)
    assert undo(program, "--run", str(first))[1]["undone"] == 0
    assert undo(program, "--run", str(again))[1]["undone"] == 8
    assert mail(dovecot, user, "INBOX") == before
    assert mail(dovecot, user, "Accounting") == mail(dovecot, user, "Keep") == {}
    assert all(e["undone"] for e in program.log() if e["run"] == run)


def test_flags_that_somebody_changed_since_stay(dovecot: Dovecot, user: str, program: Program) -> None:
    """A flag that was changed by hand since is not touched, and what is not taken back is named."""
    deliver(dovecot, user, "invoice 1")
    program.run("run", "--once")
    by_hand(dovecot, user, "Accounting", "STORE", "1", "-FLAGS", "(\\Flagged \\Seen)")
    by_hand(dovecot, user, "Accounting", "STORE", "1", "+FLAGS", "($Mine)")
    taken, _ = undo(program, "--since", "1h", "--rule", "invoices")
    assert mail(dovecot, user, "INBOX") == {"invoice 1": frozenset({"$Mine"})}
    flag, seen = (next(t for t in taken if t["arguments"].get("flags") == f) for f in (
        ["$Invoice", "\\Flagged"], ["\\Seen"],
    ))  # fmt: skip
    assert flag["undo"]["arguments"] == {"flags": ["$Invoice"]}
    assert "\\Flagged was taken off again since" in flag["because"]
    assert seen["undo"] is None and "\\Seen" in seen["because"]


def test_a_message_that_somebody_moved_on_is_left(dovecot: Dovecot, user: str, program: Program) -> None:
    """It is found by identity, said where, and left there; --force takes it back."""
    deliver(dovecot, user, "invoice 1", "invoice 2")
    program.run("run", "--once")
    with dovecot.session(user, "Accounting") as client:
        client.create("Elsewhere")
        assert client.uid("MOVE", "1", "Elsewhere")[0] == "OK"
    taken, _ = undo(program, "--since", "1h")
    moves = [t for t in taken if t["action"] == "move"]
    assert sorted((t["because"] or "")[:31] for t in moves) == ["", "it was moved on to Elsewhere by"]
    assert len(mail(dovecot, user, "Elsewhere")) == len(mail(dovecot, user, "INBOX")) == 1
    (lost,) = (t for t in moves if t["undo"] is None)
    _, summary = undo(program, str(lost["id"]), "--force")
    assert summary["undone"] == 1
    assert mail(dovecot, user, "Elsewhere") == {} and len(mail(dovecot, user, "INBOX")) == 2


def test_a_copy_is_left_where_the_original_is_gone(dovecot: Dovecot, user: str, program: Program) -> None:
    """The last copy of a message is never taken away; a copy whose original is there goes to the trash."""
    deliver(dovecot, user, "invoice 1", "invoice 2")
    program.run("run", "--once")
    with dovecot.session(user, "Accounting") as client:
        client.uid("STORE", "1", "+FLAGS", "(\\Deleted)")
        client.expunge()
    copies = [e["id"] for e in program.log("--action", "copy")]
    taken, summary = undo(program, *map(str, copies))
    assert (summary["undone"], summary["left"]) == (1, 1)
    assert ["original" in (t["because"] or "") for t in taken].count(True) == 1
    assert len(mail(dovecot, user, "Keep")) == len(mail(dovecot, user, "Trash")) == 1


def test_only_what_is_meant(dovecot: Dovecot, user: str, program: Program) -> None:
    """By effect, and by message: the others stay as they are. --dry-run changes nothing."""
    deliver(dovecot, user, "invoice 1", "invoice 2")
    program.run("run", "--once")
    log = program.log("--action", "flag")
    one = next(e for e in log if e["arguments"]["flags"] == ["\\Seen"])
    dry = program.run("undo", str(one["id"]), "--dry-run", "--json").stdout
    assert objects("undo", dry)[0]["undo"]["state"] == "would"
    assert "\\Seen" in mail(dovecot, user, "Accounting")[one["subject"]]
    undo(program, str(one["id"]))
    assert "\\Seen" not in mail(dovecot, user, "Accounting")[one["subject"]]
    other = next(e for e in log if e["subject"] != one["subject"])
    undo(program, "--message-id", other["message_id"])
    assert mail(dovecot, user, "INBOX") == {other["subject"]: frozenset()}
    assert mail(dovecot, user, "Accounting").keys() == {one["subject"]}


def test_undo_while_the_worker_runs(dovecot: Dovecot, user: str, program: Program) -> None:
    """The running worker takes it back, and leaves alone what reappears; so it does with a paused rule."""
    with program:
        program.start()
        program.wait_for("connected")
        dovecot.deliver(user, message(1, subject="invoice 1"))
        program.wait_for(lambda: len(mail(dovecot, user, "Accounting")) == 1)
        program.wait_for(lambda: {e["state"] for e in program.log()} == {"done"})
        program.run("pause", "invoices")
        _, summary = undo(program, "--since", "1h")
        assert (summary["undone"], summary["left"]) == (4, 0)
        dovecot.deliver(user, message(2, subject="another thing"))
        program.wait_for(lambda: len(mail(dovecot, user, "INBOX")) == 2)
        assert mail(dovecot, user, "INBOX")["invoice 1"] == frozenset()
        assert len(program.log()) == 8
        assert program.stop() == 0


def test_what_cannot_be_taken_back(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """What was sent, run or deleted is listed with its reason; nobody is asked for nothing."""
    rules = """
rules:
  - name: scripted
    when: {subject: run}
    then: [{script: ["true"]}]
  - name: away
    when: {subject: away}
    then: [{delete: permanently}]
"""
    program = Program(tmp_path, "accounts:\n" + account(dovecot, user) + rules)
    program.run("run", "--once")
    deliver(dovecot, user, "run", "away")
    program.run("run", "--once")
    taken, summary = undo(program, "--since", "1h")
    assert {(t["action"], t["undo"], bool(t["because"])) for t in taken} == {
        ("script", None, True), ("delete", None, True),
    }  # fmt: skip
    assert (summary["left"], summary["run"]) == (2, None)
    assert "deleted permanently" in program.run("undo", "--since", "1h", "--dry-run").stdout
    assert "nobody can be asked" in program.run("undo", "--since", "1h", status=2).stderr


def test_a_run_of_hundreds(dovecot: Dovecot, user: str, program: Program) -> None:
    """Hundreds of messages go back in sets, each with the flags it had; the table counts them."""
    subjects = [f"invoice {n}" for n in range(300)]
    dovecot.append(user, [message(n, subject=subject) for n, subject in enumerate(subjects)])
    by_hand(dovecot, user, "INBOX", "STORE", "1:150", "+FLAGS", "(\\Seen \\Flagged)")
    by_hand(dovecot, user, "INBOX", "STORE", "100:200", "+FLAGS", "($Invoice $Old)")
    before = mail(dovecot, user, "INBOX")
    program.run("apply", "--yes", "--over-brakes")
    assert mail(dovecot, user, "INBOX") == {}
    (run,) = {e["run"] for e in program.log()}
    said = program.run("undo", "--run", str(run), "--dry-run").stdout
    assert "move to INBOX" in said and "300" in said and all(len(line) <= 80 for line in said.splitlines())
    _, summary = undo(program, "--run", str(run))
    assert mail(dovecot, user, "INBOX") == before
    assert mail(dovecot, user, "Accounting") == mail(dovecot, user, "Keep") == {}
    assert json.loads(json.dumps(summary))["undone"] > 900


def test_labels(hoodiecrow: Hoodiecrow, tmp_path: Path) -> None:
    """Gmail's labels go back like flags: what the message had before stays, and what changed since."""
    where = f"host: 127.0.0.1, port: {hoodiecrow.port}, security: none, username: {gmail.USER}"
    rules = f"accounts:\n  g: {{{where}, password: {{env: GMAIL}}}}\nrules:\n"
    rules += "  - {name: trips, when: {subject: trip}, then: [{label: [Old, Travel, Later]}]}\n"
    with (
        Program(tmp_path, rules, environment={"GMAIL": gmail.PASSWORD}) as program,
        imaplib.IMAP4("127.0.0.1", hoodiecrow.port) as client,
    ):
        client.login(gmail.USER, gmail.PASSWORD)
        program.run("run", "--once")
        client.append("INBOX", "", "", message(1, subject="a trip"))
        client.select("INBOX")
        client.uid("STORE", "1", "+X-GM-LABELS", "(Old)")
        program.run("run", "--once")
        (labelled,) = program.log()
        assert labelled["detail"]["changed"] == ["Travel", "Later"]
        client.uid("STORE", "1", "-X-GM-LABELS", "(Later)")
        (taken,), _ = undo(program, "--since", "1h")
        assert taken["undo"]["arguments"] == {"labels": ["Travel"]}
        told = str(client.uid("FETCH", "1", "(X-GM-LABELS)"))
        assert "Old" in told and "Travel" not in told and "Later" not in told


def test_flags_that_were_held(dovecot: Dovecot, user: str, program: Program) -> None:
    """What a pause held for long changes only what is not so by then: the rest is not the effect's."""
    program.run("pause", "invoices")
    deliver(dovecot, user, "invoice 1")
    program.run("run", "--once")
    with opened(program.state / "journal.db") as journal:
        journal.execute("UPDATE effect SET created_at = created_at - 3600000000")
    by_hand(dovecot, user, "INBOX", "STORE", "1", "+FLAGS", "(\\Flagged)")
    program.run("resume", "invoices")
    program.run("run", "--once")
    _, summary = undo(program, "--run", str(program.log()[0]["run"]))
    assert summary["undone"] == 4
    assert mail(dovecot, user, "INBOX") == {"invoice 1": frozenset({"\\Flagged"})}


def test_rules_that_act_on_what_returns(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """Who is going to undo is told which rules would do it all again."""
    rules = RULES.replace("    when:", "    on_return: apply\n    when:")
    program = Program(tmp_path, "accounts:\n" + account(dovecot, user) + rules)
    program.run("run", "--once")
    deliver(dovecot, user, "invoice 1")
    program.run("run", "--once")
    told = program.run("undo", "--since", "1h", "--dry-run")
    assert "Rule 'invoices' acts again" in told.stderr and "pause invoices" in told.stderr


def test_it_shows_and_asks(dovecot: Dovecot, user: str, program: Program) -> None:
    """On a terminal of 80 columns: first what it would do, then the question; "n" changes nothing."""
    deliver(dovecot, user, "invoice 1 with a subject that is much longer than any terminal has columns")
    program.run("run", "--once")

    def answer(word: str) -> str:
        command, *rest = program.arguments("undo", "--since", "1h")
        terminal = pexpect.spawn(
            command, rest, env=program.environment | {"TERM": "xterm", "COLUMNS": "80"},
            dimensions=(24, 80), encoding="utf-8", timeout=60,
        )  # fmt: skip
        terminal.expect_exact("Take it back? [y/N]: ")
        shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", str(terminal.before))
        terminal.sendline(word)
        terminal.expect(pexpect.EOF)
        terminal.close()
        assert terminal.exitstatus == 0
        assert all(len(line) <= 80 for line in shown.splitlines()), shown
        return shown + str(terminal.before)

    screen = answer("n")
    assert re.search(r" 4 +move to Accounting +move to INBOX", screen) and "4 effects to take back" in screen
    assert "Nothing was changed." in screen and mail(dovecot, user, "INBOX") == {}
    assert "4 effects taken back" in answer("y")
    assert len(mail(dovecot, user, "INBOX")) == 1
