"""A stage for faults: one user on a real server, an SMTP sink, a script that leaves a trace, and a journal.

::

    stage = Stage(server, sink, directory, SCENARIOS["everything"])
    stage.baseline()
    number = stage.deliver()
    stage.run()                  # one pass in this process; what breaks is in the result, not raised
    stage.settle()               # passes until nothing is open; a person skips what is unknown
    verdict = check(stage)       # checker.py

Every message of the stage has a number, in the header X-Lab-Number and in its subject.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import text

from mailrules import config as configuration
from mailrules.adapters.store import LogQuery, Store
from mailrules.house import House
from mailrules.once import OnceResult, run_once
from tests.lab.dovecot import PASSWORD, Dovecot
from tests.lab.smtp import ScriptedSmtp, SmtpSink
from tests.lab.web import WebSink

KEY = "X-Lab-Number"
SENT_TO = "desk@example.test"
FOREIGN = 3
"""Messages in INBOX that somebody else has marked \\Deleted: they are never ours to remove."""
OPEN_STATES = ("planned", "held", "running", "later", "failed", "unknown")


@dataclass(frozen=True)
class Scenario:
    """Rules, and what they come to for one message.

    `where`: the mailboxes that have exactly one copy of it in the end, INBOX included if it stays. `sent`:
    how often the sink has it, by recipient; `scripts`: how often the script ran. `retries`: the rules say
    `on_unknown: retry`, so that what is unknown may happen twice. `answers`: it is the script that asks for
    `where` and `flags`; where it is unknown what became of that, the message stays as it was. `saved`: how
    often it is a file; `called`: the rules call a web service about it, at the stage's `web`. `senders`:
    each message has a return path of its own; `{}` in a recipient is its number.
    """

    name: str
    rules: str
    where: tuple[str, ...]
    flags: tuple[str, ...] = ()
    sent: tuple[str, ...] = ()
    scripts: int = 0
    capability: str = ""
    retries: bool = False
    answers: bool = False
    saved: int = 0
    called: bool = False
    senders: bool = False


_TRACE = "script: {run: [./trace]}"
_FORWARD = f"forward: {SENT_TO}"
# Without MOVE: the fallback. Dovecot's list, shortened; SASL-IR and the like do not matter here.
NO_MOVE = "IMAP4rev1 LITERAL+ ID ENABLE IDLE NAMESPACE UNSELECT UIDPLUS ESEARCH SPECIAL-USE"
NO_UIDPLUS = "IMAP4rev1 LITERAL+ ID ENABLE IDLE NAMESPACE UNSELECT ESEARCH SPECIAL-USE"


def _rule(*actions: str, more: str = "") -> str:
    steps = "".join(f"\n      - {action}" for action in actions)
    return f"  - name: all\n    when: {{subject: lab}}\n    then:{steps}\n{more}"


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("flag", _rule("flag: [seen, $Lab]"), ("INBOX",), flags=("\\Seen", "$Lab")),
        Scenario("move", _rule("move: There"), ("There",)),
        Scenario("move-without-MOVE", _rule("move: There"), ("There",), capability=NO_MOVE),
        Scenario("copy", _rule("copy: There"), ("INBOX", "There")),
        Scenario("delete", _rule("delete: permanently"), ()),
        Scenario("forward", _rule(_FORWARD), ("INBOX",), sent=(SENT_TO,)),
        Scenario("redirect", _rule(f"redirect: {SENT_TO}"), ("INBOX",), sent=(SENT_TO,)),
        Scenario("script", _rule(_TRACE), ("INBOX",), scripts=1),
        Scenario(
            "script-answers",
            _rule("script: {run: [./trace, answer], allow: {move: [There], flag: [$Answered]}}"),
            ("There",), flags=("$Answered",), scripts=1, answers=True,
        ),
        Scenario("save", _rule("save: {to: saved, what: message}", "move: There"), ("There",), saved=1),
        Scenario(
            "webhook",
            _rule("webhook: {url: '@WEB@', json: {n: '{{ message.subject }}'}}", "move: There"),
            ("There",), called=True,
        ),
        Scenario(
            "reply",
            _rule(
                f"reply: {{text: '{KEY}: {{{{ message.headers[\"{KEY}\"] }}}}', addresses: me@example.test}}",
                "move: There",
            ),
            ("There",), sent=("ann{}@example.test",), senders=True,
        ),
        Scenario(
            "assign", _rule("assign: {to: [ann, bob]}", "copy: Copies"), ("Copies", "INBOX"),
        ),
        Scenario(
            "everything",
            _rule("flag: $Lab", "copy: Copies", _FORWARD, _TRACE, "move: There"),
            ("Copies", "There"), flags=("$Lab",), sent=(SENT_TO,), scripts=1,
        ),
        Scenario(
            "everything-without-MOVE",
            _rule("flag: $Lab", "copy: Copies", _FORWARD, _TRACE, "move: There"),
            ("Copies", "There"), flags=("$Lab",), sent=(SENT_TO,), scripts=1, capability=NO_MOVE,
        ),
        Scenario(
            "retry", _rule(_FORWARD, more="    on_unknown: retry\n"),
            ("INBOX",), sent=(SENT_TO,), retries=True,
        ),
    )
}  # fmt: skip


@dataclass
class Stage:
    """`imap_port` and `smtp_port` may be a proxy's. The state is kept between passes, as in life.

    `smtp`: more of what the account says of its SMTP server. `first`: the number of the first message.
    """

    server: Dovecot
    sink: SmtpSink | ScriptedSmtp
    directory: Path
    scenario: Scenario
    user: str = ""
    imap_port: int = 0
    smtp_port: int = 0
    smtp: str = "security: none"
    timeout: float = 20.0
    first: int = 1
    web: WebSink | None = None
    numbers: list[int] = field(default_factory=list)
    unknown: set[tuple[int, str]] = field(default_factory=set)
    """What was unknown at some time: (number, action)."""
    was_quarantined: set[int] = field(default_factory=set)
    foreign: list[int] = field(default_factory=list)
    _store: Store | None = None
    _house: House | None = None

    def __post_init__(self) -> None:
        self.user = self.user or self.server.new_user()
        self.directory.mkdir(exist_ok=True)
        trace = self.directory / "trace"
        trace.write_text(
            "#!/bin/sh\n"
            '[ "$1" = answer ] && echo \'{"flag": "$Answered"}\' && echo \'{"move": "There"}\'\n'
            f"exec sed -n 's/^{KEY}: *//p' >> {self.directory}/traces\n"
        )
        trace.chmod(trace.stat().st_mode | stat.S_IXUSR)
        os.environ.setdefault("LAB_PASSWORD", PASSWORD)
        with self.server.session(self.user) as client:
            for mailbox in ("There", "Copies"):
                client.create(mailbox)

    # -- configuration ------------------------------------------------------------------------------
    @property
    def state(self) -> Path:
        return self.directory / "state"

    def configure(self) -> Path:
        """Write rules.yaml anew; the ports may have changed."""
        path = self.directory / "rules.yaml"
        path.write_text(
            "accounts:\n  lab:\n"
            f"    host: {self.server.host}\n    port: {self.imap_port or self.server.imap_port}\n"
            f"    security: none\n    username: {self.user}\n    address: {self.user}@example.test\n"
            "    password: {env: LAB_PASSWORD}\n"
            f"    smtp: {{host: 127.0.0.1, port: {self.smtp_port or self.sink.port}, {self.smtp}}}\n"
            f"rules:\n{self.scenario.rules.replace('@WEB@', self.web.url if self.web else '')}"
        )
        self._house = None
        return path

    @property
    def store(self) -> Store:
        if self._store is None:
            self._store = Store.open(self.state)
        return self._store

    def close(self) -> None:
        """Close the journal: another process is going to have it."""
        if self._store is not None:
            self._store.close()
        self._store = self._house = None

    # -- mail ---------------------------------------------------------------------------------------
    def deliver(self, count: int = 1, mailbox: str = "INBOX") -> int:
        """Put numbered messages into a mailbox. Gives the first number."""
        first = max(self.numbers, default=self.first - 1) + 1
        new = range(first, first + count)
        self.server.append(self.user, [self._letter(n) for n in new], mailbox)
        self.numbers.extend(new)
        return first

    def _letter(self, number: int) -> bytes:
        path = f"Return-Path: <ann{number}@example.test>\r\n" if self.scenario.senders else ""
        return path.encode() + numbered(number)

    def add_foreign(self) -> None:
        """Messages that another client has marked \\Deleted, before and among ours."""
        raw = [numbered(10**6 + n, subject="not ours") for n in range(FOREIGN)]
        self.foreign = self.server.append(self.user, raw, flags="(\\Deleted)")

    # -- passes -------------------------------------------------------------------------------------
    def baseline(self) -> None:
        """The first look: what is there is left alone."""
        self.configure()
        (result,) = self.run()
        assert not result.errors, result.errors

    def run(self) -> list[OnceResult]:
        """One pass in this process, as `run --once` does. What fails is in the results' `errors`."""
        if self._house is None:
            self._house = House(configuration.load(self.directory / "rules.yaml"), self.store)
            self._house.begin()
        self.house.forget("lab")
        return run_once(self.house, done=lambda _: None)

    @property
    def house(self) -> House:
        assert self._house is not None
        return self._house

    def time_passes(self) -> None:
        """Whatever waits for its next try is due now; what died or was sent lately, did so long ago."""
        with self.store._database.write() as connection:
            connection.execute(text("DELETE FROM meta WHERE name = 'found_out'"))
            connection.execute(text("DELETE FROM brake_count"))  # no more than 20 sends a minute, 500 a day
            connection.execute(text("UPDATE effect SET next_try = 0 WHERE state = 'later'"))
            connection.execute(text("UPDATE message SET next_try = 0 WHERE state = 'waiting'"))

    def settle(self, *, passes: int = 6) -> None:
        """Passes without faults until nothing is open. A person looks at what waits for one:
        skips what is unknown (it is noted), and retries what was quarantined.
        """
        for _ in range(passes):
            self.time_passes()
            self.run()
            if not self._decide():
                return
        left = [(e["subject"], e["action"], e["state"], e["detail"]) for e in self.open_entries()]
        raise AssertionError(f"after {passes} clean passes there is still something open: {left[:5]}")

    def _decide(self) -> bool:
        """What a person would decide now. Whether anything is still open."""
        entries = self.open_entries()
        for entry in entries:
            row = self.store.effect(entry["id"])
            if row is None or row.state != entry["state"]:
                continue  # what was decided for another one has changed it
            if entry["state"] == "unknown":
                self.unknown.add((number_of(entry["subject"]), entry["action"]))
                self.store.skip([entry["id"]], at=_now())
            elif entry["state"] == "failed" and entry["detail"].get("quarantined"):
                self.was_quarantined.add(number_of(entry["subject"]))
                self.store.retry([entry["id"]], at=_now())
        return bool(entries) or bool(self.store.troubled())

    def entries(self) -> list[dict[str, Any]]:
        """The run log."""
        return list(self.store.log(LogQuery()))

    def open_entries(self) -> list[dict[str, Any]]:
        return list(self.store.log(LogQuery(states=OPEN_STATES)))

    # -- what the world shows -----------------------------------------------------------------------
    def look(self, *more: str) -> dict[str, list[tuple[int, frozenset[str]]]]:
        """Each mailbox, and `more`: the numbers in it, with flags."""
        found: dict[str, list[tuple[int, frozenset[str]]]] = {}
        with self.server.session(self.user) as client:
            for mailbox in ("INBOX", "There", "Copies", "Trash", "Archive", *more):
                if client.select(f'"{mailbox}"', readonly=True)[0] != "OK":
                    continue
                _, answer = client.uid("FETCH", "1:*", f"(FLAGS BODY.PEEK[HEADER.FIELDS ({KEY})])")
                found[mailbox] = list(_seen(answer))
        return found

    def traces(self) -> list[int]:
        """The numbers that the script has left."""
        path = self.directory / "traces"
        return [int(word) for word in path.read_text().split()] if path.exists() else []

    def saved(self) -> list[int]:
        """The numbers of the messages that are files; 0 for what is no whole file."""
        paths = sorted((self.directory / "saved").glob("*")) + sorted((self.directory / "saved").glob(".*"))
        return [_number_in(path.read_bytes()) if path.suffix == ".eml" else 0 for path in paths]

    def called(self) -> dict[int, set[str]]:
        """The keys with which the web service was called, by number."""
        found: dict[int, set[str]] = {}
        for request in self.web.requests if self.web else ():
            number = number_of(json.loads(request.body)["n"])
            found.setdefault(number, set()).add(request.headers["idempotency-key"])
        return found

    def sent(self) -> list[tuple[str, int]]:
        """(recipient, number) of every message the sink took."""
        ours = set(self.numbers)
        return [
            (recipient, number)
            for received in list(self.sink.taken)
            for recipient in received.rcpt_tos
            for number in [_number_in(received.content)]
            if number in ours
        ]


def numbered(number: int, *, subject: str = "lab") -> bytes:
    return (
        f"From: Ann <ann@example.test>\r\nTo: me@example.test\r\nSubject: {subject} {number}\r\n"
        f"Message-ID: <{number}@lab.example.test>\r\n{KEY}: {number}\r\n"
        f"Date: Thu, 26 Nov 2026 10:00:00 +0000\r\n\r\nThe text of {number}.\r\n"
    ).encode()


def number_of(subject: str | None) -> int:
    match = re.search(r"(\d+)$", subject or "")
    return int(match[1]) if match else 0


def _number_in(raw: bytes) -> int:
    match = re.search(rb"^%s: *(\d+)" % KEY.encode(), raw, re.MULTILINE)
    return int(match[1]) if match else 0


def _seen(answer: Sequence[Any]) -> Iterable[tuple[int, frozenset[str]]]:
    # imaplib splits what stands around a literal over two items: FLAGS may stand on either side.
    for place, part in enumerate(answer):
        if isinstance(part, tuple):
            after = answer[place + 1] if place + 1 < len(answer) else b""
            around = part[0] + (after if isinstance(after, bytes) else b"")
            flags = re.search(rb"FLAGS \(([^)]*)\)", around)
            yield _number_in(part[1]), frozenset(flags[1].decode().split() if flags else ())


def _now() -> Any:
    from mailrules import clock

    return clock.now()
