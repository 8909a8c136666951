"""One message's trouble is its own (P4): scripts that hang, relays that are slow, and everybody else."""

from __future__ import annotations

import stat
import time
from pathlib import Path

import pytest

from tests.lab.dovecot import Dovecot, message
from tests.lab.program import Program, account
from tests.lab.smtp import SmtpSink


def uids(server: Dovecot, user: str, mailbox: str) -> int:
    with server.session(user) as client:
        if client.select(f'"{mailbox}"', readonly=True)[0] != "OK":
            return 0
        return len(client.uid("SEARCH", "ALL")[1][0].split())


def script(folder: Path, text: str) -> None:
    path = folder / "script"
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


HANGS = """rules:
  - name: slow
    when: {subject: slow}
    then:
      - script: {run: [./script], timeout: 60s}
      - flag: $After
      - move: Slow
  - {name: quick, when: {subject: quick}, then: [{move: Quick}]}
"""


def test_a_script_that_hangs_holds_up_its_own_message_only(
    dovecot: Dovecot, user: str, tmp_path: Path
) -> None:
    """Others of its mailbox go on at once; its own later effects wait for it, in their order."""
    script(tmp_path, f"until [ -e {tmp_path}/go ]; do sleep 0.05; done\n")
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + HANGS) as program:
        program.start()
        program.wait_for("watched from now on")
        dovecot.append(user, message(1, subject="slow"))
        program.wait_for(lambda: any(e["state"] == "running" for e in program.log()), timeout=40)
        for n in (2, 3):
            dovecot.append(user, message(n, subject="quick"))
            program.wait_for(lambda n=n: uids(dovecot, user, "Quick") == n - 1, timeout=30)
        assert [e["state"] for e in program.log("--rule", "slow")] == ["running", "planned", "planned"]
        (tmp_path / "go").touch()
        program.wait_for(lambda: uids(dovecot, user, "Slow") == 1, timeout=30)
        assert program.stop() == 0
        assert {e["state"] for e in program.log()} == {"done"}


def test_a_relay_that_does_not_answer_holds_up_its_own_message_only(
    dovecot: Dovecot, user: str, smtp_sink: SmtpSink, tmp_path: Path
) -> None:
    """While one forward waits for the final reply, other mail is forwarded and filed."""
    smtp = f"{{host: 127.0.0.1, port: {smtp_sink.port}, security: none}}"
    rules = "rules:\n  - name: out\n    when: always\n    then: [{forward: desk@example.test}, {move: Out}]\n"
    smtp_sink.plan("end", ("sleep", 8))
    with Program(tmp_path, "accounts:\n" + account(dovecot, user, smtp=smtp) + rules) as program:
        program.start()
        program.wait_for("watched from now on")
        dovecot.append(user, message(1))
        program.wait_for(lambda: any(e["state"] == "running" for e in program.log()), timeout=40)
        dovecot.append(user, [message(2), message(3)])
        program.wait_for(lambda: uids(dovecot, user, "Out") >= 2, timeout=30)
        program.wait_for(lambda: uids(dovecot, user, "Out") == 3, timeout=40)
        assert program.stop() == 0
    assert len(smtp_sink.messages) == 3


@pytest.mark.parametrize("command", [("run", "--once"), ("apply", "--yes")])
def test_a_command_waits_for_what_it_began(
    command: tuple[str, ...], dovecot: Dovecot, user: str, tmp_path: Path
) -> None:
    """More scripts than may run at a time: when the command ends, each has run once and all have left."""
    script(tmp_path, f"cat > /dev/null; echo x >> {tmp_path}/ran\n")
    rules = "rules:\n  - {name: all, when: always, then: [{script: [./script]}, {move: Done}]}\n"
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + rules) as program:
        program.run("run", "--once")
        dovecot.append(user, [message(n) for n in range(20)])
        program.run(*command, timeout=100)
        assert uids(dovecot, user, "Done") == 20
        assert (tmp_path / "ran").read_text().count("x") == 20
        assert {e["state"] for e in program.log()} == {"done"}


def test_a_kill_in_the_middle_of_errands(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """Scripts that ran when the worker was killed are unknown, the others run; none runs twice."""
    script(tmp_path, f"cat > /dev/null; echo $MAILRULES_UID >> {tmp_path}/ran; sleep 5\n")
    rules = "rules:\n  - {name: all, when: always, then: [{script: [./script]}, {move: Done}]}\n"
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + rules) as program:
        program.run("run", "--once")
        dovecot.append(user, [message(n) for n in range(10)])
        program.start()
        ran = tmp_path / "ran"
        program.wait_for(lambda: ran.exists() and len(ran.read_text().split()) >= 3, timeout=40)
        program.kill()
        time.sleep(0.5)
        script(tmp_path, f"cat > /dev/null; echo $MAILRULES_UID >> {tmp_path}/ran\n")
        program.run("run", "--once", status=None, timeout=100)
        states = [e["state"] for e in program.log("--action", "script")]
        again = ran.read_text().split()
        assert len(again) == len(set(again)), "no script runs twice"
        assert set(states) == {"done", "unknown"} and states.count("done") >= 2
        assert uids(dovecot, user, "Done") == states.count("done")
