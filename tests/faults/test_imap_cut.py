"""T3: the IMAP connection is cut after byte N, for each N, in both directions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.checker import check
from tests.faults.conftest import FULL
from tests.faults.stage import NO_MOVE, SCENARIOS, Stage
from tests.lab.dovecot import Dovecot
from tests.lab.proxy import Direction, FaultProxy
from tests.lab.smtp import SmtpSink

CUTS = 16
"""Places for each scenario and direction, in a slice."""
EVERY = {"move": 1, "move-without-MOVE": 1, "everything": 7, "everything-without-MOVE": 7}
"""In full: at every N-th byte."""
DIRECTIONS: tuple[Direction, ...] = ("c2s", "s2c")
_EFFECT = re.compile(rb"UID (?:STORE|COPY|MOVE|EXPUNGE) [^\r]*\r\n")
_ANSWER = re.compile(rb"[^\n]*(?:COPYUID|EXPUNGE|Store completed|Move completed|Copy completed)[^\n]*\n")


@pytest.mark.timeout(3 * 3600 if FULL else 300)
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("name", EVERY)
def test_the_connection_is_cut(
    name: str,
    direction: Direction,
    server_for: Callable[[str], Dovecot],
    sink: SmtpSink,
    tmp_path: Path,
    expect_clean: Callable[..., None],
) -> None:
    """Wherever the connection is cut, the passes that come after it do what is left, once."""
    scenario = SCENARIOS[name]
    server = server_for(scenario.capability)
    with FaultProxy((server.host, server.imap_port)) as proxy:
        stage = Stage(server, sink, tmp_path, scenario, imap_port=proxy.port)
        stage.add_foreign()
        stage.baseline()
        stage.deliver()
        stage.run()
        said = bytes(proxy.last.log[direction])
        cut_at: dict[int, int] = {}
        for place in range(1, 10**6, EVERY[name]) if FULL else _slice(said, direction):
            number = stage.deliver()
            proxy.cut_after(**{direction: place})
            (result,) = stage.run()
            uncut = proxy.unspent(direction)
            proxy.cut_after()
            stage.settle()  # through the same proxy, which lets everything pass now
            if uncut:
                assert not result.errors, result.errors
                if FULL:
                    break  # the pass had no byte more
                continue
            cut_at[number] = place
        verdict = check(stage)
    verdict.runs = len(cut_at)
    verdict.notes = [_with_place(note, cut_at) for note in verdict.notes]
    assert len(cut_at) >= (len(said) * 0.9 / EVERY[name] if FULL else CUTS * 0.8)
    fallback = "the COPY fallback" if scenario.capability == NO_MOVE else "MOVE"
    expect_clean("T3", verdict, f"cut after byte N, {fallback}")


def _slice(said: bytes, direction: Direction) -> Iterator[int]:
    """Some places: a third all over the pass, the others in and around the commands with an effect."""
    pattern = _EFFECT if direction == "c2s" else _ANSWER
    spans = [match.span() for match in pattern.finditer(said)]
    near = [place for start, end in spans for place in range(start, end + 2)]
    assert near, said
    ends = [end for _, end in spans]  # all of it came, and nothing after it
    chosen = {*ends[:4]}
    chosen.update(near[n * len(near) // 8] for n in range(8))
    chosen.update(1 + n * (len(said) - 2) // 4 for n in range(5))
    return iter(sorted(chosen))


def _with_place(note: str, cut_at: dict[int, int]) -> str:
    number = re.search(r"\d+", note)
    return f"{note} (cut after byte {cut_at.get(int(number[0]))})" if number else note
