"""T4: the SMTP connection cut after every byte, in both directions, with DATA and with CHUNKING."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.checker import check
from tests.faults.conftest import FULL
from tests.faults.stage import SCENARIOS, Stage, number_of
from tests.lab.dovecot import Dovecot
from tests.lab.proxy import Direction, FaultProxy
from tests.lab.smtp import ScriptedSmtp

TRANSPORTS = {"DATA": ("8BITMIME", "SIZE"), "CHUNKING": ("8BITMIME", "SIZE", "CHUNKING")}
END = {"DATA": b"\r\n.\r\n", "CHUNKING": b"BDAT 0 LAST\r\n"}


@dataclass(frozen=True)
class Talk:
    """An undisturbed conversation: how long it is, and from which byte on a cut may leave it unknown."""

    length: int
    body: int
    """Before it, nothing of the message has been sent."""
    end: int
    """Before it, the end of the message can't have been sent."""
    over: int
    """From here on the client knows how it ended."""


def positions(talk: Talk, name: str, *, full: bool) -> list[int]:
    """All of them; or a few, and those about the end of the message. Redirects take a sample of either."""
    step = 1 if name == "forward" else 5
    if full:
        return sorted({*range(0, talk.length + 1, step), talk.over - 1})
    spread = range(0, talk.length + 1, talk.length // 4)
    about_the_end = range(max(0, talk.end - 2), min(talk.length, talk.over + 1) + 1, step)
    return sorted({*spread, talk.body, *about_the_end, talk.over - 1})


@pytest.mark.timeout(3600 if FULL else 120)
@pytest.mark.parametrize("direction", ["c2s", "s2c"])
@pytest.mark.parametrize("transport", list(TRANSPORTS))
@pytest.mark.parametrize("name", ["forward", "redirect"])
def test_smtp_is_cut_after_a_byte(
    name: str,
    transport: str,
    direction: Direction,
    dovecot: Dovecot,
    tmp_path: Path,
    full: bool,
    expect_clean: Callable[..., None],
) -> None:
    """Wherever the connection ends, the message arrives once or is unknown; and unknown only when its end
    may have been seen (with DATA: some of its text)."""
    with (
        ScriptedSmtp(TRANSPORTS[transport]) as sink,
        FaultProxy(("127.0.0.1", sink.port)) as proxy,
    ):
        stage = Stage(dovecot, sink, tmp_path, SCENARIOS[name], smtp_port=proxy.port, first=1001)  # type: ignore[arg-type]
        stage.baseline()
        talk = undisturbed(stage, proxy, direction, transport)
        ended: dict[int, str] = {}
        for position in positions(talk, name, full=full):
            number = stage.deliver()
            proxy.cut_after(**{direction: position})
            stage.run()
            proxy.cut_after()
            (ended[position],) = (e["state"] for e in stage.entries() if number_of(e["subject"]) == number)
            stage.settle()
        verdict = check(stage)
    allowed = range(talk.end if transport == "CHUNKING" else talk.body, talk.over)
    early = [p for p, state in ended.items() if state == "unknown" and p not in allowed]
    assert not early, f"unknown though the end was not sent: {early} of {talk}"
    known = [p for p, state in ended.items() if state != "done" and p >= talk.over]
    assert not known, f"not done though the reply was there: {known} of {talk}"
    assert {"later", "unknown", "done"} == set(ended.values())
    got = {number for _, number in stage.sent()}
    in_vain = sum(1 for number, _ in stage.unknown if number not in got)
    expect_clean("T4", verdict, f"{name}, {transport}, cut {direction}: {in_vain} unknown were not sent")


def undisturbed(stage: Stage, proxy: FaultProxy, direction: Direction, transport: str) -> Talk:
    """Send one message without a fault, and learn from it where the bytes stand."""
    stage.deliver()
    stage.run()
    log = proxy.last.log
    sent, said = bytes(log["c2s"]), bytes(log["s2c"])
    end = sent.rindex(END[transport]) + (2 if transport == "DATA" else 0)
    if direction == "c2s":
        body = sent.index(b"DATA\r\n") + 6 if transport == "DATA" else end
        # Cut behind the end, the reply can't come back any more: the proxy closes both sides.
        return Talk(len(sent), body + 1, end + 1, sent.rindex(b"QUIT") + 1)
    final = said.index(b"250 2.0.0 queued")
    body = said.index(b"354") + len(b"354 go on\r\n") if transport == "DATA" else final
    return Talk(len(said), body, final, final + len(b"250 2.0.0 queued\r\n"))
