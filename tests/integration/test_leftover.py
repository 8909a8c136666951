"""What an interrupted `apply` left over, against a real Dovecot: finished first, or dropped by an undo."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from tests.integration.test_plan import mail
from tests.lab.dovecot import Dovecot, message
from tests.lab.program import Program, account
from tests.lab.proxy import Connection, FaultProxy

RULES = """
rules:
  - {name: invoices, when: {subject: invoice}, then: [{flag: flagged}, {move: Accounting}]}
  - {name: receipts, when: {subject: receipt}, then: [{flag: flagged}, {move: Receipts}]}
"""


@pytest.fixture
def program(dovecot: Dovecot, user: str, proxy: FaultProxy, tmp_path: Path) -> Program:
    """Three invoices and two receipts wait for `apply`."""
    program = Program(tmp_path, "accounts:\n" + account(dovecot, user, port=proxy.port) + RULES)
    dovecot.append(user, [message(n, subject=f"invoice {n}") for n in (1, 2, 3)])
    dovecot.append(user, [message(n, subject=f"receipt {n}") for n in (4, 5)])
    return program


def first(program: Program, rule: str) -> None:
    """One more rule, before the others."""
    text = program.config.read_text()
    program.config.write_text(text.replace("rules:\n", f"rules:\n  - {rule}\n"))


def interrupted(program: Program, at: FaultProxy | Path) -> str:
    """`apply --yes`, with Ctrl-C at its first MOVE, or when a file is there. What it says."""
    running = subprocess.Popen(
        program.arguments("apply", "--yes"), env=program.environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip

    def ctrl_c(_: Connection | None = None) -> None:
        os.kill(running.pid, signal.SIGINT)

    if isinstance(at, Path):
        program.wait_for(at.exists)
        ctrl_c()
    else:
        at.on(b"MOVE", "c2s", ctrl_c)
    said, _ = running.communicate(timeout=30)
    assert running.returncode == 130, said
    return said


def asked(program: Program, *arguments: str, question: str) -> tuple[str, str]:
    """What a command shows before it asks, and after it was told to do it."""
    terminal = pexpect.spawn(
        sys.executable, program.arguments(*arguments)[1:], env=program.environment, encoding="utf-8",
        timeout=30, dimensions=(50, 200),
    )  # fmt: skip
    terminal.expect_exact(question)
    before = str(terminal.before)
    terminal.sendline("y")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0, before + str(terminal.before)
    return before, str(terminal.before)


def test_what_was_left_is_finished_first_and_said(
    dovecot: Dovecot, user: str, program: Program, proxy: FaultProxy
) -> None:
    """`apply --yes` after Ctrl-C names the run whose messages it finishes, and both runs to be taken back."""
    interrupted(program, proxy)
    assert len(mail(dovecot, user)) == 2, "one set is moved, the other is not"
    dovecot.append(user, message(6, subject="invoice 6"))
    said = program.run("apply", "--yes").stdout
    assert "Finished first: 2 messages left from run 1." in said
    assert "`mailrules undo --run 2` takes them back." in said
    assert "What was left: `mailrules undo --run 1` takes back all of that run." in said
    assert mail(dovecot, user) == {}
    assert (len(mail(dovecot, user, "Accounting")), len(mail(dovecot, user, "Receipts"))) == (4, 2)


def test_the_question_says_what_is_finished_first(
    dovecot: Dovecot, user: str, program: Program, proxy: FaultProxy
) -> None:
    """The plan has it in a line, and what mailrules then moves itself is not called moved or deleted."""
    interrupted(program, proxy)
    dovecot.append(user, message(6, subject="invoice 6"))
    before, after = asked(program, "apply", question="Do it?")
    assert "First `apply` finishes 2 messages left from run 1: 2 move." in before
    assert "Finished first: 2 messages left from run 1." in after
    assert "Left out" not in after and "2 messages of the plan were done so, or before." in after
    assert "3 messages of the plan, 1 acted on." in after
    assert mail(dovecot, user) == {} and "`mailrules undo --run 1` takes back all of that run" in after


def test_a_message_that_left_meanwhile_with_more_to_be_done_is_named(
    dovecot: Dovecot, user: str, program: Program, proxy: FaultProxy
) -> None:
    """What the plan adds to what was left comes too late for it: left out, and why is true."""
    interrupted(program, proxy)
    first(program, "{name: all, when: always, then: [{mark: read}]}")
    _, after = asked(program, "apply", question="Do it?")
    assert "Left out, since the plan was made: 2 messages." in after
    assert "mailrules finished since what run 1 had left of it" in after and "not there any more" not in after


def test_ctrl_c_says_how_far_it_came(
    dovecot: Dovecot, user: str, program: Program, proxy: FaultProxy
) -> None:
    """Through, begun and not begun are told apart, with the way on and the way back."""
    said = interrupted(program, proxy)
    through = 5 - len(mail(dovecot, user))
    assert f"of 5 messages found, {through} are through, {5 - through} are begun and not finished" in said
    assert "0 are not begun" in said and 0 < through < 5
    assert "`mailrules apply` does the rest, `mailrules undo --run 1` takes what is done back" in said


def test_ctrl_c_before_anything_was_begun_says_so(dovecot: Dovecot, user: str, program: Program) -> None:
    """While messages are judged nothing is in the journal, and nothing is to be taken back."""
    script = program.directory / "ask"
    script.write_text(f"#!/bin/sh\ntouch {script}.d\nexec sleep 20\n")
    script.chmod(0o755)
    first(program, "{name: slow, when: {script: [./ask]}, then: [{mark: read}]}")
    said = interrupted(program, program.directory / "ask.d")
    assert "Stopped: nothing had been begun. `mailrules apply` does it." in " ".join(said.split())
    assert "undo" not in said and program.log() == []
    assert len(mail(dovecot, user)) == 5 and "Effects" not in said


def test_run_says_once_what_it_finishes_first(
    dovecot: Dovecot, user: str, program: Program, proxy: FaultProxy
) -> None:
    """After it has said that old mail is left alone, it says that it finishes what `apply` left."""
    interrupted(program, proxy)
    said = program.run("run", "--once").stderr
    assert said.count("left from") == 1 and "2 effects left from run 1 are finished first" in said
    assert mail(dovecot, user) == {}
    assert "left from" not in program.run("run", "--once").stderr


def test_undo_drops_what_was_never_begun(
    dovecot: Dovecot, user: str, program: Program, proxy: FaultProxy
) -> None:
    """The question says what happens: moves that were not begun are not made for the sake of an undo."""
    before = mail(dovecot, user)
    interrupted(program, proxy)
    shown, after = asked(program, "undo", "--run", "1", question="Take it back?")
    assert "8 effects to take back, 2 never begun and to be dropped, 0 left as they are." in shown
    assert "8 effects taken back, 2 never begun and dropped, 0 left as they are." in after
    assert mail(dovecot, user) == before and mail(dovecot, user, "Receipts") == {}
    states = [(e["action"], e["state"]) for e in program.log() if e["run"] == 1]
    assert sorted(states) == sorted(
        [("flag", "done")] * 5 + [("move", "done")] * 3 + [("move", "skipped")] * 2
    )
    program.run("run", "--once")
    assert mail(dovecot, user) == before, "nothing of it is left to be done"


def test_undo_leaves_what_other_runs_left(
    dovecot: Dovecot, user: str, program: Program, proxy: FaultProxy
) -> None:
    """An undo of one effect neither drops nor does what was left of others."""
    interrupted(program, proxy)
    done = next(e for e in program.log() if (e["action"], e["state"]) == ("move", "done"))
    program.run("undo", str(done["id"]), "--yes")
    states = [e["state"] for e in program.log() if e["run"] == 1 and e["action"] == "move"]
    assert sorted(states) == ["done"] * 3 + ["planned"] * 2 and len(mail(dovecot, user)) == 3


def test_undo_finds_out_what_was_begun(
    dovecot: Dovecot, user: str, program: Program, proxy: FaultProxy
) -> None:
    """Killed when a MOVE was sent and its answer was not read: that is found out first, then taken back."""
    before = mail(dovecot, user)
    running = subprocess.Popen(
        program.arguments("apply", "--yes"), env=program.environment, stdout=subprocess.DEVNULL
    )
    proxy.on(b"COPYUID", "s2c", lambda _: os.kill(running.pid, signal.SIGKILL))
    running.wait(30)
    assert len(mail(dovecot, user)) < 5, "it has moved"
    *taken, last = (json.loads(line) for line in program.run(
        "undo", "--run", "1", "--dry-run", "--json"
    ).stdout.splitlines())  # fmt: skip
    told = last["summary"]
    assert (told["begun"] > 0, told["dropped"] > 0, told["left"]) == (True, True, 0)
    assert {t["begun"] for t in taken if t["action"] == "move" and not t["dropped"]} == {True}
    *_, done = program.json("undo", "--run", "1", "--yes")
    assert done["summary"]["undone"] == told["undone"] + told["begun"]
    assert (done["summary"]["dropped"], done["summary"]["left"]) == (told["dropped"], 0)
    assert mail(dovecot, user) == before
