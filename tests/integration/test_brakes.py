"""Limits, the brakes on sending, pause and resume, over restarts and a kill, with real servers."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_trust import count, create
from tests.lab.dovecot import Dovecot, message
from tests.lab.journal import opened
from tests.lab.program import Program, account
from tests.lab.smtp import SmtpSink

LIMITED = "rules:\n  - {name: file, when: always, then: [{flag: $F}, {move: There}], limits: {per_hour: 3}}\n"


def states(program: Program, *arguments: str) -> Counter[str]:
    return Counter(entry["state"] for entry in program.log(*arguments))


class Clocked(Program):
    """With a clock that can be set forward, and all the brakes."""

    def __init__(self, directory: Path, rules: str) -> None:
        self.clock = directory / "clock"
        changes = {"clock": str(self.clock), "brakes": True}
        super().__init__(directory, rules, environment={"LAB_CHANGES": json.dumps(changes)})

    def forward(self, seconds: float) -> None:
        before = float(self.clock.read_text()) if self.clock.exists() else 0.0
        self.clock.write_text(str(before + seconds))


def test_a_rule_at_its_limit_holds_and_resume_does(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """Three messages are filed, four are held with their leaving, over a restart; `resume` files them."""
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + LIMITED) as program:
        program.run("run", "--once")
        dovecot.append(user, [message(n) for n in range(5)])
        done = program.run("run", "--once")
        assert "rule 'file' is paused: it has acted on 3 messages within an hour" in done.stderr
        dovecot.append(user, [message(n) for n in range(5, 7)])
        assert "is paused: it has" not in program.run("run", "--once").stderr, "said once"
        assert (count(dovecot, user, "There"), count(dovecot, user, "INBOX")) == (3, 4)
        assert states(program) == {"done": 6, "held": 8}
        (status,) = program.json("status")
        assert status["rules"][0]["paused"] and len(status["held"]) == 8
        assert [p["target"] for p in status["paused"]] == ["rule:file"]
        assert "per_hour" in program.run("status").stdout
        program.run("skip", str(status["held"][0]["id"]), str(status["held"][1]["id"]))
        program.run("resume", "file")
        program.run("run", "--once")
        assert (count(dovecot, user, "There"), count(dovecot, user, "INBOX")) == (6, 1)
        assert states(program) == {"done": 12, "skipped": 2}


def test_a_limit_still_stops(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """A rule at its limit matches and stops all the same: the rules below don't get its mail."""
    rules = (
        "rules:\n  - {name: a, when: always, then: [{flag: $A}], stop: true, limits: {per_run: 1}}\n"
        "  - {name: b, when: always, then: [{move: There}]}\n"
    )
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + rules) as program:
        program.run("run", "--once")
        dovecot.append(user, [message(n) for n in range(3)])
        program.run("run", "--once")
        assert (states(program, "--rule", "a"), program.log("--rule", "b")) == ({"done": 1, "held": 2}, [])


def test_a_limit_counts_over_mailboxes_and_apply(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """Two mailboxes at once, then `apply` over both as one run: never more than the rule may."""
    create(dovecot, user, "Second")
    rules = (
        "rules:\n  - {name: hour, when: {subject: h}, then: [{flag: $H}], limits: {per_hour: 10}}\n"
        "  - {name: run, when: {subject: r}, then: [{flag: $R}], schedule: {every: 1d}, "
        "limits: {per_run: 4}}\n"
    )
    boxes = ["INBOX", "Second"]
    with Program(tmp_path, "accounts:\n" + account(dovecot, user, mailboxes=boxes) + rules) as program:
        program.start()
        program.wait_for(f"{user}/Second: watched from now on")
        for _ in range(2):
            for box in boxes:
                dovecot.append(user, [message(n, subject="h") for n in range(4)], box)
        program.wait_for(lambda: len(program.log()) == 16)
        program.wait_for(lambda: states(program) == {"done": 10, "held": 6})
        assert program.stop() == 0
        for box in boxes:
            dovecot.append(user, [message(n, subject="r") for n in range(3)], box)
        program.run("apply", "--yes", "--rule", "run", status=None)
        assert states(program, "--rule", "run") == {"done": 4, "held": 2}
        assert "in one run" in program.run("status").stdout


def test_resume_is_quick_while_the_worker_runs(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """Hundreds of held messages begin to go within a second, in sets, each in its order."""
    rules = (
        "rules:\n  - {name: mark, when: always, then: [{flag: $M}]}\n"
        "  - {name: file, when: always, then: [{copy: Copies}, {move: There}]}\n"
    )
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + rules) as program:
        program.start()
        program.wait_for("connected")
        program.run("pause", "mark")
        dovecot.append(user, [message(n) for n in range(300)])
        program.wait_for(lambda: count(dovecot, user, "Copies") == 300)
        assert count(dovecot, user, "INBOX") == 300, "nothing leaves while something is held"
        assert states(program) == {"held": 600, "done": 300}
        program.run("resume", "mark")
        began = time.monotonic()
        program.wait_for(lambda: count(dovecot, user, "There") == 300)
        assert time.monotonic() - began < 5
        with dovecot.session(user) as client:
            client.select("There", readonly=True)
            assert len(client.uid("SEARCH", "KEYWORD $M")[1][0].split()) == 300
        assert program.stop() == 0


def test_one_held_message_goes_within_a_second(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """`resume` and `skip` reach a worker that waits for mail: what may go, goes at once."""
    rules = (
        "rules:\n  - {name: mark, when: always, then: [{flag: $M}]}\n"
        "  - {name: file, when: always, then: [{move: There}]}\n"
    )
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + rules) as program:
        program.start()
        program.wait_for("connected")
        program.run("pause", "mark")
        dovecot.append(user, [message(n) for n in range(2)])
        program.wait_for(lambda: states(program) == {"held": 4})
        first = program.log("--rule", "mark")[0]["id"]
        for command, moved in ((("skip", str(first)), 1), (("resume", "mark"), 2)):
            program.run(*command)
            began = time.monotonic()
            program.wait_for(lambda moved=moved: count(dovecot, user, "There") == moved)  # type: ignore[misc]
            assert time.monotonic() - began < 1
        assert program.stop() == 0


# -- sending --------------------------------------------------------------------------------------------
def sending(dovecot: Dovecot, user: str, sink: SmtpSink, folder: Path, *, kind: type = Clocked) -> Any:
    smtp = f"{{host: 127.0.0.1, port: {sink.port}, security: none}}"
    rules = "rules:\n  - {name: on, when: always, then: [{forward: desk@example.test}, {move: Sent on}]}\n"
    return kind(folder, "accounts:\n" + account(dovecot, user, smtp=smtp) + rules)


def subjects(sink: SmtpSink) -> Counter[bytes]:
    lines = [line for taken in sink.messages for line in taken.content.splitlines()]
    return Counter(line for line in lines if line.startswith(b"Subject: Fwd: "))


def test_a_burst_is_sent_on_twenty_a_minute(
    dovecot: Dovecot, user: str, smtp_sink: SmtpSink, tmp_path: Path
) -> None:
    """Of 60 forwards 20 go at once, and 20 in each minute after, by a worker that is killed in between."""
    with sending(dovecot, user, smtp_sink, tmp_path) as program:
        program.run("run", "--once")
        program.start()
        program.wait_for("connected")
        dovecot.append(user, [message(n, subject=f"burst {n}") for n in range(60)])
        smtp_sink.wait(20, 60)
        program.wait_for(lambda: states(program, "--action", "forward") == {"done": 20, "later": 40})
        program.kill()
        program.run("run", "--once")
        assert len(smtp_sink.messages) == 20
        program.forward(62)
        program.start()
        smtp_sink.wait(40, 60)
        program.wait_for(lambda: states(program, "--action", "forward") == {"done": 40, "later": 20})
        program.kill()
        program.forward(64)
        program.run("run", "--once")
        assert subjects(smtp_sink) == {f"Subject: Fwd: burst {n}".encode(): 1 for n in range(60)}
        assert (count(dovecot, user, "Sent on"), count(dovecot, user, "INBOX")) == (60, 0)
        assert states(program) == {"done": 120}


def test_what_waits_is_sent_when_there_is_room(
    dovecot: Dovecot, user: str, smtp_sink: SmtpSink, tmp_path: Path
) -> None:
    """The worker comes back for it by itself, as soon as a minute has passed; its clock was set forward."""
    with sending(dovecot, user, smtp_sink, tmp_path) as program:
        program.run("run", "--once")
        dovecot.append(user, [message(n) for n in range(22)])
        program.run("run", "--once", status=75)
        program.forward(50)  # while nothing runs
        program.start()
        program.wait_for("connected")
        assert len(smtp_sink.messages) == 20
        smtp_sink.wait(22, 30)
        program.wait_for(lambda: states(program) == {"done": 44})
        assert program.stop() == 0


def test_the_day_holds_until_resume(dovecot: Dovecot, user: str, smtp_sink: SmtpSink, tmp_path: Path) -> None:
    """When 500 were sent within a day, sending is held: nothing but sending, until `resume ACCOUNT`."""

    with sending(dovecot, user, smtp_sink, tmp_path) as program:
        program.run("run", "--once")
        dovecot.append(user, [message(1)])
        program.run("run", "--once")
        with opened(program.state / "journal.db") as journal:
            journal.execute("UPDATE brake_count SET count = 499 WHERE brake LIKE 'day:%'")
        dovecot.append(user, [message(n) for n in range(2, 5)])
        program.run("run", "--once", status=75)
        assert "the last of the day's 500" in program.log("--state", "later")[0]["detail"]["because"]
        program.forward(61)
        done = program.run("run", "--once")
        assert f"sending from account '{user}' is paused" in done.stderr
        assert states(program, "--action", "forward") == {"done": 2, "held": 2}
        (status,) = program.json("status")
        assert [p["target"] for p in status["paused"]] == [f"sending:{user}"]
        assert not status["accounts"][0]["paused"], "everything else goes on"
        words = program.run("status").stdout
        assert f"mailrules resume {user}" in words and "500 messages" in words
        dovecot.append(user, message(9))
        program.run("run", "--once")
        assert states(program, "--action", "forward") == {"done": 2, "held": 3}
        program.run("resume", user)
        program.run("run", "--once")
        assert states(program) == {"done": 10}


def test_twenty_new_mailboxes_a_day(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """Mail may choose names of mailboxes, not how many: the 21st of a day is not created, over restarts."""
    rules = "rules:\n  - {name: l, when: always, then: [{move: 'L/{{ message.subject }}'}]}\n"
    with Clocked(tmp_path, "accounts:\n" + account(dovecot, user) + rules) as program:
        program.run("run", "--once")
        dovecot.append(user, [message(n, subject=f"box{n}") for n in range(15)])
        program.run("run", "--once")
        dovecot.append(user, [message(n, subject=f"box{n}") for n in range(10, 25)])
        done = program.run("run", "--once", status=1)
        assert "20 new mailboxes today are enough" in done.stderr
        assert states(program) == {"done": 25, "failed": 5}
        assert count(dovecot, user, "INBOX") == 5, "they stay where they are"
        program.forward(86400)
        program.run("retry", *(str(e["id"]) for e in program.log("--state", "failed")))
        program.run("run", "--once")
        assert states(program) == {"done": 30}


@pytest.mark.parametrize("rule_first", [True, False])
def test_a_dry_run_rule_changes_nothing(
    rule_first: bool, dovecot: Dovecot, user: str, tmp_path: Path
) -> None:
    """It neither changes the message for later rules, nor stops, nor uses up its limit, nor holds it up."""
    dry = (
        "  - {name: dry, when: always, dry_run: true, stop: true, limits: {per_run: 1},\n"
        "     then: [{flag: $D}, {move: Away}]}\n"
        "  - {name: bad, when: always, dry_run: true, then: [{copy: 'L/{{ message.in_reply_to }}'}]}\n"
    )
    real = "  - {name: real, when: {not: {keyword: $D}}, then: [{move: There}]}\n"
    rules = "rules:\n" + (dry + real if rule_first else real + dry)
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + rules) as program:
        program.run("run", "--once")
        dovecot.append(user, [message(n) for n in range(3)])
        program.run("run", "--once")
        assert count(dovecot, user, "There") == 3
        if rule_first:
            assert states(program, "--rule", "dry") == {"would": 6}
            assert states(program, "--rule", "bad") == {"skipped": 3}
            assert "dry run: it would fail" in program.log("--rule", "bad")[0]["detail"]["because"]
        (status,) = program.json("status")
        assert status["paused"] == [] and status["failed"] == []
        assert {r["rule"]: r["hits"] for r in status["rules"]} == {"dry": 0, "bad": 0, "real": 3}
