"""T11, T12: other sessions on the same mailbox expunge, move and copy what we are at."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import pytest

from tests.faults.checker import Verdict, check
from tests.faults.conftest import FULL, Record
from tests.faults.lacking import Lacking
from tests.faults.stage import NO_MOVE, SCENARIOS, Stage, number_of
from tests.lab.dovecot import Dovecot
from tests.lab.proxy import FaultProxy
from tests.lab.smtp import SmtpSink

Deed = Literal["expunges", "moves away", "copies", "moves to the target"]
DEEDS: tuple[Deed, ...] = ("expunges", "moves away", "copies", "moves to the target")
STEPS = {
    "search": rb"UID SEARCH (RETURN \(ALL\) )?UID",
    "fetch": rb"UID FETCH",
    "identity": rb"UID FETCH \S+ \(.*X-GUID",
    "status": rb"STATUS|EXAMINE",
    "store": rb"UID STORE",
    "copy": rb"UID COPY",
    "move": rb"UID MOVE",
    "mark": rb"UID STORE \S+ \+FLAGS[A-Z.]* \(?\\Deleted",
    "expunge": rb"UID EXPUNGE",
}
CAPABILITIES = {"with MOVE": "", "without MOVE": NO_MOVE}


def act(server: Dovecot, user: str, number: int, deed: Deed) -> None:
    """What the neighbour does to our message, if it still finds it in INBOX."""
    with server.session(user, "INBOX") as client:
        uids = client.uid("SEARCH", "HEADER", "X-Lab-Number", str(number))[1][0].split()
        for uid in uids:
            if deed == "moves away":
                client.uid("MOVE", uid, "Archive")
            elif deed == "moves to the target":
                client.uid("MOVE", uid, "There")
            elif deed == "copies":
                client.uid("COPY", uid, "Archive")
            else:
                client.uid("STORE", uid, "+FLAGS.SILENT", "(\\Deleted)")
                client.uid("EXPUNGE", uid)


@dataclass
class Neighbour:
    """Acts the `nth` time it is called."""

    stage: Stage
    number: int
    deed: Deed
    nth: int
    turns: int = 0

    def __call__(self, _: object) -> None:
        self.turns += 1
        if self.turns == self.nth:
            act(self.stage.server, self.stage.user, self.number, self.deed)


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("kind", CAPABILITIES)
@pytest.mark.timeout(300)
def test_a_neighbour_acts_before_each_of_our_commands(
    kind: str,
    deed: Deed,
    server_for: Callable[[str], Dovecot],
    sink: SmtpSink,
    tmp_path: Path,
    record: Record,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever we are about to say of a message, it may be gone: then so is our plan, and nothing else."""
    server = server_for(CAPABILITIES[kind])
    scenario = SCENARIOS["everything" if kind == "with MOVE" else "everything-without-MOVE"]
    for step, pattern in STEPS.items():
        for nth in range(1, (4 if FULL else 2)):
            directory = tmp_path / f"{step}{nth}"
            with FaultProxy((server.host, server.imap_port)) as proxy:
                sink.messages.clear()  # numbers start anew
                stage = Stage(server, sink, directory, scenario, imap_port=proxy.port)
                stage.baseline()
                number = stage.deliver()
                other = stage.deliver()  # beside it: nobody touches this one
                neighbour = Neighbour(stage, number, deed, nth)
                proxy.on(pattern, "c2s", neighbour, once=False)
                stage.run()
                proxy._hooks.clear()
                stage.settle()
                where = f"{kind}, {deed} before {step} {nth}"
                happened = neighbour.turns >= nth
                copied = kind == "without MOVE" and step in ("mark", "expunge")
                wrong = judge(stage, number, other, deed if happened else None, copied=copied)
                record("T11", int(happened), wrong=len(wrong), note=kind)
                assert not wrong, (where, wrong, stage.entries(), stage.look())
                assert "Traceback" not in caplog.text, (where, caplog.text)
                stage.close()


def judge(stage: Stage, number: int, other: int, deed: Deed | None, *, copied: bool) -> list[str]:
    """What is not as it should be.

    `copied`: the neighbour came when our copy stood already. Without MOVE that can't be helped: the
    message is then in both places. To take our copy back could remove the last one.
    """
    wrong = []
    places: dict[int, list[str]] = {number: [], other: []}
    for mailbox, found in stage.look().items():
        for n, _ in found:
            places[n].append(mailbox)
    if places[other] != ["There", "Copies"]:
        wrong.append(f"the other message is in {places[other]}")
    here = sorted(places[number])
    for mailbox in set(here):
        if here.count(mailbox) > (2 if copied and deed == "moves to the target" else 1):
            wrong.append(f"doubled in {mailbox}: {here}")
    states = {
        entry["action"]: entry["state"] for entry in stage.entries() if number_of(entry["subject"]) == number
    }
    if not states:
        # It was gone before we had looked at it.
        if "Copies" in here or (deed is None and "There" not in here):
            wrong.append(f"nothing was planned, and it is in {here}")
        return wrong
    if any(state not in ("done", "gone", "skipped") for state in states.values()):
        wrong.append(f"states: {states}")
    if (states.get("copy") == "done") != ("Copies" in here):
        wrong.append(f"copy is {states.get('copy')} and it is in {here}")
    match deed:
        case "expunges":
            # It may have left before the neighbour came; else it is nowhere of its own account.
            if ("There" in here) != (states["move"] == "done"):
                wrong.append(f"move is {states['move']} and it is in {here}")
        case "moves away":
            if ("There" in here) == ("Archive" in here) and not (copied and "There" in here):
                wrong.append(f"it must be there or in Archive: {here}")
        case "moves to the target" | "copies" | None:
            if "There" not in here or "INBOX" in here:
                wrong.append(f"it must be there: {here}")
    forwarded = stage.sent().count(("desk@example.test", number))
    if forwarded != (states.get("forward") == "done") or stage.traces().count(number) != (
        states.get("script") == "done"
    ):
        wrong.append(f"{states}, forwarded {forwarded}, traces {stage.traces()}")
    return wrong


def test_who_is_beside_one_that_vanishes_does_not_wait(
    server_for: Callable[[str], Dovecot], sink: SmtpSink, tmp_path: Path
) -> None:
    """A message expunged just before our COPY of several: the others are copied in the same pass."""
    server = server_for(NO_MOVE)
    with FaultProxy((server.host, server.imap_port)) as proxy:
        stage = Stage(server, sink, tmp_path, SCENARIOS["copy"], imap_port=proxy.port)
        stage.baseline()
        number = stage.deliver(3)
        proxy.on(rb"UID COPY", "c2s", lambda _: act(server, stage.user, number, "expunges"))
        stage.run()
        assert [entry["state"] for entry in stage.entries()] == ["gone", "done", "done"]


# -- there and back -------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["forward", "redirect", "script"])
@pytest.mark.parametrize("missing", [None, (), ("MOVE", "UIDPLUS", "COPYUID")])
def test_a_message_that_comes_and_goes_is_sent_once(
    missing: tuple[str, ...] | None,
    name: str,
    dovecot: Dovecot,
    sink: SmtpSink,
    tmp_path: Path,
    expect_clean: Callable[[str, Verdict, str], None],
) -> None:
    """A person moves a message away and back ten times: it is forwarded, redirected, run once.

    On Dovecot it is known by X-GUID; elsewhere by Message-ID, INTERNALDATE, size and header alone.
    """
    with nullcontext(dovecot) if missing is None else Lacking(*missing) as server:
        stage = Stage(cast(Dovecot, server), sink, tmp_path, SCENARIOS[name])
        stage.baseline()
        stage.deliver(2)
        stage.run()
        for _ in range(10):
            for here, there in (("INBOX", "Archive"), ("Archive", "INBOX")):
                carry(server, stage.user, here, there)
                stage.run()
        stage.settle()
        verdict = check(stage)
        verdict.runs = 10
        expect_clean("T12", verdict, f"{name}, {'X-GUID' if missing is None else 'sha256'}")


def carry(server: Dovecot | Lacking, user: str, here: str, there: str) -> None:
    """Move all, as a person's client does; INTERNALDATE is kept."""
    with server.session(user, here) as client:
        if isinstance(server, Lacking):
            assert client.uid("COPY", "1:*", there)[0] == "OK"
            client.uid("STORE", "1:*", "+FLAGS", "(\\Deleted)")
            client.expunge()
        else:
            assert client.uid("MOVE", "1:*", there)[0] == "OK"
