"""T60: other clients flag, delete, copy and move messages of the mailbox that the worker works on."""

from __future__ import annotations

import imaplib
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faults.checker import Verdict, check
from tests.faults.conftest import FULL
from tests.faults.post import Post
from tests.faults.stage import KEY, SCENARIOS, SENT_TO, Stage
from tests.lab.dovecot import Dovecot
from tests.lab.program import Program
from tests.lab.smtp import SmtpSink

SECONDS = 300 if FULL else 6
SEED = 60
NEIGHBOURS = 2
RATE = 10.0
CROWD = 60
"""No more mail comes while so much is in INBOX."""
ELSEWHERE = "Elsewhere"
"""Where neighbours put mail, and take it from again."""


@dataclass
class Deeds:
    """What the neighbours did, written before they did it."""

    deleted: set[int] = field(default_factory=set)
    came_again: Counter[int] = field(default_factory=Counter)
    """How often a message came into INBOX once more: copied there, or moved back."""
    touched: set[int] = field(default_factory=set)
    """Whatever was moved, copied or deleted; the others must be as the rules have it."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, number: int, *, deleted: bool = False, comes_again: bool = False) -> None:
        with self.lock:
            self.touched.add(number)
            self.came_again[number] += comes_again
            if deleted:
                self.deleted.add(number)


class Neighbour(threading.Thread):
    """A client that does at random what people's other clients do."""

    def __init__(self, stage: Stage, deeds: Deeds, seed: int) -> None:
        super().__init__(name=f"neighbour-{seed}", daemon=True)
        self._stage = stage
        self._deeds = deeds
        self._chance = random.Random(seed)
        self.count = 0
        self.failed: BaseException | None = None
        self.ending = threading.Event()

    def run(self) -> None:
        try:
            with self._stage.server.session(self._stage.user, "INBOX") as client:
                while not self.ending.wait(self._chance.uniform(0, 0.05)):
                    self._act(client)
        except BaseException as error:
            self.failed = error

    def _act(self, client: imaplib.IMAP4) -> None:
        back = self._chance.random() < 0.2
        client.select(ELSEWHERE if back else "INBOX")
        found = _numbers(client)
        if not found:
            return
        uid, number = self._chance.choice(found)
        self.count += 1
        if back:
            self._deeds.note(number, comes_again=True)
            client.uid("MOVE", uid, "INBOX")
            return
        match self._chance.choice(("flag", "flag", "delete", "expunge", "copy", "double", "move")):
            case "flag":
                flags = self._chance.choice(("\\Seen", "\\Flagged", "$Label1"))
                client.uid("STORE", uid, self._chance.choice("+-") + "FLAGS", f"({flags})")
            case "delete":  # and somebody's EXPUNGE takes it
                self._deeds.note(number, deleted=True)
                client.uid("STORE", uid, "+FLAGS", "(\\Deleted)")
            case "expunge":
                client.expunge()
            case "copy":
                self._deeds.note(number)
                client.uid("COPY", uid, ELSEWHERE)
            case "double":
                self._deeds.note(number, comes_again=True)
                client.uid("COPY", uid, "INBOX")
            case "move":
                self._deeds.note(number)
                if "MOVE" in client.capabilities:
                    client.uid("MOVE", uid, ELSEWHERE)


def _numbers(client: imaplib.IMAP4) -> list[tuple[str, int]]:
    """(UID, number) of what is in the selected mailbox, the newest few."""
    _, answer = client.uid("SEARCH", "ALL")
    uids = answer[0].decode().split()[-20:] if answer and answer[0] else []
    if not uids:
        return []
    _, answer = client.uid("FETCH", ",".join(uids), f"(UID BODY.PEEK[HEADER.FIELDS ({KEY})])")
    found = []
    for part in answer:
        if isinstance(part, tuple):
            uid, number = re.search(rb"UID (\d+)", part[0]), re.search(rb": *(\d+)", part[1])
            if uid and number:
                found.append((uid[1].decode(), int(number[1])))
    return found


@pytest.mark.timeout(3600 if FULL else 300)
@pytest.mark.parametrize("name", ["everything", "everything-without-MOVE"])
def test_neighbours(
    name: str,
    server_for: Callable[[str], Dovecot],
    sink: SmtpSink,
    tmp_path: Path,
    expect_clean: Callable[..., None],
) -> None:
    """Whatever other clients do, no message is lost that they did not delete, and nothing is done twice."""
    scenario = SCENARIOS[name]
    stage = Stage(server_for(scenario.capability), sink, tmp_path, scenario)
    with stage.server.session(stage.user) as client:
        client.create(ELSEWHERE)
    deeds = Deeds()
    neighbours = [Neighbour(stage, deeds, SEED + n) for n in range(NEIGHBOURS)]
    with Program(tmp_path, stage.configure().read_text()) as program:
        program.run("run", "--once")
        program.start()
        program.wait_for("connected")
        with Post([("all", stage)], rate=RATE) as post:
            for neighbour in neighbours:
                neighbour.start()
            _let_them(stage, post)
            for neighbour in neighbours:
                neighbour.ending.set()
                neighbour.join(30)
        assert program.stop(timeout=90) == 0
        said = program.said()
    assert not [n.failed for n in neighbours if n.failed], neighbours[0].failed
    stage.settle(passes=12)
    verdict = _verdict(stage, deeds)
    count = sum(neighbour.count for neighbour in neighbours)
    method = "MOVE" if "without" not in name else "COPY"
    expect_clean("T60", verdict, f"messages, {len(deeds.touched)} of them touched by {count} deeds; {method}")
    assert post.count > len(deeds.touched) > 0, "the neighbours left nothing alone, or everything"
    assert "Traceback" not in said


def _let_them(stage: Stage, post: Post) -> None:
    """Time passes. Mail comes no faster than the worker and the neighbours deal with it."""
    end = time.monotonic() + SECONDS
    with stage.server.session(stage.user) as client:
        while time.monotonic() < end:
            _, answer = client.status("INBOX", "(MESSAGES)")
            crowded = int(re.findall(rb"MESSAGES (\d+)", answer[0])[0]) > CROWD
            (post.pausing.set if crowded else post.pausing.clear)()
            time.sleep(0.2)


def _verdict(stage: Stage, deeds: Deeds) -> Verdict:
    """The checker's for what they left alone; the rest is somewhere, and was done once each time it came."""
    everything, stage.numbers = stage.numbers, [n for n in stage.numbers if n not in deeds.touched]
    verdict = check(stage)
    stage.numbers = everything
    verdict.runs = len(everything)
    places: dict[int, Counter[str]] = {number: Counter() for number in everything}
    for mailbox, found in stage.look(ELSEWHERE).items():
        for number, _ in found:
            places[number][mailbox] += 1
    sent, traces = Counter(stage.sent()), Counter(stage.traces())
    for number in deeds.touched:
        if not places[number] and number not in deeds.deleted:
            verdict.say("lost", f"{number} is nowhere, and no neighbour deleted it")
        for mailbox in ("There", "Copies"):
            if places[number][mailbox] > 1 + deeds.came_again[number]:
                verdict.say("doubled", f"{number} is in {mailbox} {places[number][mailbox]} times")
        for what, count in (("forward", sent[SENT_TO, number]), ("script", traces[number])):
            if count > 1:
                verdict.say("doubled", f"{number}: {what} happened {count} times")
    return verdict
