"""The journal's disk: full, failing at any write, cut off at any frame by a power cut (T17 to T19).

What is done is a forward, a copy and a move for each message. Afterwards the sink, the mailboxes and the
journal are compared: no message is lost, nothing is done twice, and what the journal can't know it says.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

from mailrules.adapters.store import Store
from tests.adapters.store.journal_words import at, baseline, decided, forward, move, record
from tests.lab.disk import SmallDisk, Writes, synced
from tests.lab.dovecot import Dovecot, message
from tests.lab.journal import opened
from tests.lab.program import Program, account
from tests.lab.smtp import Received, SmtpSink

FULL = os.environ.get("MAILRULES_FAULTS") == "full"
RULES = (
    "rules:\n"
    "  - {name: send, mailboxes: [INBOX], when: always,\n"
    "     then: [{forward: books@example.org}, {copy: Copies}, {move: There}]}\n"
)


class Sink(SmtpSink):
    """Calls `at` with a step of SMTP, or with `taken`, and how many messages it had, before it answers."""

    at: Callable[[str, int], None] = staticmethod(lambda step, count: None)

    def take(self, step: str, *, peek: bool = False) -> Any:
        self.at(step, len(self.messages))
        return super().take(step, peek=peek)

    def add(self, message: Received) -> None:
        self.at("taken", len(self.messages))
        super().add(message)


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as running:
        yield running


class Scene:
    """A user whose mail is numbered by its subject, and the program that works on it."""

    def __init__(self, dovecot: Dovecot, sink: Sink, folder: Path, mailboxes: tuple[str, ...]) -> None:
        self.dovecot = dovecot
        self.sink = sink
        self.user = dovecot.new_user()
        self.sent = 0
        with dovecot.session(self.user) as client:
            for mailbox in ("There", "Copies", *mailboxes):
                client.create(mailbox)
        smtp = f"{{host: 127.0.0.1, port: {sink.port}, security: none, username: ~}}"
        text = "accounts:\n" + account(dovecot, self.user, mailboxes=mailboxes, smtp=smtp) + RULES
        folder.mkdir(exist_ok=True)
        self.program = Program(folder, text)

    def deliver(self, count: int = 1) -> None:
        for _ in range(count):
            self.sent += 1
            self.dovecot.append(self.user, message(self.sent, subject=f"number {self.sent}. of {self.user}!"))

    def log(self) -> list[dict[str, Any]]:
        """The run log, read here: a command takes a second of start."""
        with Store.open(self.program.state, read_only=True) as store:
            return list(store.log())

    def _numbers(self, mailbox: str) -> Counter[int]:
        with self.dovecot.session(self.user, mailbox) as client:
            answer = client.uid("FETCH", "1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1]
        return Counter(numbers(b"".join(part[1] for part in answer if isinstance(part, tuple))))

    def compare(self) -> int:
        """Nothing lost, nothing doubled. Gives how many forwards the journal says are unknown."""
        log = self.log()
        unknown = {e["message_id"] for e in log if e["action"] == "forward" and e["state"] == "unknown"}
        assert len({e["message_id"] for e in log}) == self.sent, "every message was judged"
        done = sum(e["action"] == "forward" and e["state"] == "done" for e in log)
        sink = Counter(
            n
            for mail in self.sink.messages
            if f" of {self.user}!" in (subject := str(message_from_bytes(mail.content)["Subject"]))
            for n in numbers(subject)
        )
        places = {name: self._numbers(name) for name in ("INBOX", "There", "Copies")}
        for number in range(1, self.sent + 1):
            where = {name: held[number] for name, held in places.items()}
            assert where["INBOX"] + where["There"] == 1, f"number {number}: {where}"
            assert where["Copies"] == 1, f"number {number}: {where}"
            assert sink[number] <= 1, f"number {number} was forwarded {sink[number]} times"
            assert sink[number] == 1 or where["INBOX"] == 1, f"number {number} left before it was forwarded"
        assert sum(places["INBOX"].values()) == len(unknown), "only what is unknown may stay"
        assert done + len(unknown) == self.sent
        assert sum(sink.values()) >= done
        return len(unknown)


def numbers(text: str | bytes) -> list[int]:
    if isinstance(text, bytes):
        text = text.decode()
    return [int(n) for n in re.findall(r"number (\d+)\.", text)]


@pytest.fixture
def scene(dovecot: Dovecot, sink: Sink, tmp_path: Path) -> Iterator[Scene]:
    made = Scene(dovecot, sink, tmp_path, ("INBOX",))
    with made.program:
        yield made


# -- T17: the disk is full --------------------------------------------------------------------------
@contextmanager
def background(work: Callable[[], None], pause: float) -> Iterator[None]:
    """Do it again and again until the block is left."""
    end = threading.Event()

    def loop() -> None:
        while not end.wait(pause):
            work()

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


@pytest.mark.timeout(400)
@pytest.mark.parametrize("greedy", [False, *([True] * 5 if FULL else [])])
def test_a_full_disk_stops_everything_and_loses_nothing(
    dovecot: Dovecot, sink: Sink, small_disk: SmallDisk, tmp_path: Path, greedy: bool
) -> None:
    """No effect while the disk is full, also when somebody takes the ballast's room; then it goes on."""
    scene = Scene(dovecot, sink, tmp_path, ("INBOX", "Other"))
    program = scene.program
    program.state = small_disk.path / "state"
    with program:
        program.start()
        program.wait_for(lambda: program.said().count("left alone until") == 2)
        with background(scene.deliver, 0.05):
            sink.wait(10, timeout=30)
            small_disk.fill()
            with background(small_disk.fill, 0.02 if greedy else 3600):
                program.wait_for("STOPPED", timeout=30)
                time.sleep(1)  # whatever had its intent ends
                before = len(sink.messages), scene._numbers("There").total()
                scene.deliver(3)
                time.sleep(2)
                assert (len(sink.messages), scene._numbers("There").total()) == before
                (status,) = program.json("status")
                assert not status["room"]["enough"]
                assert status["accounts"][0]["error"] and "room" in status["accounts"][0]["error"]
                assert "STOPPED: no room for the journal" in program.run("status").stdout
                if not greedy:
                    program.run("pause", "send")
                    program.run("resume", "send")
                    applied = program.run("apply", "--yes", status=75)
                    assert "no room" in applied.stdout + applied.stderr
        connected = program.said().count(" connected")
        small_disk.empty()
        freed = time.monotonic()
        program.wait_for("going on", timeout=60)
        print(f"resumed after {time.monotonic() - freed:.1f} s")

        def all_done() -> bool:
            log = scene.log()
            return len(log) == 3 * scene.sent and not {e["state"] for e in log} & {"planned", "running"}

        if greedy:  # what waits for an unknown forward stays planned
            program.wait_for(lambda: len(scene.log()) == 3 * scene.sent, timeout=60)
            time.sleep(5)
        else:
            program.wait_for(all_done, timeout=60)
        said = program.said()
        assert (said.count("STOPPED"), said.count("going on")) == (1, 1), said
        assert said.count(" connected") == connected, "the server has nothing to do with it"
        assert program.stop() == 0
        unknown = scene.compare()
        assert greedy or not unknown
        print(f"{scene.sent} messages, {unknown} unknown")


# -- T18: a write fails -------------------------------------------------------------------------------
def faulty(scene: Scene, environment: dict[str, str]) -> Any:
    """A pass in which writes fail, which must not be silent, and a clean one; then all is compared."""
    program, clean = scene.program, dict(scene.program.environment)
    scene.deliver(2)
    program.environment = clean | environment
    try:
        done = program.run("run", "--once", status=None)
    finally:
        program.environment = clean
    assert "Traceback" not in done.stderr, done.stderr
    if done.returncode:
        assert done.returncode in (1, 75) and "journal" in done.stderr, done
    else:  # SQLite or the ballast made it good: then all is done
        left = {e["state"] for e in scene.log()} - {"done", "unknown"}
        assert not left and len(scene.log()) == 3 * scene.sent, done
    return done


@pytest.mark.timeout(10800 if FULL else 120)
@pytest.mark.parametrize(
    ("error", "onward", "some"),
    [
        ("ENOSPC", True, (3, 120)),
        ("EIO", False, (80, 200)),
        *([("ENOSPC", False, ()), ("EIO", True, ())] if FULL else []),
    ],
)
def test_any_write_of_the_journal_may_fail(
    dovecot: Dovecot, sink: Sink, writes: Writes, tmp_path: Path,
    error: str, onward: bool, some: tuple[int, ...],
) -> None:  # fmt: skip
    """Whichever write or sync fails, once or from then on: said, nothing lost, nothing twice."""
    unknown = runs = 0
    for fail_at in itertools.count(1) if FULL else some:
        if runs % 20 == 0:  # a new journal: a larger one has more writes in a pass
            scene = Scene(dovecot, sink, tmp_path / str(runs), ("INBOX",))
            scene.program.run("run", "--once")
        faulty(scene, writes.environment(fail_at=fail_at, onward=onward, error=error))
        if len(writes.traced()) < fail_at:
            break
        scene.program.run("run", "--once", status=None)
        runs += 1
        before = unknown if runs % 20 != 1 else 0
        unknown = scene.compare()
        assert unknown - before <= 1, "what was not at its commit point is known"
    assert runs > 200 or not FULL
    print(f"{error}{' onward' if onward else ''}: {runs} calls failed")


@pytest.mark.parametrize("moment", ["rcpt", "taken"])
def test_no_write_no_effect(scene: Scene, writes: Writes, moment: str) -> None:
    """If the commit point can't be written nothing is sent; if the outcome can't, it is unknown."""
    scene.program.run("run", "--once")
    scene.sink.at = lambda step, count: writes.trigger.touch() if step == moment else None
    done = faulty(scene, writes.environment(error="ENOSPC"))
    assert done.returncode == 75 and "no room" in done.stderr
    sent = len(scene.sink.messages)  # both may be past their commit point: they are sent side by side
    assert (sent == 0) == (moment == "rcpt")
    scene.sink.at = lambda step, count: None
    scene.program.run("run", "--once", status=1 if sent else 0)
    assert scene.compare() == sent


# -- T19: the power is cut ------------------------------------------------------------------------------
HEADER, FRAME = 32, 24


def frames(wal: bytes) -> list[int]:
    """Where each frame of a WAL ends, the header first (sqlite.org/fileformat2.html, section 4)."""
    page = int.from_bytes(wal[8:12], "big")
    return list(range(HEADER, len(wal) + 1, FRAME + page))


def copied(state: Path, to: Path) -> None:
    shutil.copytree(state, to, ignore=shutil.ignore_patterns("ballast"))


def states(state: Path) -> dict[int, str]:
    """What a journal says of its effects."""
    with opened(state / "journal.db") as connection:
        found = dict(connection.execute("SELECT id, state FROM effect").fetchall())
    connection.close()
    return found


def test_what_was_acknowledged_survives_any_cut(tmp_path: Path) -> None:
    """A WAL cut off after what was acknowledged says just that: no half of what was being written."""
    with Store.open(tmp_path / "new") as store:
        baseline(store, (1, 1))
    state = tmp_path / "state"
    copied(tmp_path / "new", state)
    acknowledged: list[tuple[int, dict[int, str]]] = []
    with Store.open(state) as store:

        def note() -> None:
            copy = tmp_path / "copy"
            copied(state, copy)
            acknowledged.append(((copy / "journal.db-wal").stat().st_size, states(copy)))
            shutil.rmtree(copy)

        for uid in range(2, 6):
            sent, moved = record(store, decided(uid, forward(), move()))
            note()
            for row, steps in ((sent, ("intent", "commit", "done")), (moved, ("intent", "copied", "done"))):
                last = "planned"
                for step in steps:
                    store.advance([row.id], frm=last, to=step, at=at(uid))  # type: ignore[arg-type]
                    last = step
                    note()
        wal = (state / "journal.db-wal").read_bytes()
        database = (state / "journal.db").read_bytes()
    cuts = frames(wal)
    step = 1 if FULL else 8  # in the middle of a frame
    cuts = sorted({*cuts, *(cut + 100 for cut in cuts[:-1:step]), *(cut - 1 for cut in cuts[1::step])})
    checked = 0
    for cut in cuts:
        known = [said for end, said in acknowledged if end <= cut]
        if not known:
            continue
        shutil.rmtree(state)
        copied(tmp_path / "new", state)
        (state / "journal.db").write_bytes(database)
        (state / "journal.db-wal").write_bytes(wal[:cut])
        assert states(state) == known[-1], f"cut at {cut} of {len(wal)}"
        checked += 1
    assert checked > 100
    print(f"{checked} cuts")


@pytest.mark.timeout(7200 if FULL else 120)
@pytest.mark.parametrize("number", range(1, 41) if FULL else [2])
def test_a_power_cut_at_the_moment_of_a_forward(scene: Scene, writes: Writes, number: int) -> None:
    """What is on the disk when a server takes a forward already says so: it is not sent again."""
    program, sink = scene.program, scene.sink
    clean = dict(program.environment)
    program.run("run", "--once")
    program.environment = clean | writes.environment()
    scene.deliver(max(4, number + 1))
    at_hand: dict[str, Any] = {}

    def at_step(step: str, count: int) -> None:
        if step == "taken" and count == number - 1:
            assert program.worker is not None
            program.worker.kill()
            at_hand["wal"] = (program.state / "journal.db-wal").read_bytes()
            at_hand["synced"] = synced(writes.traced(), "journal.db-wal")

    sink.at = at_step
    program.start("--once")
    sink.wait(number, timeout=60)
    program.kill()
    sink.at = lambda step, count: None
    program.environment = clean
    # The power cut: of what was written since the last sync, nothing or any part is on the disk.
    wal, safe = at_hand["wal"], at_hand["synced"]
    possible = [end for end in frames(wal) if end >= safe]
    assert possible[0] == safe, "a sync ends with a whole transaction"
    (program.state / "journal.db-shm").unlink()  # memory
    saved = program.directory / "saved"
    copied(program.state, saved)
    for end in possible:
        shutil.rmtree(program.state)
        copied(saved, program.state)
        (program.state / "journal.db-wal").write_bytes(wal[:end])
        counted = Counter(states(program.state).values())
        # Others may be past their commit point too: they are sent side by side.
        assert counted["commit"] >= 1, f"the server has it, and the journal says {counted}"
        assert counted["done"] + counted["commit"] >= number
    program.run("run", "--once", status=1)
    assert scene.compare() == counted["commit"]
    assert scene.sent - counted["commit"] <= len(sink.messages) <= scene.sent
