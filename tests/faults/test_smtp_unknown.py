"""T5 and T59: the server takes a message, and its reply is lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mailrules import clock
from tests.faults.checker import check
from tests.faults.conftest import FULL
from tests.faults.sending import ExpectClean, entry_of, ids_of, leaving, places, states
from tests.faults.stage import Stage
from tests.lab.dovecot import Dovecot
from tests.lab.program import Program
from tests.lab.smtp import ACCEPT_THEN_DROP, SmtpSink


@pytest.mark.timeout(900 if FULL else 120)
@pytest.mark.parametrize("name", ["forward", "redirect"])
def test_accepted_and_the_reply_lost(
    name: str, dovecot: Dovecot, sink: SmtpSink, tmp_path: Path, full: bool, expect_clean: ExpectClean
) -> None:
    """Every one is unknown, stays, is listed, and is sent again only by `retry`; `skip` lets it leave."""
    count = 100 if full else 6
    stage = Stage(dovecot, sink, tmp_path, leaving(name))
    stage.baseline()
    first = stage.deliver(count)
    sink.plan("end", ACCEPT_THEN_DROP, times=count)
    stage.run()
    stage.time_passes()
    stage.run()
    assert set(states(stage, name).values()) == {"unknown"}
    assert len(sink.messages) == count
    assert len(stage.look()["INBOX"]) == count
    listed = stage.open_entries()
    (again, without) = (entry_of(listed, number, name) for number in (first, first + 1))
    if name == "forward":
        stage.close()
        with Program(tmp_path, stage.configure().read_text()) as program:
            (status,) = program.json("status")
            unknown = program.log("--state", "unknown", "-n", str(2 * count))
            assert status["counts"]["unknown"] == len(unknown) == count
            assert {again["id"], without["id"]} <= {e["id"] for e in unknown}
            program.run("retry", str(again["id"]))
            program.run("skip", str(without["id"]))
            program.run("run", "--once")
        stage.configure()
    else:
        stage.store.retry([again["id"]], at=clock.now())
        stage.store.skip([without["id"]], at=clock.now())
        stage.run()

    assert [n for _, n in stage.sent()].count(first) == 2
    copies = [m.content for m in sink.messages if b"X-Lab-Number: %d\r\n" % first in m.content]
    for header in (b"Message-ID", *([b"Resent-Message-ID"] if name == "redirect" else [])):
        assert len(ids_of(copies, header)) == 1 and ids_of(copies, header) != {b""}
    assert places(stage, first) == places(stage, first + 1) == ["There"]
    assert len(stage.look()["INBOX"]) == count - 2

    del sink.messages[count]  # what a person has asked for is no double
    stage.unknown |= {(first, name), (first + 1, name)}
    stage.run()
    stage.settle()
    verdict = check(stage)
    assert verdict.unknown == count
    expect_clean("T5", verdict, name)


@pytest.mark.timeout(900 if FULL else 120)
@pytest.mark.parametrize("name", ["forward", "redirect"])
def test_unknown_is_tried_again_where_the_rule_says_so(
    name: str, dovecot: Dovecot, sink: SmtpSink, tmp_path: Path, full: bool, expect_clean: ExpectClean
) -> None:
    """T59: with `on_unknown: retry` it is sent until a reply comes, every time with the same Message-ID."""
    count, lost = (100 if full else 6), 2
    scenario = replace(leaving(name), rules=leaving(name).rules + "    on_unknown: retry\n", retries=True)
    stage = Stage(dovecot, sink, tmp_path, scenario)
    stage.baseline()
    first = stage.deliver(count)
    sink.plan("end", ACCEPT_THEN_DROP, times=lost * count)
    for _ in range(lost):
        stage.run()
        assert set(states(stage, name).values()) == {"later"}
        assert len(stage.look()["INBOX"]) == count
        stage.time_passes()
    stage.settle()
    assert set(states(stage, name).values()) == {"done"}
    assert not stage.unknown
    for number in range(first, first + count):
        copies = [m.content for m in sink.messages if b"X-Lab-Number: %d\r\n" % number in m.content]
        assert len(copies) == lost + 1
        for header in (b"Message-ID", *([b"Resent-Message-ID"] if name == "redirect" else [])):
            assert len(ids_of(copies, header)) == 1 and ids_of(copies, header) != {b""}
    expect_clean("T59", check(stage), name)
