"""T6 and T7: what a server may say no to, and how late it may say yes."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from mailrules import clock
from mailrules.core.retry import OUTAGE
from tests.faults.checker import Verdict, check
from tests.faults.conftest import FULL, Record
from tests.faults.sending import LOGIN, ExpectClean, ids_of, leaving, places, states
from tests.faults.stage import SENT_TO, Stage
from tests.lab.dovecot import Dovecot
from tests.lab.proxy import FaultProxy
from tests.lab.smtp import ScriptedSmtp

STEPS = ("CONNECT", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", ".", "BDAT", "LAST")


def features(step: str) -> tuple[str, ...]:
    chunking = ("CHUNKING",) if step in ("BDAT", "LAST") else ()
    return ("8BITMIME", "AUTH PLAIN", *chunking)


@pytest.mark.parametrize("reply", ["451 4.3.0 not now", "421 4.3.2 going down"])
@pytest.mark.parametrize("name", ["forward", "redirect"])
def test_refused_for_now(
    name: str, reply: str, dovecot: Dovecot, tmp_path: Path, expect_clean: ExpectClean
) -> None:
    """4yz at any step: nothing was sent, the message stays, and it is sent once when its time comes."""
    verdict = Verdict()
    for step in STEPS if name == "forward" else ("RCPT", ".", "LAST"):
        with ScriptedSmtp(features(step)) as sink:
            stage = Stage(dovecot, sink, tmp_path / step.strip("."), leaving(name), smtp=LOGIN)
            stage.baseline()
            number = stage.deliver()
            sink.replies[step] = [reply, None]
            stage.run()
            assert (states(stage, name)[number], places(stage, number)) == ("later", ["INBOX"]), step
            asked = len(sink.commands)
            stage.run()  # not before its time
            assert (len(sink.commands), sink.taken) == (asked, []), step
            stage.settle()
            assert not stage.unknown, step
            verdict += check(stage)
            stage.close()
    expect_clean("T6", verdict, f"{name}, {reply[:3]} at a step")


@pytest.mark.parametrize("name", ["forward", "redirect"])
def test_refused_for_good(name: str, dovecot: Dovecot, tmp_path: Path, record: Record) -> None:
    """5yz at any step: failed at once, asked once, the message stays until a person skips it."""
    steps = STEPS if name == "forward" else ("RCPT", ".", "LAST")
    for step in steps:
        with ScriptedSmtp(features(step)) as sink:
            stage = Stage(dovecot, sink, tmp_path / step.strip("."), leaving(name), smtp=LOGIN)
            stage.baseline()
            number = stage.deliver()
            sink.replies[step] = "554 5.7.1 never"
            stage.run()
            (entry,) = stage.open_entries()[:1]
            assert (states(stage, name)[number], places(stage, number)) == ("failed", ["INBOX"]), step
            assert "554 5.7.1 never" in str(entry["detail"]), step
            asked = len(sink.commands)
            sink.replies.clear()
            for _ in range(2):
                stage.time_passes()
                stage.run()
            assert (len(sink.commands), sink.taken, places(stage, number)) == (asked, [], ["INBOX"]), step
            stage.store.skip([e["id"] for e in stage.entries() if e["state"] == "failed"], at=clock.now())
            stage.run()
            assert (sink.taken, places(stage, number)) == ([], ["There"]), step
            stage.close()
    record("T6", len(steps), note=f"{name}, 554 at a step")


@pytest.mark.parametrize(
    ("step", "reply"),
    [
        ("EHLO", "250-scripted\r\n250 AUTH PLAIN"),
        ("AUTH", "235 in"),
        ("MAIL", "250 OK"),
        ("RCPT", "250 OK"),
        ("DATA", "354 go on"),
    ],
)
def test_server_goes_away_unasked(
    step: str, reply: str, dovecot: Dovecot, tmp_path: Path, expect_clean: ExpectClean
) -> None:
    """A 421 that nobody asked for is later, not unknown: the end of the message was not sent."""
    with ScriptedSmtp(features(step)) as sink:
        stage = Stage(dovecot, sink, tmp_path, leaving("forward"), smtp=LOGIN)
        stage.baseline()
        number = stage.deliver()
        sink.replies[step] = [f"{reply}\r\n421 4.3.2 going down", None]
        stage.run()
        assert (states(stage)[number], sink.taken) == ("later", [])
        stage.settle()
        assert not stage.unknown
        expect_clean("T6", check(stage), "forward, 421 unasked")


@pytest.mark.parametrize("reply", ["454 4.7.0 TLS not available", "554 5.7.3 no TLS here"])
def test_starttls_refused(reply: str, dovecot: Dovecot, tmp_path: Path, record: Record) -> None:
    """STARTTLS refused, for now or for good, says nothing of this message: later, and nothing in clear."""
    with ScriptedSmtp(("STARTTLS", "AUTH PLAIN")) as sink:
        smtp = LOGIN.replace("none", "starttls")
        stage = Stage(dovecot, sink, tmp_path, leaving("forward"), smtp=smtp)
        stage.baseline()
        number = stage.deliver()
        sink.replies["STARTTLS"] = reply
        stage.run()
        assert (states(stage)[number], places(stage, number)) == ("later", ["INBOX"])
        assert {c.split(" ")[0].upper() for c in sink.commands} <= {"EHLO", "STARTTLS", "QUIT"}
    record("T6", 1, note="forward, STARTTLS refused")


@pytest.mark.timeout(600 if FULL else 120)
def test_a_server_is_away_for_days(
    dovecot: Dovecot, tmp_path: Path, full: bool, expect_clean: ExpectClean
) -> None:
    """A server that can't be reached does not use up the tries of a message; one that never comes does."""
    with ScriptedSmtp(("8BITMIME",)) as sink, FaultProxy(("127.0.0.1", sink.port)) as proxy:
        stage = Stage(dovecot, sink, tmp_path, leaving("forward"), smtp_port=proxy.port)
        stage.baseline()
        number = stage.deliver()
        proxy.refuse()
        for _ in range(8):  # more than a message has tries
            stage.run()
            assert states(stage)[number] == "later"
            stage.time_passes()
        proxy.refuse(False)
        sink.replies["RCPT"] = ["451 4.7.1 greylisted"] * 5 + [None]
        for _ in range(5):
            stage.run()
            assert states(stage)[number] == "later"
            stage.time_passes()
        stage.settle()
        expect_clean("T6", check(stage), "forward, the server is away")
        if not full:
            return

        never = stage.deliver()
        proxy.refuse()
        for _ in range(len(OUTAGE) + 1):
            assert states(stage).get(never, "later") == "later"
            stage.run()
            stage.time_passes()
        assert (states(stage)[never], places(stage, never)) == ("failed", ["INBOX"])
        proxy.refuse(False)
        stage.settle()
        expect_clean("T6", check(stage), "forward, the server is away")


@pytest.mark.parametrize("name", ["forward", "redirect"])
def test_recipients_are_refused_each_for_itself(
    name: str, dovecot: Dovecot, tmp_path: Path, record: Record
) -> None:
    """One gets it, one is refused for now, one for good: each is tried as its reply says, nobody twice."""
    scenario = leaving(name)
    three = f"[never@example.test, notnow@example.test, {SENT_TO}]"
    scenario = replace(scenario, rules=scenario.rules.replace(SENT_TO, three))
    with ScriptedSmtp(("8BITMIME",)) as sink:
        stage = Stage(dovecot, sink, tmp_path, scenario)
        stage.baseline()
        number = stage.deliver()
        sink.replies["RCPT"] = ["550 5.1.1 nobody", "451 4.2.0 greylisted", None]

        def taken() -> list[list[str]]:
            return [received.rcpt_tos for received in sink.taken]

        stage.run()
        assert (states(stage, name)[number], taken()) == ("later", [[SENT_TO]])
        assert places(stage, number) == ["INBOX"]
        stage.time_passes()
        stage.run()
        assert (states(stage, name)[number], taken()) == ("failed", [[SENT_TO], ["notnow@example.test"]])
        assert places(stage, number) == ["INBOX"]
        stage.time_passes()
        stage.run()
        assert len(taken()) == 2
        stage.store.retry([e["id"] for e in stage.entries() if e["state"] == "failed"], at=clock.now())
        stage.run()
        assert taken() == [[SENT_TO], ["notnow@example.test"], ["never@example.test"]]
        assert (states(stage, name)[number], places(stage, number)) == ("done", ["There"])
        header = b"Resent-Message-ID" if name == "redirect" else b"Message-ID"
        assert len(ids_of([received.content for received in sink.taken], header)) == 1
    record("T6", 1, note=f"{name}, three recipients, three answers")


# -- T7: a slow server -----------------------------------------------------------------------------------
@pytest.mark.timeout(600 if FULL else 120)
@pytest.mark.parametrize(("step", "more"), [(".", ()), ("LAST", ("CHUNKING",))])
def test_final_reply_is_late(
    step: str, more: tuple[str, ...], dovecot: Dovecot, tmp_path: Path, full: bool, expect_clean: ExpectClean
) -> None:
    """A server that thinks for minutes before it says yes: delivered once, not unknown."""
    seconds = 300 if full else 5
    with ScriptedSmtp(("8BITMIME", *more)) as sink:
        stage = Stage(dovecot, sink, tmp_path, leaving("forward"))
        stage.baseline()
        stage.deliver()
        sink.replies[step] = lambda: time.sleep(seconds)
        stage.run()
        stage.settle()
        assert len(sink.messages) == 1 and not stage.unknown
        expect_clean("T7", check(stage), f"the last reply {seconds} s late")
