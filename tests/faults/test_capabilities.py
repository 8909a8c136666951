"""T15: servers that lack what others have; every scenario, and others' mail marked \\Deleted stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from tests.faults.checker import Verdict, check
from tests.faults.conftest import FULL
from tests.faults.lacking import Lacking
from tests.faults.stage import SCENARIOS, Stage
from tests.lab.dovecot import Dovecot
from tests.lab.smtp import SmtpSink

EVERYTHING = "IMAP4rev1 LITERAL+ ID ENABLE IDLE NAMESPACE UNSELECT UIDPLUS MOVE ESEARCH SPECIAL-USE"
MISSING = {
    "all there": (),
    "no MOVE": ("MOVE",),
    "no UIDPLUS": ("UIDPLUS",),
    "no MOVE, no UIDPLUS": ("MOVE", "UIDPLUS"),
    "no IDLE": ("IDLE",),
    "no LITERAL+": ("LITERAL+",),
    "no COPYUID": ("COPYUID",),
    "no ESEARCH": ("ESEARCH",),
    "nothing": tuple(f"{EVERYTHING} COPYUID".split()[1:]),
}
ALL = [name for name in SCENARIOS if not name.endswith("without-MOVE")]
NAMES = ALL if FULL else ["everything", "delete", "redirect", "script-answers"]
Expect = Callable[[str, Verdict, str], None]


def play(stage: Stage, *, foreign: bool) -> Verdict:
    """Two passes, with what another client has marked \\Deleted between ours, or without."""
    stage.baseline()
    stage.deliver(2)
    if foreign:
        stage.add_foreign()
    stage.deliver(1)
    stage.run()
    stage.deliver(1)
    stage.run()
    stage.settle()
    return check(stage)


def left_marked(verdict: Verdict, *, count: int) -> Verdict:
    """Where only EXPUNGE is left to remove ours, and it would remove others' too, ours stay, marked."""
    words = ("is in INBOX, which no rule wants", "is left behind marked \\Deleted")
    expected = [note for note in verdict.notes if note.endswith(words)]
    assert len(expected) == 2 * count, verdict.notes
    verdict.wrong -= len(expected)
    verdict.notes = [note for note in verdict.notes if note not in expected]
    return verdict


def must_stay(missing: tuple[str, ...], name: str) -> bool:
    """Whether removing ours would need a plain EXPUNGE."""
    leaves = name in ("move", "script-answers", "everything") and "MOVE" in missing
    return "UIDPLUS" in missing and (leaves or name == "delete")


@pytest.mark.parametrize("foreign", [False, True], ids=["alone", "among others' \\\\Deleted"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("missing", MISSING)
def test_a_server_that_lacks_extensions(
    missing: str, name: str, foreign: bool, sink: SmtpSink, tmp_path: Path, expect_clean: Expect
) -> None:
    """Where a command is not there at all the outcome is the same, and nobody else's mail is expunged."""
    with Lacking(*MISSING[missing]) as server:
        stage = Stage(cast(Dovecot, server), sink, tmp_path, SCENARIOS[name])
        verdict = play(stage, foreign=foreign)
        if foreign and must_stay(MISSING[missing], name):
            verdict = left_marked(verdict, count=4)
        expect_clean("T15", verdict, f"scripted, {missing}")
        if "MOVE" in MISSING[missing]:
            assert not server.sent(b"UID MOVE")
        if "UIDPLUS" in MISSING[missing]:
            assert not server.sent(b"UID EXPUNGE")


@pytest.mark.parametrize("foreign", [False, True], ids=["alone", "among others' \\\\Deleted"])
@pytest.mark.parametrize("name", ALL if FULL else ["everything", "delete"])
@pytest.mark.parametrize("missing", [m for m in MISSING if m not in ("all there", "no COPYUID")])
def test_dovecot_that_hides_extensions(
    missing: str,
    name: str,
    foreign: bool,
    server_for: Callable[[str], Dovecot],
    sink: SmtpSink,
    tmp_path: Path,
    expect_clean: Expect,
) -> None:
    """What Dovecot does not announce is not used, and the outcome is the same."""
    server = server_for(" ".join(word for word in EVERYTHING.split() if word not in MISSING[missing]))
    stage = Stage(server, sink, tmp_path, SCENARIOS[name])
    verdict = play(stage, foreign=foreign)
    if foreign and must_stay(MISSING[missing], name):
        verdict = left_marked(verdict, count=4)
    expect_clean("T15", verdict, f"Dovecot, {missing}")
