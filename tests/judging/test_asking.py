"""Scripts of conditions: what they are told, what they say, and who waits for them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailrules.adapters.command import CommandResult
from mailrules.adapters.imap.connection import Connection, Login
from mailrules.adapters.imap.mailbox import Mailbox
from mailrules.core.errors import TransientError
from mailrules.core.message import Fact, Message, MessageKey, Question, ScriptAnswer, script_fact
from mailrules.judging.asking import TOGETHER, Asking, Questions, answer_of, ask
from mailrules.judging.judge import PENDING
from tests.lab.scripted import ScriptedServer

NOW = datetime(2026, 3, 1, tzinfo=UTC)
KEY = MessageKey("work", "INBOX", 1, 7)


def question(*run: str, give: str = "message", timeout: float = 20.0) -> Question:
    return Question("my rule", run, give, timeout, (("EXTRA", "x"),), "")


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (CommandResult(0, b"", b"a\nb\n\n"), ScriptAnswer(0, "b")),
        (CommandResult(1), ScriptAnswer(1)),
        (CommandResult(2, b"", b"oh\n"), ScriptAnswer(2, "oh", "script: exit status 2: oh")),
        (CommandResult(75), ScriptAnswer(75, "", "script: it asks to be asked later (75)", True)),
        (CommandResult(-9), ScriptAnswer(-9, "", "script: ended by signal 9")),
        (
            CommandResult(-15, interrupted="timeout"),
            ScriptAnswer(-15, "", "script: it took longer than its timeout"),
        ),
        (CommandResult(-15, interrupted="stop"), ScriptAnswer(-15, "", "script: mailrules stops", True)),
        (CommandResult(None, error="lost", lost=True), ScriptAnswer(None, "", "script: lost")),
    ],
)
def test_what_it_says(result: CommandResult, expected: ScriptAnswer) -> None:
    """0 and 1 are answers, 75 and the end of the program are none yet, all else is none."""
    assert answer_of(result) == expected


def test_what_it_is_told(tmp_path: Path) -> None:
    """The message on standard input, who asks in variables; as for the action."""
    script = tmp_path / "tell.sh"
    script.write_text('#!/bin/sh\n(cat; env) > "$0.out"\nexit 1\n')
    script.chmod(0o755)
    raw = b"Subject: hello\r\n\r\nbody\r\n"
    told = {"key": KEY, "message_id": "<a@x>", "flags": ["\\Seen"]}
    assert ask(question(str(script)), raw, **told) == ScriptAnswer(1)  # type: ignore[arg-type]
    said = (tmp_path / "tell.sh.out").read_text()
    assert said.startswith("Subject: hello") and "body" in said
    for line in (
        "MAILRULES_ACCOUNT=work", "MAILRULES_MAILBOX=INBOX", "MAILRULES_UID=7", "MAILRULES_RULE=my rule",
        "MAILRULES_MESSAGE_ID=<a@x>", "EXTRA=x",
    ):  # fmt: skip
        assert line in said.splitlines()
    ask(question(str(script), give="json"), raw, **told)  # type: ignore[arg-type]
    found = json.loads((tmp_path / "tell.sh.out").read_text().splitlines()[0])
    assert found["headers"] == {"subject": ["hello"]} and found["flags"] == ["\\Seen"]


def test_a_program_that_is_not_there() -> None:
    """Nothing can be said, and it will not pass."""
    answer = ask(question("/nowhere/x"), b"", key=KEY, message_id="", flags=[])
    assert "/nowhere/x" in answer.problem and not answer.passing


# -- many -----------------------------------------------------------------------------------------------
@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    """Twenty messages."""
    with ScriptedServer() as server:
        for number in range(1, 21):
            server.box().add(b"Subject: %d\r\n\r\nhello\r\n" % number)
        connection = Connection(
            Login("work", "127.0.0.1", server.port, "none", "me", lambda: server.password)
        )
        connection.open()
        yield connection.select("INBOX")
        connection.close()


class Room:
    """Questions of an account, and how often somebody was called."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self.called: list[str] = []
        self.questions = Questions("work", self.stopping, ended=self.called.append)

    def learn(
        self, mailbox: Mailbox, fact: Fact, uids: range | list[int], *, patient: bool = False
    ) -> dict[int, object]:
        messages = {
            uid: Message(MessageKey("work", mailbox.name, mailbox.uidvalidity, uid), NOW) for uid in uids
        }
        return dict(Asking(self.questions).learn(mailbox, fact, messages, {}, patient=patient))


def test_all_are_asked_by_who_has_time(mailbox: Mailbox, tmp_path: Path) -> None:
    """Some at a time, each once; those that are gone are left out."""
    script = tmp_path / "odd.sh"
    script.write_text(f"#!/bin/sh\necho x >> {tmp_path}/asked\nexit $((MAILRULES_UID % 2))\n")
    script.chmod(0o755)
    found = Room().learn(mailbox, script_fact(question(str(script))), [*range(1, 13), 99], patient=True)
    assert found == {uid: ScriptAnswer(uid % 2) for uid in range(1, 13)}
    assert (tmp_path / "asked").read_text() == "x\n" * 12


def test_one_judge_asks_once(mailbox: Mailbox, tmp_path: Path) -> None:
    """`plan --json` judges twice; one that wants to be asked later is asked again."""
    fact = script_fact(question("/bin/sh", "-c", f"echo x >> {tmp_path}/asked; exit ${{STATUS:-1}}"))
    later = script_fact(question("/bin/sh", "-c", f"echo x >> {tmp_path}/later; exit 75"))
    asking = Asking(Room().questions)
    message = Message(MessageKey("work", "INBOX", mailbox.uidvalidity, 1), NOW)
    for _ in range(2):
        assert asking.learn(mailbox, fact, {1: message}, {}, patient=True) == {1: ScriptAnswer(1)}
        asking.learn(mailbox, later, {1: message}, {}, patient=True)
    assert (tmp_path / "asked").read_text() == "x\n"
    assert (tmp_path / "later").read_text() == "x\nx\n"


def test_slow_ones_are_put_off(mailbox: Mailbox, tmp_path: Path) -> None:
    """Who has no time gets PENDING for what runs and for what has no place yet; `ready` says when; the
    answer is there then, once."""
    release = tmp_path / "release"
    wait = f"while [ ! -e {release} ]; do sleep 0.05; done"
    fact = script_fact(question("/bin/sh", "-c", wait, give="none"))
    room = Room()
    began = time.monotonic()
    found = room.learn(mailbox, fact, range(1, TOGETHER + 3))
    assert time.monotonic() - began < 5
    assert all(value is PENDING for value in found.values()) and len(found) == TOGETHER + 2
    assert not room.questions.ready(mailbox) and not room.called
    release.touch()
    deadline = time.monotonic() + 20
    while len(room.questions.ready(mailbox)) < TOGETHER + 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert room.questions.ready(mailbox) == frozenset(range(1, TOGETHER + 3)) and "work" in room.called
    assert room.learn(mailbox, fact, [1, 2]) == dict.fromkeys((1, 2), ScriptAnswer(0))
    assert room.questions.ready(mailbox) == frozenset(range(3, TOGETHER + 3))


def test_the_end_of_the_program(mailbox: Mailbox) -> None:
    """Who waits goes at once, and the message stays unjudged."""
    room = Room()
    threading.Timer(0.3, room.stopping.set).start()
    with pytest.raises(TransientError, match="stops"):
        room.learn(mailbox, script_fact(question("/bin/sh", "-c", "sleep 1")), [1], patient=True)
