"""T52: servers whose answers are garbled, byte by byte and line by line, under a whole pass.

Everything the server says goes through `mutated`. Whatever comes, a pass ends soon, in errors of the two
kinds; no mail is lost; and an account on a decent server, in the same process, is served.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from mailrules.adapters.imap.connection import Limits
from mailrules.adapters.store import Store
from tests.faults import hostile
from tests.faults.conftest import Record
from tests.lab.dovecot import PASSWORD, Dovecot, message
from tests.lab.proxy import FaultProxy
from tests.lab.scripted import FULL, ScriptedServer, Session

RULES = """
rules:
  - {name: flags, when: {subject: message 1}, then: [{flag: [flagged, $One]}]}
  - {name: copies, when: {body: hello}, then: [{copy: Copies}]}
  - {name: moves, when: {from: ann@example.test, not: {subject: big}}, then: [{move: "From/{{ message.from.domain }}"}]}
  - {name: bins, when: {larger_than: 2KB}, then: [trash]}
"""  # noqa: E501
MAILS = [
    *(message(n) for n in (1, 2, 3)),
    message(4, subject="big", body="x" * 3000),
    message(5, **{"from": "Zed <zed@example.test>", "subject": "=?utf-8?q?Gr=C3=BC=C3=9Fe?="}),
    message(6, body="--b\r\n\r\nhello\r\n--b\r\nContent-Type: application/pdf; name=x.pdf\r\n\r\nx\r\n--b--",
            content_type="multipart/mixed; boundary=b", mime_version="1.0"),
]  # fmt: skip
CAPABILITIES = (FULL, FULL.replace(" MOVE", ""), FULL + " ESEARCH", "IMAP4rev1 UIDPLUS", "IMAP4rev1")
TOGETHER = 7
"""Garbled servers in one pass, beside the decent one: as many accounts as a pass does at a time."""
LIMITS = Limits(seconds=3, octets=4 << 20, line=1 << 20, literal=1 << 20, untagged=5000)
PATIENCE = 0.25
LONGEST = 60.0
"""Seconds for a pass over eight accounts. Each answer is awaited 0.25 s, each command 3 s."""

MAX_COMMANDS = 400


def garbler(dice: random.Random) -> Callable[[bytes], bytes]:
    """Garbles some of what is said: from one answer in thirty to every second one."""
    share = dice.choice((0.03, 0.1, 0.1, 0.5))
    return lambda data: hostile.mutated(data, dice) if dice.random() < share else data


def lost(server: ScriptedServer) -> list[str]:
    """Mails that are nowhere any more."""
    with server.lock:
        left = {mail.fields("message-id") for box in server.boxes.values() for mail in box.mails}
    return [name for name in server.given if name not in left]


class Kept(ScriptedServer):
    """A scripted server that remembers what was in INBOX."""

    given: list[str]

    def fill(self) -> None:
        self.box("Trash", attributes=("\\Trash",))
        self.given = [self.box().add(raw).fields("message-id") for raw in MAILS]


def a_pass(folder: Path, ports: dict[str, tuple[int, int]], clean: int) -> tuple[list[str], float]:
    """One pass over all these (port, UIDVALIDITY) and the decent server: what went wrong, and seconds."""
    text = "accounts:\n" + "".join(hostile.account(name, port) for name, (port, _) in ports.items())
    wrong: list[str] = []
    with hostile.logged() as records, Store.open(folder) as store:
        house = hostile.ShortHouse(
            hostile.read_config(text + hostile.account("clean", clean) + RULES, password=PASSWORD), store,
            patience=dict.fromkeys(ports, PATIENCE), limits=LIMITS,
        )  # fmt: skip
        for name, (_, uidvalidity) in ports.items():
            hostile.judged_from_the_start(store, name, uidvalidity=uidvalidity)
        hostile.judged_from_the_start(store, "clean", uidvalidity=11)
        began = time.monotonic()
        try:
            results = hostile.pass_over(house)
        except BaseException as error:
            return [f"{type(error).__name__}: {error}"], time.monotonic() - began
        seconds = time.monotonic() - began
    wrong += hostile.tracebacks(records)
    (clean_result,) = (result for result in results if result.account == "clean")
    wrong += [f"clean: {error}" for _, error in clean_result.errors]
    if seconds > LONGEST:
        wrong.append(f"a pass took {seconds:.0f} s")
    return wrong, seconds


def unharmed(clean: Kept) -> list[str]:
    """What is not as it should be on the decent server."""
    with clean.lock:
        found = {name: len(box.mails) for name, box in clean.boxes.items()}
    expected = {"INBOX": 1, "Copies": 5, "From/example.test": 4, "Trash": 1}
    return [] if found == expected else [f"the decent server has {found}"]


@pytest.mark.timeout(4 * 3600)
def test_garbled_model(tmp_path: Path, record: Record) -> None:
    """Answers garbled on their way: no hang, no other exception, no mail lost, the others served."""
    runs = hostile.many(6, 3500)
    wrong: list[str] = []
    gone = 0
    for seed in range(runs):
        with ExitStack() as stack:
            servers = []
            for number in range(TOGETHER):
                dice = random.Random(f"model {seed} {number}")
                server = Kept(capability=dice.choice(CAPABILITIES), garble=garbler(dice))
                servers.append(stack.enter_context(server))
                server.fill()
            clean = stack.enter_context(Kept())
            clean.fill()
            ports = {f"a{number}": (server.port, 11) for number, server in enumerate(servers)}
            bad, _ = a_pass(hostile.folder(tmp_path, f"s{seed}"), ports, clean.port)
            bad += unharmed(clean)
            for number, server in enumerate(servers):
                if missing := lost(server):
                    gone += len(missing)
                    bad.append(f"server {number} has lost {missing}: {server.commands}")
                if len(server.commands) > MAX_COMMANDS:
                    bad.append(f"server {number}: {len(server.commands)} commands")
            wrong += [f"seed {seed}: {words}" for words in bad]
    record("T52", runs=runs * TOGETHER, lost=gone, wrong=len(wrong), note="answers garbled on their way")
    assert not wrong, "\n".join(wrong[:10])


@pytest.fixture
def transcript(dovecot: Dovecot, user: str, tmp_path: Path) -> tuple[dict[bytes, list[bytes]], int]:
    """The answers of a real server in a whole pass, by verb, and its UIDVALIDITY."""
    with dovecot.session(user, "INBOX") as client:
        client.create("Copies")
        uidvalidity = int(client.response("UIDVALIDITY")[1][0])
    dovecot.append(user, MAILS)
    with (
        FaultProxy((dovecot.host, dovecot.imap_port)) as proxy,
        Store.open(hostile.folder(tmp_path, "recorded")) as store,
    ):
        text = "accounts:\n" + hostile.account("real", proxy.port, username=user) + RULES
        hostile.judged_from_the_start(store, "real", uidvalidity=uidvalidity)
        house = hostile.ShortHouse(
            hostile.read_config(text, password=PASSWORD), store, patience={}, limits=LIMITS
        )
        (result,) = hostile.pass_over(house)
        assert not result.errors and result.mailboxes["INBOX"].judged == len(MAILS)
        log = proxy.last.log
        found = hostile.answers(bytes(log["c2s"]), bytes(log["s2c"]))
    assert {b"LOGIN", b"SELECT", b"UID SEARCH", b"UID FETCH", b"UID MOVE", b"UID COPY"} <= set(found)
    return found, uidvalidity


def replaying(transcript: dict[bytes, list[bytes]], garble: Callable[[bytes], bytes]) -> ScriptedServer:
    """A server that says what was recorded, each verb in its order, the last answer again and again."""
    server = ScriptedServer(garble=garble)
    said: dict[bytes, int] = {}

    def answer(session: Session, line: bytes) -> bytes:
        verb = hostile.verb(line)
        known = transcript.get(verb)
        if known is None:
            return b"{tag} BAD what\r\n"
        said[verb] = said.get(verb, -1) + 1
        return known[min(said[verb], len(known) - 1)]

    server.script(rb"", answer)
    return server


@pytest.mark.timeout(4 * 3600)
def test_garbled_transcripts(
    transcript: tuple[dict[bytes, list[bytes]], int], tmp_path: Path, record: Record
) -> None:
    """The transcript of a real server, mutated and played back: no hang, no other exception."""
    recorded, uidvalidity = transcript
    runs = hostile.many(6, 3700)
    wrong: list[str] = []
    for seed in range(runs):
        with ExitStack() as stack:
            ports = {}
            for number in range(TOGETHER):
                # Not garbled, it must do what it did: else it would all end at the first command.
                dice = random.Random(f"transcript {seed} {number}")
                garble = (lambda data: data) if seed == number == 0 else garbler(dice)
                ports[f"a{number}"] = (
                    stack.enter_context(replaying(recorded, garble)).port, uidvalidity,
                )  # fmt: skip
            clean = stack.enter_context(Kept())
            clean.fill()
            bad, _ = a_pass(hostile.folder(tmp_path, f"s{seed}"), ports, clean.port)
            wrong += [f"seed {seed}: {words}" for words in bad + unharmed(clean)]
    record("T52", runs=runs * TOGETHER, wrong=len(wrong), note="transcripts of Dovecot, mutated")
    assert not wrong, "\n".join(wrong[:10])
