"""T53, T54: a worker that waits, and servers that announce in odd ways, hang up, or let nobody in."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mailrules.adapters.store import Store
from mailrules.watching import back_off, login_gate, worker
from mailrules.watching.service import Service
from tests.faults import hostile
from tests.faults.conftest import Record
from tests.lab.ca import LabCA
from tests.lab.dovecot import message
from tests.lab.program import Program
from tests.lab.scripted import ScriptedServer, Session

RULES = "rules:\n  - {name: all, when: always, then: [{move: Moved}]}\n"
SOON = 5.0
"""Seconds: the figure is one; machines that run tests are busy. What is measured is recorded."""
CPU_SHARE = 0.2
"""Of a processor, while nothing happens: the figure is 0.01, a spin is 1.0."""


def cpu(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Waiting:
    """A worker, a process of its own, that watches a scripted server over plain text or TLS."""

    def __init__(self, server: ScriptedServer, program: Program) -> None:
        self.server, self.program = server, program
        self.slowest = 0.0

    @property
    def pid(self) -> int:
        assert self.program.worker is not None
        return self.program.worker.pid

    def until(self, what: str, condition: Callable[[], bool], seconds: float = 30.0) -> float:
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > seconds:
                raise AssertionError(f"{what}: waited {seconds} s in vain.\n{self.program.said()}")
            time.sleep(0.005)
        return time.monotonic() - began

    def idles(self) -> bool:
        return any(session.idling for session in list(self.server.sessions))

    def wait_idle(self) -> None:
        self.until("IDLE", self.idles)

    def moved(self, count: int, seconds: float = SOON) -> None:
        def there() -> bool:
            with self.server.lock:
                return len(self.server.box("Moved").mails) >= count

        self.slowest = max(self.slowest, self.until(f"mail {count}", there, seconds))

    def count(self) -> int:
        with self.server.lock:
            return len(self.server.box("Moved").mails)


@pytest.fixture(params=["plain", "TLS"])
def waiting(request: pytest.FixtureRequest, lab_ca: LabCA, tmp_path: Path) -> Iterator[Waiting]:
    over_tls = request.param == "TLS"
    with ScriptedServer(tls=lab_ca.server_context() if over_tls else None) as server:
        server.box("Moved")
        text = (
            f"accounts:\n  work:\n    host: localhost\n    port: {server.port}\n"
            f"    security: {'tls' if over_tls else 'none'}\n    username: me\n    password: {{env: LAB}}\n"
        )
        environment = {"LAB": server.password, "SSL_CERT_FILE": str(lab_ca.ca_file)}
        with Program(tmp_path, text + RULES, environment=environment) as program:
            program.start()
            program.wait_for("watched from now on")
            waiting = Waiting(server, program)
            waiting.wait_idle()
            yield waiting


def test_announcements_in_pieces(waiting: Waiting, record: Record) -> None:
    """`* 1 EXISTS` cut at any byte wakes the worker when it is whole, whatever stands around it."""
    server, number = waiting.server, 0
    before, sessions = cpu(waiting.pid), len(server.sessions)
    for noise in (b"", b"* OK Still here\r\n"):
        line = b"* 1 EXISTS\r\n"
        for place in range(1, len(line)):
            number += 1
            waiting.wait_idle()
            with server.lock:
                server.box().add(message(number))
                server.tell(noise + line[:place])
            time.sleep(0.03)
            server.tell(line[place:])
            waiting.moved(number)
    record("T53", runs=number, note=f"lines in two pieces; slowest {waiting.slowest:.2f} s")
    assert len(server.sessions) == sessions, "no connection was given up"
    assert waiting.count() == number and cpu(waiting.pid) - before < 0.5 * number


AROUND = (
    b"* %d EXISTS\r\n+ idling\r\n",
    b"+ idling\r\n* %d EXISTS\r\n",
    b"* %d EXISTS\r\n* 1 RECENT\r\n+\r\n",
    b"* OK hello\r\n+ idling\r\n* OK Still here\r\n* %d EXISTS\r\n",
)


def test_announcements_around_the_plus(waiting: Waiting, record: Record) -> None:
    """EXISTS before, with or right behind the `+` is acted on at once: IDLE will not repeat it."""
    server, number = waiting.server, 0
    usual = server.idle_answer
    arriving: list[bytes] = []

    def answer_idle(session: Session, line: bytes) -> None:
        """Mail that arrives just as IDLE is asked for."""
        server.idle_answer = usual
        if arriving:
            answer = arriving.pop()
            server.box().add(message(number))
            server.idle_answer = answer % len(server.box().mails)

    server.script(rb"IDLE", answer_idle)
    for answer in AROUND:
        waiting.wait_idle()
        number += 2
        arriving.append(answer)
        server.deliver(message(number - 1))  # so that IDLE is ended and asked for again
        waiting.moved(number)
    record("T53", runs=len(AROUND), note=f"around the plus; slowest {waiting.slowest:.2f} s")
    assert waiting.count() == number and len(server.sent(b"LOGIN")) == 1


ENDS = ("eof", "bye", "half a line", "tagged")
WAYS = ("plain", "TLS")


@pytest.mark.parametrize(
    ("waiting", "end"),
    list(itertools.product(WAYS, ENDS) if hostile.FULL else zip(WAYS * 2, ENDS, strict=True)),
    indirect=["waiting"],
)
def test_idle_that_ends(waiting: Waiting, end: str, record: Record) -> None:
    """EOF, BYE, half a line or a tagged answer in IDLE: connected again with backoff, nothing missed."""
    server = waiting.server
    before, logins = cpu(waiting.pid), len(server.sent(b"LOGIN"))
    session = next(session for session in server.sessions if session.idling)
    with server.lock:
        server.box().add(message(1))  # nobody is told
        if end == "bye":
            session.send(b"* BYE shutting down\r\n")
        elif end == "half a line":
            session.send(b"* 1 EXI")
        elif end == "tagged":
            session.send(b"AAAA1 OK bored\r\n* BYE\r\n")
        session.cut()
    waiting.moved(1, seconds=30)
    waiting.wait_idle()
    began = time.monotonic()
    time.sleep(2)
    share = (cpu(waiting.pid) - before) / (time.monotonic() - began)
    record("T53", runs=1, wrong=int(share > CPU_SHARE * 3), note=f"{end}; back after {waiting.slowest:.2f} s")
    assert len(server.sent(b"LOGIN")) - logins == 1
    assert waiting.count() == 1


def test_a_server_that_hangs_up_on_every_idle(waiting: Waiting, record: Record) -> None:
    """It is asked less and less often, at next to no cost in processor time."""
    server = waiting.server
    server.script(rb"IDLE", b"* BYE no idling here\r\n")
    for session in list(server.sessions):
        session.cut()
    seconds = 20.0 if hostile.FULL else 2.0
    time.sleep(1)
    before, logins, began = cpu(waiting.pid), len(server.sent(b"LOGIN")), time.monotonic()
    time.sleep(seconds)
    share = (cpu(waiting.pid) - before) / (time.monotonic() - began)
    tries = len(server.sent(b"LOGIN")) - logins
    record("T53", runs=tries, note=f"BYE to every IDLE: {share:.3f} of a processor, {tries} tries")
    assert share < CPU_SHARE and tries < 3 * seconds


def test_a_worker_that_waits_costs_nothing(waiting: Waiting, record: Record) -> None:
    """While IDLE is quiet, and while it is told that the server is still here, no processor time goes."""
    waiting.wait_idle()
    seconds = 30.0 if hostile.FULL else 2.0
    before, began = cpu(waiting.pid), time.monotonic()
    while time.monotonic() - began < seconds:
        waiting.server.tell(b"* OK Still here\r\n")
        time.sleep(0.5)
    share = (cpu(waiting.pid) - before) / (time.monotonic() - began)
    record("T53", runs=1, note=f"quiet IDLE: {share:.4f} of a processor")
    assert share < CPU_SHARE


# -- T54: logins that are refused ---------------------------------------------------------------------
@contextmanager
def service(server: ScriptedServer, folder: Path, *, mailboxes: int = 1) -> Iterator[Service]:
    """A worker in this process, so that its waits can be shortened."""
    names = ["INBOX", *(f"Box{n}" for n in range(1, mailboxes))]
    for name in (*names, "Moved"):
        server.box(name)
    text = "accounts:\n" + hostile.account("work", server.port, mailboxes=names) + RULES
    with hostile.logged(), Store.open(hostile.folder(folder, "state")) as store:
        found = Service(hostile.read_config(text), store)
        found.start()
        try:
            yield found
        finally:
            assert found.stop()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour is a second or two: waits are short, everything else is as always."""
    monkeypatch.setattr(login_gate, "CONFIRM", 0.1)
    monkeypatch.setattr(worker, "SHELVED", 0.1)
    monkeypatch.setattr(back_off, "full_jitter", lambda failures, **_: 0.05)


REFUSED = [
    b"NO [AUTHENTICATIONFAILED] Invalid credentials", b"NO LOGIN failed.", b"NO [EXPIRED] change it",
    b"NO [AUTHORIZATIONFAILED] no", b"NO [PRIVACYREQUIRED] no", b"NO [CONTACTADMIN] call us",
]  # fmt: skip


@pytest.mark.parametrize("answer", REFUSED, ids=lambda answer: answer.decode()[3:22])
@pytest.mark.usefixtures("hasty")
def test_a_refused_login_is_tried_twice(answer: bytes, tmp_path: Path, record: Record) -> None:
    """A wrong password is tried twice in all, by three connections in many rounds, until a person acts."""
    with ScriptedServer() as server:
        server.script(rb"LOGIN", b"{tag} " + answer + b"\r\n")
        with service(server, tmp_path, mailboxes=3) as found:
            end = time.monotonic() + (10 if hostile.FULL else 0.8)
            while time.monotonic() < end:
                time.sleep(0.05)
            tries = len(server.sent(b"LOGIN"))
            record("T54", runs=1, wrong=int(tries > 2), note=f"{answer.decode()}: {tries} logins")
            assert tries == 2, server.commands
            states = {connection["state"] for connection in found.connections()}
            assert states == {"needs-login"}
            found.forgive()  # `resume`: once more
            end = time.monotonic() + 0.6
            while time.monotonic() < end:
                time.sleep(0.05)
            assert len(server.sent(b"LOGIN")) == 4


PASSING = [
    b"NO [UNAVAILABLE] backend", b"NO [LIMIT] too many", b"NO [INUSE] busy", b"NO [SERVERBUG] oh",
]  # fmt: skip


@pytest.mark.parametrize("answer", PASSING, ids=lambda answer: answer.decode()[3:20])
@pytest.mark.usefixtures("hasty")
def test_a_passing_refusal_is_waited_out(answer: bytes, tmp_path: Path, record: Record) -> None:
    """A server that is busy is asked again, more often than twice, and then the mail is dealt with."""
    with ScriptedServer() as server:
        server.script(rb"LOGIN", b"{tag} " + answer + b"\r\n", times=4)
        with service(server, tmp_path):
            wait = Waiting(server, None)  # type: ignore[arg-type]
            end = time.monotonic() + 20
            while not wait.idles() and time.monotonic() < end:
                time.sleep(0.02)
            assert len(server.sent(b"LOGIN")) == 5, server.commands
            server.deliver(message(1))
            while not wait.count() and time.monotonic() < end:
                time.sleep(0.02)
            assert wait.count() == 1
    record("T54", runs=1, note=answer.decode())


@pytest.mark.parametrize("verb", ["MOVE", "COPY"])
@pytest.mark.parametrize("code", ["OVERQUOTA", "LIMIT", "INUSE", "UNAVAILABLE"])
@pytest.mark.usefixtures("hasty")
def test_a_full_mailbox_fails_one_effect_only(verb: str, code: str, tmp_path: Path, record: Record) -> None:
    """The effect is `later`, the message stays, the connection is kept, the other mail is dealt with."""
    rules = (
        "rules:\n  - {name: full, when: {subject: big}, then: [{move: Full}]}\n"
        "  - {name: rest, when: {not: {subject: big}}, then: [{move: Moved}]}\n"
    )
    capability = "IMAP4rev1 UIDPLUS IDLE" + (" MOVE" if verb == "MOVE" else "")
    with ScriptedServer(capability=capability) as server:
        server.box("Full")
        server.box("Moved")
        server.script(rb"UID (MOVE|COPY) \S+ \"?Full", b"{tag} NO [" + code.encode() + b"] not now\r\n")
        text = "accounts:\n" + hostile.account("work", server.port) + rules
        with Store.open(hostile.folder(tmp_path, "state")) as store, hostile.logged() as records:
            found = Service(hostile.read_config(text), store)
            found.start()
            try:
                wait = Waiting(server, None)  # type: ignore[arg-type]
                end = time.monotonic() + 20
                while not wait.idles() and time.monotonic() < end:
                    time.sleep(0.02)
                with server.lock:
                    server.box().add(message(1, subject="big"))
                    server.deliver(message(2))
                while not (wait.count() and wait.idles()) and time.monotonic() < end:
                    time.sleep(0.02)
                (row,) = store.open_log("later")
                assert row["rule"] == "full" and wait.count() == 1 and len(server.box().mails) == 1
                assert len(server.sent(b"LOGIN")) == 1 and not hostile.tracebacks(records)
            finally:
                assert found.stop()
    record("T54", runs=1, note=f"[{code}] to {verb}")
