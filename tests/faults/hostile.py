"""What the hostile tests share: how much of them to run, a house with short patience, what servers send."""

from __future__ import annotations

import json
import logging
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from mailrules import clock, config
from mailrules.adapters.imap.connection import Connection, Limits
from mailrules.adapters.store import Store
from mailrules.core.uidset import UidSet
from mailrules.house import House
from mailrules.once import OnceResult, run_once

FULL = os.environ.get("MAILRULES_FAULTS") == "full"
"""Whether the figures of RELIABILITY section 6 are wanted, and not the slice that every commit gets."""


def many(short: int, full: int) -> int:
    """How often: a slice, or the whole figure where MAILRULES_FAULTS=full."""
    return full if FULL else short


# -- a house that gives a server up soon ------------------------------------------------------------
class ShortHouse(House):
    """A House whose connections have limits for tests: `limits` and seconds to wait, for each account."""

    def __init__(
        self, rules: config.Config, store: Store | None, *, patience: Mapping[str, float], limits: Limits
    ) -> None:
        super().__init__(rules, store)
        self._patience, self._limits = patience, limits

    def connect(self, account: str) -> Connection:
        connection = super().connect(account)
        seconds = self._patience.get(account)
        if seconds is not None:
            connection.login = replace(connection.login, timeout=seconds)
            connection._limits = self._limits
        return connection


def account(name: str, port: int, *, mailboxes: Sequence[str] = ("INBOX",), username: str = "me") -> str:
    """The YAML of an account on a server of this process."""
    return (
        f"  {name}:\n    host: 127.0.0.1\n    port: {port}\n    security: none\n    username: {username}\n"
        f"    address: me@example.test\n    password: {{env: LAB}}\n    mailboxes: [{', '.join(mailboxes)}]\n"
    )


def read_config(text: str, *, password: str = "pw") -> config.Config:
    return config.parse(text, environ={"LAB": password})


def judged_from_the_start(store: Store, account: str, *, uidvalidity: int, mailbox: str = "INBOX") -> None:
    """As if the mailbox had been empty when it was first watched: all its mail is new."""
    store.set_baseline(account, mailbox, uidvalidity=uidvalidity, judged=UidSet(), high_uid=0, at=clock.now())


def pass_over(house: House) -> list[OnceResult]:
    """One pass over every account, in this process, as `run --once` does it."""
    return run_once(house, done=lambda result: None)


@contextmanager
def logged(level: int = logging.INFO) -> Iterator[list[logging.LogRecord]]:
    """The program's log records. One with a traceback is a bug that somebody caught."""
    records: list[logging.LogRecord] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    logger, handler = logging.getLogger("mailrules"), Kept(level)
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False
    try:
        yield records
    finally:
        logger.removeHandler(handler)
        logger.level, logger.propagate = before


# -- what servers send, and what becomes of it -------------------------------------------------------
def answers(c2s: bytes, s2c: bytes) -> dict[bytes, list[bytes]]:
    """A recorded session as its answers: verb -> what the server said each time, `{tag}` for the tag."""
    found: dict[bytes, list[bytes]] = {}
    place = s2c.find(b"\r\n") + 2  # the greeting
    for tag, command in re.findall(rb"(?m)^([A-Z]{2,}\d+) ([^\r\n]*)\r$", c2s):
        end = re.compile(rb"(?m)^%s (?:OK|NO|BAD)[^\r\n]*\r\n" % tag).search(s2c, place)
        if end is not None:
            answer = s2c[place : end.end()].replace(tag + b" ", b"{tag} ")
            found.setdefault(verb(command), []).append(answer)
            place = end.end()
    return found


def verb(command: bytes) -> bytes:
    """`UID FETCH`, `SELECT`, …"""
    words = command.upper().split()
    return b" ".join(words[:2] if words[:1] == [b"UID"] else words[:1])


_SPICE = (
    b"(", b")", b"((((((((", b'"', b"{9}\r\n", b"{0}\r\n", b"{4000000000}\r\n", b"{99999999999999999999}\r\n",
    b"~{3}\r\n", b"\r\n", b"\n", b"\r", b"\0", b"\xff", b"\xc3\xa4", b"*", b"+ ", b"NIL", b"\\", b"[", b"]",
    b"<0>", b"%", b" ", b"  ", b"\t", b"\x1b[2J", b"(" * 3000, b"x" * 20_000,
)  # fmt: skip
_NUMBERS = (
    b"0", b"-1", b"1", b"2", b"4294967295", b"4294967296", b"18446744073709551616", b"9.3736e+06",
    b"9" * 5000, b"01", b"1:*", b"1:4294967295", b"*",
)  # fmt: skip
_LINES = (
    b"* 0 EXISTS", b"* 1 EXPUNGE", b"* 99999999999 EXISTS", b"* 4 FETCH (UID 9999 FLAGS (\\Deleted))",
    b"* 1 FETCH (FLAGS (\\Seen))", b"* OK [UIDVALIDITY 7] anew", b"* BYE I am going", b"* OK [ALERT] listen",
    b"* VANISHED 1:5", b"* SEARCH 1 2 3 4 5 6 7 8 9", b"* FLAGS ()", b"* OK [PERMANENTFLAGS ()] none",
    b"* CAPABILITY IMAP4rev1", b"+ go on", b"{tag} OK again", b"* PREAUTH hello", b"* LIST () NIL INBOX",
    b"* NO [SERVERBUG] oh", b"* BAD what", b"* OK [COPYUID 1 1:9 1:9] so", b"", b"*", b"* ", b"nonsense",
)  # fmt: skip
_WORDS = ((b" OK", b" NO"), (b" OK", b" BAD"), (b" NO", b" OK"), (b" OK", b" BYE"), (b"UID", b"UIT"),
          (b"COPYUID", b"COPYIUD"), (b"FETCH", b"fetch"), (b"INBOX", b"inbox"), (b"READ-WRITE", b"READ-ONLY"),
          (b"BODY[", b"BODY[X"), (b"FLAGS", b"RFC822.SIZE"), (b"EXISTS", b"EXPUNGE"))  # fmt: skip


def mutated(data: bytes, dice: random.Random) -> bytes:
    """What a broken or hostile server might have said instead."""
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        data = _mutated_once(data, dice)
    return data


def _mutated_once(data: bytes, dice: random.Random) -> bytes:
    place = dice.randrange(len(data) + 1)
    kind = dice.randrange(12)
    if kind == 0:  # bytes that are missing
        return data[:place] + data[place + dice.randrange(1, 9) :]
    if kind == 1:
        return data[:place] + dice.choice(_SPICE) + data[place:]
    if kind == 2:
        return data[:place] + bytes([dice.randrange(256)]) + data[place + 1 :]
    if kind == 3:  # said twice
        return data[:place] + data[max(0, place - dice.randrange(1, 60)) :]
    if kind == 4:
        return data[:place]
    if kind in (5, 6):
        numbers = list(re.finditer(rb"\d+", data))
        if not numbers:
            return data
        number = dice.choice(numbers)
        other = dice.choice((*_NUMBERS, b"%d" % (int(number[0][:15]) + dice.choice((-1, 1, 7)))))
        return data[: number.start()] + other + data[number.end() :]
    if kind == 7:
        old, new = dice.choice(_WORDS)
        return data.replace(old, new, dice.choice((1, -1)))
    lines = data.split(b"\r\n")
    at = dice.randrange(len(lines))
    if kind == 8:
        del lines[at]
    elif kind == 9:
        lines.insert(at, dice.choice(lines))
    elif kind == 10:
        lines.insert(at, dice.choice(_LINES))
    else:
        dice.shuffle(lines)
    return b"\r\n".join(lines)


def tracebacks(records: Iterable[logging.LogRecord]) -> list[str]:
    """What somebody caught that nobody foresaw."""
    return [
        f"{r.getMessage()}: {r.exc_info[0].__name__}: {r.exc_info[1]}"
        for r in records
        if r.exc_info and r.exc_info[0] is not None
    ]


def folder(parent: Path, name: str) -> Path:
    """A state directory of its own."""
    path = parent / name
    path.mkdir(mode=0o700)
    return path


def in_a_child(function: str, *arguments: Any) -> dict[str, Any]:
    """What a function of tests.faults.reader prints, run in a process whose memory is its own."""
    code = f"from tests.faults import reader; reader.{function}(*{arguments!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=170, check=False
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said
