"""`plan`, `plan --save`, `plan --against` and `apply` against a real Dovecot."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.json_contract import problems
from tests.lab.dovecot import Dovecot, message
from tests.lab.program import Program, account
from tests.lab.proxy import FaultProxy

RULES = """
rules:
  - name: invoices
    when: {subject: invoice}
    then: [{flag: $Invoice}, {move: Accounting/2026}]
  - name: notes
    when: {subject: note, seen: false}
    then: [{mark: read}]
"""


@pytest.fixture
def program(dovecot: Dovecot, user: str, tmp_path: Path) -> Program:
    return Program(tmp_path, "accounts:\n" + account(dovecot, user) + RULES)


def mail(server: Dovecot, user: str, mailbox: str = "INBOX") -> dict[str, frozenset[str]]:
    """Subject -> flags, but \\Recent, of what is in a mailbox."""
    with server.session(user) as client:
        if client.select(f'"{mailbox}"', readonly=True)[0] != "OK":
            return {}
        told = client.uid("FETCH", "1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1]
    found = {}
    for head, block in (each for each in told if isinstance(each, tuple)):
        flags = re.search(rb"FLAGS \(([^)]*)\)", head)
        subject = block.decode().partition(":")[2].strip()
        found[subject] = frozenset((flags[1] if flags else b"").decode().split()) - {"\\Recent"}
    return found


def store(server: Dovecot, user: str, uid: int, flags: str) -> None:
    with server.session(user, "INBOX") as client:
        assert client.uid("STORE", str(uid), "+FLAGS", f"({flags})")[0] == "OK"


def fitting(name: str, values: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    values = list(values)
    for value in values:
        assert problems(name, value) == [], value
    return values


def test_a_kept_plan_is_done_and_nothing_else(dovecot: Dovecot, user: str, program: Program) -> None:
    """`apply FILE` does to each message what the plan says; mail that came after it is not touched."""
    dovecot.append(user, [message(n, subject=f"invoice {n}") for n in range(3)])
    dovecot.append(user, message(subject="a note"))
    path = program.directory / "monday.plan"
    planned = fitting("plan", program.json("plan", "--save", str(path)))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["uid"] for line in fitting("planfile", lines)[1:-1]] == [p["uid"] for p in planned[:-1]]
    dovecot.append(user, [message(subject="invoice new"), message(subject="another note")])
    done = fitting("plan", program.json("apply", str(path), "--yes"))
    assert [(d["uid"], d["actions"]) for d in done[:-1]] == [(p["uid"], p["actions"]) for p in planned[:-1]]
    assert done[-1]["summary"] == planned[-1]["summary"]
    assert mail(dovecot, user) == {
        "a note": {"\\Seen"}, "invoice new": frozenset(), "another note": frozenset(),
    }  # fmt: skip
    assert set(mail(dovecot, user, "Accounting/2026")) == {"invoice 0", "invoice 1", "invoice 2"}
    assert {entry["state"] for entry in program.log()} == {"done"}


def test_what_was_put_back_is_marked(dovecot: Dovecot, user: str, program: Program) -> None:
    """`apply` takes away again what an undo or a person put back, so the plan says how much of it that is."""
    dovecot.append(user, [message(n, subject=f"invoice {n}") for n in range(3)])
    assert "put back" not in program.run("apply", "--yes").stdout
    (run,) = {entry["run"] for entry in program.log()}
    program.run("undo", "--run", str(run), "--yes")
    dovecot.append(user, message(9, subject="invoice 9"))
    assert "3 of these were put back before" in program.run("plan").stdout
    planned = fitting("plan", program.json("plan"))[:-1]
    assert [one.get("returned", False) for one in planned] == [True, True, True, False]
    program.run("apply", "--yes")
    assert len(mail(dovecot, user, "Accounting/2026")) == 4
    with dovecot.session(user, "Accounting/2026") as client:
        client.uid("MOVE", "*", "INBOX")
    assert "1 of these was put back before" in program.run("plan").stdout


def test_what_changed_since_is_left_out_and_named(dovecot: Dovecot, user: str, program: Program) -> None:
    """Gone, moved, or with a flag that a condition reads: it is left out; another flag is no matter."""
    dovecot.append(user, [message(n, subject=f"invoice {n}") for n in (1, 2, 3)])  # UIDs 1 to 3
    dovecot.append(user, [message(n, subject=f"note {n}") for n in (4, 5)])
    path = program.directory / "a.plan"
    program.run("plan", "--save", str(path))
    store(dovecot, user, 2, "\\Answered $Mine")
    store(dovecot, user, 4, "\\Seen $Invoice")
    with dovecot.session(user, "INBOX") as client:
        client.uid("STORE", "1", "+FLAGS", "(\\Deleted)")
        client.uid("EXPUNGE", "1")
        client.create("Elsewhere")
        client.uid("MOVE", "3", "Elsewhere")
    shown = program.run("apply", str(path), "--yes").stdout
    assert "UID 1 " in shown and "UID 3 " in shown and "not there any more" in shown
    assert re.search(r"UID 4 .*\n.*flags have changed, and rules read them: \$Invoice \\Seen", shown)
    assert "UID 2 " not in shown and "UID 5 " not in shown
    assert set(mail(dovecot, user, "Accounting/2026")) == {"invoice 2"}
    assert mail(dovecot, user, "Accounting/2026")["invoice 2"] >= {"\\Answered", "$Mine", "$Invoice"}
    assert mail(dovecot, user) == {"note 4": {"\\Seen", "$Invoice"}, "note 5": {"\\Seen"}}


def test_a_rule_that_has_changed_does_nothing(dovecot: Dovecot, user: str, program: Program) -> None:
    """What is not in the file does not run: a message whose rule's text is another now is left out."""
    dovecot.append(user, [message(subject="invoice"), message(subject="note")])
    path = program.directory / "a.plan"
    program.run("plan", "--save", str(path))
    program.config.write_text(program.config.read_text().replace("subject: invoice", "subject: bill"))
    done = program.run("apply", str(path), "--yes")
    assert "rule 'invoices' has changed since" in done.stdout
    said = " ".join(done.stderr.split())
    assert "Since this plan was made, rule 'invoices' has changed: its messages are left out." in said
    assert mail(dovecot, user) == {"invoice": frozenset(), "note": {"\\Seen"}}


def test_another_comment_is_no_change(dovecot: Dovecot, user: str, program: Program) -> None:
    """Comments and rules that the plan does not use may change: all of it is done, without a word."""
    dovecot.append(user, [message(subject="invoice")])
    path = program.directory / "a.plan"
    program.run("plan", "--save", str(path))
    text = program.config.read_text().replace("seen: false}", "seen: true}")
    program.config.write_text(text.replace("- name: invoices", "- name: invoices   # of all kinds"))
    done = program.run("apply", str(path), "--yes")
    assert "since" not in (done.stdout + done.stderr).lower()
    assert set(mail(dovecot, user, "Accounting/2026")) == {"invoice"}


def test_a_mailbox_that_was_numbered_anew_is_left_out(dovecot: Dovecot, user: str, program: Program) -> None:
    """Another UIDVALIDITY: the plan's numbers name other messages now, so nothing is done."""
    dovecot.append(user, message(subject="invoice"))
    path = program.directory / "a.plan"
    program.run("plan", "--save", str(path))
    dovecot.doveadm("mailbox", "update", "--uid-validity", "4242", "-u", user, "INBOX")
    shown = fitting("plan", program.json("apply", str(path), "--yes"))
    assert "numbered anew" in shown[0]["left_out"]["reason"] and len(shown) == 2
    assert set(mail(dovecot, user)) == {"invoice"}


def test_the_same_plan_again_does_nothing_twice(dovecot: Dovecot, user: str, program: Program) -> None:
    """A plan that was done is known to be done, also where its own flags are what a condition reads."""
    program.config.write_text(program.config.read_text().replace("{flag: $Invoice}", "{copy: Copies}"))
    dovecot.append(user, [message(subject="invoice"), message(subject="note")])
    path = program.directory / "a.plan"
    program.run("plan", "--save", str(path))
    program.run("apply", str(path), "--yes")
    again = program.json("apply", str(path), "--yes")
    assert [a["left_out"]["done"] for a in again[:-1]] == [True, True]
    assert again[-1]["summary"]["matched"] == 0
    assert "2 messages of the plan were done before" in program.run("apply", str(path), "--yes").stdout
    assert len(mail(dovecot, user, "Copies")) == 1 and len(program.log()) == 3


def test_ctrl_c_stops_and_the_same_plan_goes_on(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """Stopped in the middle, it says how far it came; the same command does the rest, each message once."""
    script = tmp_path / "note"
    script.write_text('#!/bin/sh\nsleep 0.05\ngrep -i ^subject >> "$(dirname "$0")/seen"\nexit 0\n')
    script.chmod(0o755)
    rules = "rules:\n  - {name: noting, when: {seen: false}, then: [{script: [./note]}, {mark: read}]}\n"
    program = Program(tmp_path, "accounts:\n" + account(dovecot, user) + rules)
    dovecot.append(user, [message(n, subject=f"message {n}") for n in range(100)])
    path = tmp_path / "a.plan"
    program.run("plan", "--save", str(path))
    seen = tmp_path / "seen"
    running = subprocess.Popen(
        program.arguments("apply", str(path), "--yes"), env=program.environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not (seen.exists() and seen.read_text().count("\n") > 3) and time.monotonic() < deadline:
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 130, said
    assert re.search(r"of 100 messages found, \d+ are through, \d+ are begun", said), said
    assert f"mailrules apply {path}" in said and "`mailrules undo --run 1` takes what is done back" in said
    assert 0 < seen.read_text().count("\n") < 100
    program.run("apply", str(path), "--yes")
    lines = seen.read_text().splitlines()
    assert len(lines) == len(set(lines)) == 100
    assert set(mail(dovecot, user).values()) == {frozenset({"\\Seen"})}


def test_ctrl_c_lets_the_worker_finish_the_step(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """With a worker, Ctrl-C ends the command; the worker does what was begun, and the same plan the rest."""
    script = tmp_path / "note"
    script.write_text('#!/bin/sh\nsleep 0.05\ngrep -i ^subject >> "$(dirname "$0")/seen"\nexit 0\n')
    script.chmod(0o755)
    rules = "rules:\n  - {name: noting, when: {seen: false}, then: [{script: [./note]}, {mark: read}]}\n"
    dovecot.append(user, [message(n, subject=f"message {n}") for n in range(120)])
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + rules) as program:
        program.start()
        program.wait_for("watched from now on")
        path, seen = tmp_path / "a.plan", tmp_path / "seen"
        program.run("plan", "--save", str(path))
        running = subprocess.Popen(
            program.arguments("apply", str(path), "--yes"), env=program.environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        program.wait_for(lambda: seen.exists() and seen.read_text().count("\n") > 3)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=30)
        assert running.returncode == 130 and "were through when the worker last told" in said
        assert re.search(r"`mailrules undo --run \d+` takes what is done back", said)
        program.run("apply", str(path), "--yes")
        lines = seen.read_text().splitlines()
        assert len(lines) == len(set(lines)) == 120
        assert set(mail(dovecot, user).values()) == {frozenset({"\\Seen"})}
        assert program.stop() == 0


def test_a_plan_survives_the_death_of_whoever_does_it(dovecot: Dovecot, user: str, program: Program) -> None:
    """Killed in the middle, the same command does the rest: every message once where the plan has it."""
    dovecot.append(user, [message(n, subject=f"invoice {n}") for n in range(600)])
    path = program.directory / "a.plan"
    program.run("plan", "--save", str(path))
    running = subprocess.Popen(
        program.arguments("apply", str(path), "--yes", "--over-brakes"), env=program.environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    with dovecot.session(user, "INBOX") as client:
        deadline = time.monotonic() + 30
        while client.uid("SEARCH", "KEYWORD", "$Invoice")[1] == [b""] and time.monotonic() < deadline:
            time.sleep(0.005)
    running.kill()
    running.wait(10)
    program.run("apply", str(path), "--yes", "--over-brakes")
    assert mail(dovecot, user) == {}
    filed = mail(dovecot, user, "Accounting/2026")
    assert len(filed) == 600 and set(filed.values()) == {frozenset({"$Invoice"})}
    with dovecot.session(user, "Accounting/2026") as client:
        assert len(client.uid("SEARCH", "ALL")[1][0].split()) == 600
    assert [entry["state"] for entry in program.log()] == ["done"] * 1200


def test_a_dry_run_of_a_plan_leaves_it_to_be_done(dovecot: Dovecot, user: str, program: Program) -> None:
    """Said only, it is not done; what a rule of the plan only says is said once."""
    dovecot.append(user, [message(subject="invoice"), message(subject="note")])
    text = program.config.read_text().replace(
        "when: {subject: note", "dry_run: true\n    when: {subject: note"
    )
    program.config.write_text(text + "settings: {dry_run: true}\n")
    path = program.directory / "a.plan"
    program.config.write_text(text)
    program.run("plan", "--save", str(path))
    program.config.write_text(text + "settings: {dry_run: true}\n")
    assert "would" in program.run("apply", str(path), "--yes").stdout
    assert set(mail(dovecot, user)) == {"invoice", "note"}
    program.config.write_text(text)
    for _ in range(2):
        program.run("apply", str(path), "--yes")
        assert mail(dovecot, user) == {"note": frozenset()}
    assert [entry["state"] for entry in program.log("--rule", "notes")] == ["would", "would"]


def test_a_running_worker_does_a_kept_plan(dovecot: Dovecot, user: str, program: Program) -> None:
    """The worker is handed the open file; what it has acted on itself since is left out."""
    dovecot.append(user, [message(n, subject=f"invoice {n}") for n in range(3)])
    with program:
        program.start()
        program.wait_for("watched from now on")
        path = program.directory / "a.plan"
        planned = program.json("plan", "--save", str(path))
        path.chmod(0o400)
        done = program.json("apply", str(path), "--yes")
        assert [d["uid"] for d in done[:-1]] == [p["uid"] for p in planned[:-1]]
        assert len(mail(dovecot, user, "Accounting/2026")) == 3
        program.run("pause", "notes")
        dovecot.deliver(user, message(subject="a note"))
        program.wait_for(lambda: any(entry["state"] == "held" for entry in program.log()))
        assert program.stop() == 0
    later = program.directory / "later.plan"
    program.run("resume", "notes")
    program.run("plan", "--save", str(later))
    program.run("run", "--once")
    left = program.json("apply", str(later), "--yes")
    assert (
        "mailrules acted on it since" in left[0]["left_out"]["reason"] or left[-1]["summary"]["matched"] == 0
    )
    assert mail(dovecot, user) == {"a note": {"\\Seen"}}


def test_the_brake_holds_a_kept_plan_too(dovecot: Dovecot, user: str, program: Program) -> None:
    """More than half of a mailbox of over 100 messages does not leave it because a file says so."""
    dovecot.append(user, [message(n, subject="invoice" if n % 3 else "hello") for n in range(120)])
    path = program.directory / "a.plan"
    program.run("plan", "--save", str(path))
    assert "--over-brakes" in program.run("apply", str(path), "--yes", status=1).stderr
    assert len(program.log()) == 0
    program.run("apply", str(path), "--yes", "--over-brakes")
    assert len(mail(dovecot, user, "Accounting/2026")) == 1  # one subject: invoice
    assert len(program.log("--action", "move")) == 80


def test_plan_says_what_the_brakes_would_stop(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """The limit of a rule and the half of the mailbox, before; `apply` then does as it was said."""
    rules = (
        "rules:\n"
        "  - {name: few, when: {subject: x}, then: [{flag: $X}], limits: {per_run: 30, per_hour: 50}}\n"
        "  - {name: most, when: {subject: y}, then: [{move: Y}]}\n"
    )
    program = Program(tmp_path, "accounts:\n" + account(dovecot, user) + rules)
    dovecot.append(user, [message(n, subject="x" if n % 3 == 0 else "y") for n in range(120)])
    shown = program.run("plan").stdout
    assert "rule 'few': 30 of 40 messages, then its limit pauses it (per_run: 30); 10 would be held." in shown
    assert f"{user}/INBOX: 80 of 120 messages would leave the mailbox" in shown
    assert "rule 'few': 30 of 40" in program.run("plan", "--json").stderr
    program.run("apply", "--yes", "--over-brakes")
    states = [entry["state"] for entry in program.log("--rule", "few")]
    assert (states.count("done"), states.count("held")) == (30, 10)


def test_what_is_done_once_is_not_planned_again(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """What `apply` would not do, because it was done before, `plan` does not promise."""
    (tmp_path / "noting").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "noting").chmod(0o755)
    rules = "rules:\n  - {name: noting, when: {subject: x}, then: [{script: [./noting]}]}\n"
    program = Program(tmp_path, "accounts:\n" + account(dovecot, user) + rules)
    dovecot.append(user, message(subject="x"))
    assert program.json("plan")[-1]["summary"]["effects"] == {"script": 1}
    program.run("apply", "--yes")
    planned = program.json("plan")
    assert planned[0]["actions"] == [] and planned[-1]["summary"]["effects"] == {}
    assert "script not again" in program.run("plan").stdout
    assert program.json("apply", "--yes", "--again")[-1]["summary"]["effects"] == {"script": 1}
    assert [entry["state"] for entry in program.log()] == ["done", "done"]


def test_plan_shows_where_mail_would_go(dovecot: Dovecot, user: str, program: Program) -> None:
    """Per rule, in the file's order: a count, who, what, from where to where; new mailboxes."""
    dovecot.append(user, [message(subject="a note"), *(message(n, subject=f"invoice {n}") for n in range(5))])
    shown = program.run("plan", "-v")
    assert shown.stdout.splitlines() == [
        "invoices  5 messages",
        *(
            line
            for n in range(3)
            for line in (
                f"  ann@example.test              invoice {n}",
                "      flag $Invoice, INBOX → Accounting/2026",
            )
        ),
        "  … and 2 more",
        "notes  1 message",
        "  ann@example.test              a note",
        "      flag \\Seen",
        "New mailboxes:",
        "  Accounting/2026  5 messages",
        "6 messages looked at, 6 matched.",
        "Would do: 6 flag, 5 move.",
        "Nothing was changed. `mailrules apply` does it.",
    ]
    assert "no SEARCH" in shown.stderr and "FETCH FLAGS BODY[HEADER.FIELDS (SUBJECT)]" in shown.stderr
    assert len(mail(dovecot, user)) == 6


def test_plan_says_what_search_is_asked(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """`-v` shows the SEARCH that spares work, and that it is trusted where the file says so."""
    rules = "rules:\n  - {name: big, when: {larger_than: 1MB, body: x}, then: [{flag: $Big}]}\n"
    program = Program(tmp_path, "accounts:\n" + account(dovecot, user) + rules)
    dovecot.append(user, [message(n) for n in range(60)])
    assert "60 messages: SEARCH (LARGER 1000000); FETCH" in (said := program.run("plan", "-v").stderr)
    assert "where that leaves it open, body" in said
    program.config.write_text("accounts:\n" + account(dovecot, user, trust_search="true") + rules)
    assert "trust_search" in program.run("plan", "-v").stderr


def test_against_lists_exactly_what_differs(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """Two files that differ in one condition: the messages where that condition differs."""
    rules = (
        "rules:\n"
        "  - {name: a, when: {subject: [%s]}, then: [{move: A}]}\n"
        "  - {name: b, when: {body: hello}, then: [{flag: $B}]}\n"
    )
    head = "accounts:\n" + account(dovecot, user)
    program = Program(tmp_path, head + rules % "1, 7")
    old = tmp_path / "old.yaml"
    old.write_text(head + rules % "1, 5")
    dovecot.append(user, [message(n, subject=f"subject {n}") for n in range(120)])
    # Computed from the subjects alone.
    expected = {
        n + 1 for n in range(120)
        if ("1" in str(n) or "7" in str(n)) != ("1" in str(n) or "5" in str(n))
    }  # fmt: skip
    found = fitting("against", program.json("plan", "--against", str(old)))
    assert {f["uid"] for f in found[:-1]} == expected and len(found) == len(expected) + 1
    for each in found[:-1]:
        n = str(each["uid"] - 1)
        moves = {"old": "5" in n, "new": "7" in n}
        for side, moved in moves.items():
            assert [a["action"] for a in each[side]["actions"]] == (["move"] if moved else ["flag"])
    assert found[-1]["summary"]["matched"] == len(expected) and found[-1]["summary"]["messages"] == 120
    shown = program.run("plan", "--against", str(old)).stdout
    assert f"{len(expected)} messages of 120 would be treated differently" in shown
    assert program.json("plan", "--against", str(program.config)) == [
        {"summary": {"messages": 120, "matched": 0, "rules": {}, "effects": {}}}
    ]
    assert len(mail(dovecot, user)) == 120


def test_against_asks_the_server_once(dovecot: Dovecot, user: str, tmp_path: Path, proxy: FaultProxy) -> None:
    """Both rule sets are judged over the same facts: one FETCH of the union brings them."""
    sent: list[bytes] = []
    proxy.rewrite("c2s", lambda data: sent.append(data) or data)
    head = "accounts:\n" + account(dovecot, user, port=proxy.port)
    program = Program(tmp_path, head + "rules:\n  - {name: a, when: {subject: z}, then: [{flag: A}]}\n")
    old = tmp_path / "old.yaml"
    old.write_text(head + "rules:\n  - {name: a, when: {from: z@example.org}, then: [{flag: A}]}\n")
    dovecot.append(user, [message(n) for n in range(20)])
    program.run("plan", "--against", str(old))
    asked = re.findall(rb"UID FETCH [^\r]*", b"".join(sent))
    assert len(asked) == 1 and b"FROM" in asked[0] and b"SUBJECT" in asked[0]


def test_against_knows_what_each_file_watches(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """Mail in a mailbox that only one of the files watches is treated differently by that alone."""
    rules = "rules:\n  - {name: a, when: {subject: x}, then: [{flag: $A}]}\n"
    program = Program(tmp_path, "accounts:\n" + account(dovecot, user) + rules)
    old = tmp_path / "old.yaml"
    old.write_text("accounts:\n" + account(dovecot, user, mailboxes=("INBOX", "Tea*")) + rules)
    with dovecot.session(user) as client:
        client.create("Team")
    for mailbox in ("INBOX", "Team"):
        dovecot.append(user, message(subject="x"), mailbox)
    (found, _) = program.json("plan", "--against", str(old))
    assert found["mailbox"] == "Team" and found["new"]["actions"] == [] and found["old"]["actions"]


def test_apply_shows_asks_and_does_what_it_showed(dovecot: Dovecot, user: str, program: Program) -> None:
    """On a terminal of 80 columns: what is shown is done; what changes before the answer is left out."""
    dovecot.append(user, [message(n, subject=f"invoice {n} " + "long " * 30) for n in range(4)])
    dovecot.append(user, message(subject="note"))
    terminal = pexpect.spawn(
        sys.executable, program.arguments("apply")[1:], env=program.environment | {"TERM": "xterm"},
        dimensions=(40, 80), encoding="utf-8", timeout=30,
    )  # fmt: skip
    terminal.expect("Do it")
    screen = terminal.before
    assert not re.search(r"\x1b\[[0-9;]*[349][0-7]m", screen)  # NO_COLOR
    lines = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line).rpartition("\r")[2] for line in screen.split("\r\n")]
    assert "invoices  4 messages" in lines and any("INBOX → Accounting/2026" in line for line in lines)
    assert max(map(len, lines)) <= 80, lines
    store(dovecot, user, 5, "\\Seen")
    dovecot.append(user, message(subject="invoice after"))
    terminal.sendline("y")
    terminal.expect(pexpect.EOF)
    assert "Left out, since the plan was made: 1 message" in terminal.before
    assert "Effects: 8 done" in terminal.before
    terminal.close()
    assert terminal.exitstatus == 0
    assert set(mail(dovecot, user)) == {"note", "invoice after"}
    assert len(mail(dovecot, user, "Accounting/2026")) == 4


def test_no_means_no(dovecot: Dovecot, user: str, program: Program) -> None:
    """Any other answer, and Ctrl-C, change nothing; where nobody can answer, nothing is asked or done."""
    dovecot.append(user, message(subject="invoice"))
    for answer in ("n\n", "\x03", "\x04"):
        terminal = pexpect.spawn(
            sys.executable, program.arguments("apply")[1:], env=program.environment,
            encoding="utf-8", timeout=30,
        )  # fmt: skip
        terminal.expect("Do it")
        terminal.send(answer)
        terminal.expect("Nothing was changed")
        terminal.expect(pexpect.EOF)
    path = program.directory / "a.plan"
    program.run("plan", "--save", str(path))
    for arguments in (["apply"], ["apply", str(path)], ["apply", "--json"]):
        assert "--yes" in program.run(*arguments, status=2).stderr
    assert set(mail(dovecot, user)) == {"invoice"}


def test_no_count_where_nothing_was_looked_at(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """Of a server that nobody reaches only the error is said, with what to look at: 0 would be a result."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    program = Program(tmp_path, "accounts:\n" + account(dovecot, user, port=port) + RULES)
    for command in (("plan",), ("apply", "--yes"), ("plan", "--against", str(program.config))):
        shown = program.run(*command, status=75)
        assert shown.stdout == ""
        assert f"{user}: 127.0.0.1:{port}: can't connect: Connection refused. Check `host`" in shown.stderr


def test_an_empty_mailbox_is_counted(dovecot: Dovecot, user: str, program: Program) -> None:
    """It was looked at, and 0 is what there is; so too where another account fails."""
    assert program.run("plan").stdout == "0 messages looked at, 0 matched.\n"
    other = account(dovecot, f"{user}-nobody")
    program.config.write_text("accounts:\n" + account(dovecot, user) + other + RULES)
    shown = program.run("plan", status=None)
    assert f"{user}-nobody: " in shown.stderr
    assert shown.stdout == "0 messages looked at, 0 matched.\n"
