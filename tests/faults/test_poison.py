"""T30: a message that kills the process is quarantined after two deaths, and holds up nobody else (R10)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.poisoned import POISON
from tests.lab.dovecot import Dovecot, message
from tests.lab.journal import opened
from tests.lab.program import Program, account
from tests.lab.smtp import SmtpSink

MOVE = "  - {name: all, when: {subject: {glob: '*'}}, then: [{flag: $Seen}, {move: Done}]}\n"
FORWARD = "  - {name: all, when: {subject: {glob: '*'}}, then: [{forward: desk@example.test}]}\n"


class Poisoned(Program):
    """A worker with a fault (tests/faults/poisoned.py), until it is mended."""

    fault = ""

    def arguments(self, *arguments: str) -> list[str]:
        python, _, module, *rest = super().arguments(*arguments)
        if self.fault and arguments[0] == "run":
            return [python, "-m", "tests.faults.poisoned", self.fault, *rest]
        return [python, "-m", module, *rest]

    def dies(self, *, timeout: float = 60) -> None:
        """The worker is started, and dies."""
        self.start()
        assert self.worker is not None
        assert self.worker.wait(timeout) == -11, self.said()
        self.worker = None

    def journal(self, query: str) -> list[Any]:
        with opened(f"file:{self.state / 'journal.db'}?mode=ro", uri=True) as connection:
            return connection.execute(query).fetchall()

    def quarantined(self) -> list[tuple[str, int]]:
        found: list[tuple[str, int]] = self.journal(
            "SELECT account, uid FROM message WHERE state = 'quarantined'"
        )
        return found

    def count(self, state: str) -> int:
        """How many effects are in this state."""
        return int(self.journal(f"SELECT count(*) FROM effect WHERE state = '{state}'")[0][0])

    def nothing_lingers(self) -> None:
        """Nothing is in hand, and nobody is suspect who is not quarantined."""
        assert self.journal("SELECT * FROM in_hand") == []
        assert self.journal("SELECT * FROM message WHERE deaths > 0 AND state <> 'quarantined'") == []


@pytest.fixture
def start(dovecot: Dovecot, tmp_path: Path, smtp_sink: SmtpSink) -> Any:
    """A program with two accounts that know their mailboxes, and mail waiting: the poison among others."""

    def start(fault: str, rules: str) -> tuple[Poisoned, str, str]:
        mine, other = dovecot.new_user(), dovecot.new_user()
        smtp = f"{{host: 127.0.0.1, port: {smtp_sink.port}, security: none}}"
        accounts = "".join(account(dovecot, user, smtp=smtp) for user in (mine, other))
        program = Poisoned(tmp_path, f"accounts:\n{accounts}rules:\n{rules}")
        for user in (mine, other):
            with dovecot.session(user) as client:
                client.create("Done")
        program.run("run", "--once")
        program.fault = fault
        subjects = ["before 1", "before 2", POISON, "after 1", "after 2"]
        dovecot.append(mine, [message(subject=subject) for subject in subjects])
        dovecot.append(other, [message(subject=f"elsewhere {n}") for n in range(2)])
        return program, mine, other

    return start


def subjects(server: Dovecot, user: str, mailbox: str) -> list[str]:
    with server.session(user) as client:
        client.select(mailbox, readonly=True)
        _, answer = client.uid("FETCH", "1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    return sorted(part[1].decode().split(":", 1)[1].strip() for part in answer if isinstance(part, tuple))


def forwarded(program: Poisoned, sink: SmtpSink) -> Counter[str]:
    """How often each message arrived, after a worker died with others' forwards under way.

    What was past its commit point at the death is unknown: it may have arrived. Nothing came twice.
    """
    rows = program.journal("SELECT account, uid, subject FROM message")
    names = {(owner, uid): subject for owner, uid, subject in rows}
    came = Counter(name for mail in sink.messages for name in names.values() if name.encode() in mail.content)
    assert not came or max(came.values()) == 1
    for owner, uid in program.journal("SELECT account, uid FROM effect WHERE state = 'done'"):
        assert came[names[owner, uid]] == 1
    return came


@pytest.mark.parametrize("fault", ["judging", "moving"])
def test_a_message_that_kills_is_left_alone_and_holds_up_nobody(
    fault: str, dovecot: Dovecot, start: Callable[..., tuple[Poisoned, str, str]]
) -> None:
    """Two deaths, then the worker stays: the poison is untouched, everything else was done once.

    Fresh mail is done even while the poison goes on killing. `retry` does it once the fault is mended.
    """
    program, mine, other = start(fault, MOVE)
    with program:
        program.dies()
        dovecot.append(mine, [message(subject="fresh")])
        program.dies()
        assert program.quarantined() == []
        assert "fresh" in subjects(dovecot, mine, "Done"), "fresh mail comes before suspects"
        program.start()
        program.wait_for("uid=3 quarantined", timeout=60)
        program.wait_for(lambda: len(subjects(dovecot, mine, "Done")) == 5, timeout=60)
        program.wait_for(lambda: len(subjects(dovecot, other, "Done")) == 2, timeout=60)
        assert subjects(dovecot, mine, "Done") == ["after 1", "after 2", "before 1", "before 2", "fresh"]
        assert subjects(dovecot, mine, "INBOX") == [POISON]
        (status,) = program.json("status")
        (entry,) = status["quarantined"]
        assert (entry["account"], entry["mailbox"], entry["uid"]) == (mine, "INBOX", 3)
        assert "died twice" in entry["error"]
        done = Counter((e["account"], e["uid"]) for e in program.log("--state", "done", "--action", "move"))
        assert len(done) == 7 and set(done.values()) == {1}
        assert program.stop() == 0
        program.nothing_lingers()

        program.fault = ""
        program.run("apply", "--yes", "--account", mine)
        assert subjects(dovecot, mine, "INBOX") == [POISON], "apply leaves it alone too"
        program.start()
        (failed,) = program.log("--state", "failed")
        assert failed["detail"]["quarantined"] and failed["uid"] == 3
        program.run("retry", str(failed["id"]))
        program.wait_for(lambda: POISON in subjects(dovecot, mine, "Done"), timeout=60)
        assert program.stop() == 0
        assert program.quarantined() == []
        program.nothing_lingers()


def test_a_forward_that_kills_before_its_commit_point(
    dovecot: Dovecot, smtp_sink: SmtpSink, start: Callable[..., tuple[Poisoned, str, str]]
) -> None:
    """A message that kills while its forward is composed is quarantined; no other forward goes out twice."""
    program, mine, _ = start("composing", FORWARD)
    with program:
        program.dies()
        program.dies()
        program.start()
        program.wait_for("uid=3 quarantined", timeout=60)
        program.wait_for(lambda: program.count("done") + program.count("unknown") == 6, timeout=60)
        assert program.count("done") >= 2, "what was not under way"
        assert POISON not in forwarded(program, smtp_sink)
        assert program.quarantined() == [(mine, 3)]
        (failed,) = program.log("--state", "failed")
        assert failed["action"] == "forward" and failed["subject"] == POISON
        assert program.stop() == 0
        program.nothing_lingers()

        program.fault = ""
        program.run("retry", str(failed["id"]))
        program.run("run", "--once")
        assert forwarded(program, smtp_sink)[POISON] == 1
        assert program.quarantined() == []


def test_a_death_after_the_commit_point_is_unknown_and_not_repeated(
    dovecot: Dovecot, smtp_sink: SmtpSink, start: Callable[..., tuple[Poisoned, str, str]]
) -> None:
    """A death after a forward was sent leaves it unknown: it is not sent again, and nobody dies again."""
    program, _, _ = start("sent", FORWARD)
    with program:
        program.dies()
        program.start()
        program.wait_for(lambda: program.count("done") + program.count("unknown") == 7, timeout=60)
        unknown = program.journal("SELECT uid FROM effect WHERE state = 'unknown'")
        assert (3,) in unknown
        assert forwarded(program, smtp_sink)[POISON] == 1
        assert program.stop() == 0
        assert program.quarantined() == []
        program.nothing_lingers()


def test_one_kill_quarantines_nobody(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """SIGKILL with 200 messages in hand: all are done by the next pass, and none is suspect after it."""
    with Poisoned(tmp_path, f"accounts:\n{account(dovecot, user)}rules:\n{MOVE}") as program:
        program.run("run", "--once")
        dovecot.append(user, [message(n) for n in range(199)] + [message(subject=POISON)])
        program.fault = "hanging"
        program.start()
        deadline = time.monotonic() + 60
        while program.journal("SELECT uids FROM in_hand") != [("1:200",)]:
            assert time.monotonic() < deadline, program.said()
            time.sleep(0.05)
        program.kill()
        program.fault = ""
        program.run("run", "--once")
        assert len(subjects(dovecot, user, "Done")) == 200
        assert program.quarantined() == []
        program.nothing_lingers()


def test_a_kill_in_a_large_window_makes_few_suspects(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """Of a large window only the piece that is worked on is in hand; the next pass does all of it."""
    with Poisoned(tmp_path, f"accounts:\n{account(dovecot, user)}rules:\n{MOVE}") as program:
        program.run("run", "--once")
        mails = [message(n) for n in range(1020)]
        mails[1010] = message(subject=POISON)
        dovecot.append(user, mails)
        program.fault = "hanging"
        program.start()
        deadline = time.monotonic() + 60
        while program.journal("SELECT uids FROM in_hand") != [("1001:1020",)]:
            assert time.monotonic() < deadline, program.said()
            time.sleep(0.05)
        program.kill()
        program.fault = ""
        program.run("run", "--once")
        assert len(subjects(dovecot, user, "Done")) == 1020
        assert program.quarantined() == []
        program.nothing_lingers()
