"""The server of the benchmark: a private Dovecot, mailboxes made once and copied for every contender."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.mails import Mail, corpus_folder, mails
from benchmarks.rules import MAILBOXES, Rule, fifty, pattern_of
from mailrules.core.headers import decode
from tests.lab.dovecot import PASSWORD, Dovecot, Layout

_BATCH = 200
_WARM = "FROM TO CC SUBJECT DATE MESSAGE-ID LIST-ID REPLY-TO SENDER IN-REPLY-TO REFERENCES"
_TICK = os.sysconf("SC_CLK_TCK")
_LOGGED_OUT = re.compile(r"imap\((\w+)\).*\bin=(\d+) out=(\d+)")

# No access lists, no quota: neither peers nor we are measured with what only some servers have.
_PLAIN = """
mail_plugins =
protocol imap {
  mail_plugins = %s
}
"""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """What stands in one user's home. `moves`: UIDs by the mailbox they belong into."""

    user: str
    empty: str
    count: int
    size: int
    moves: dict[str, list[int]]


class Lab(Dovecot):
    """A running Dovecot, and what a run cost it."""

    def __init__(self, *, compress: bool = False, layout: Layout | None = None) -> None:
        layout = layout or Layout()
        extra = _PLAIN % ("imap_zlib" if compress else "") + layout.extra
        super().__init__(replace(layout, special_use=False, extra=extra))
        self.scratch = Path(tempfile.mkdtemp(prefix="mailrules-bench-"))
        self._mailboxes: dict[int, Mailbox] = {}

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        shutil.rmtree(self.scratch, ignore_errors=True)

    # -- mailboxes ------------------------------------------------------------------------------
    def mailbox(self, count: int) -> Mailbox:
        """A mailbox of so many mails, its headers in the server's cache; made once."""
        if count not in self._mailboxes:
            self._mailboxes[count] = self._fill(count)
        return self._mailboxes[count]

    def _fill(self, count: int) -> Mailbox:
        user = self.new_user()
        judge = _Judge(fifty())
        size = 0
        with Wire(self.imap_port, user) as wire:
            for name in MAILBOXES:
                wire.command(f"CREATE {name}")
            wire.command("SELECT INBOX")
            wire.command("LOGOUT")
        self.settle()
        empty = self.copy(user)
        with Wire(self.imap_port, user) as wire:
            batch: list[Mail] = []
            for uid, mail in enumerate(mails(count, corpus_folder()), 1):
                size += len(mail.raw)
                judge.see(uid, mail.raw)
                batch.append(mail)
                if len(batch) == _BATCH or uid == count:
                    wire.append(batch)
                    batch.clear()
            wire.command("SELECT INBOX")
            for _ in range(2):  # a field asked for twice is kept
                wire.command(
                    f"UID FETCH 1:* (FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS ({_WARM})])"
                )
            for rule in (Rule("", "contains", header, "", "") for header in ("From", "Subject", "List-Id")):
                wire.command(f'UID SEARCH HEADER {rule.header} "no such words"')
                wire.command(f"UID FETCH 1:{min(count, 100)} (BODY.PEEK[HEADER.FIELDS ({rule.header})])")
            wire.command("LOGOUT")
        self.settle()
        return Mailbox(user, empty, count, size, judge.moves)

    def home(self, user: str) -> Path:
        return self.root / "home" / user

    def copy(self, user: str, to: str | None = None) -> str:
        """A user with the same mail: message files as hard links, indexes as copies (they are written to)."""
        name = to or self.new_user()
        source, target = self.home(user), self.home(name)
        shutil.rmtree(target, ignore_errors=True)
        for folder, _, files in os.walk(source):
            there = target / Path(folder).relative_to(source)
            there.mkdir(parents=True)
            for file in files:
                if file.startswith("u."):
                    os.link(os.path.join(folder, file), there / file)
                else:
                    shutil.copy2(os.path.join(folder, file), there / file)
                    os.chown(there / file, self._uid, self._gid)
            os.chown(there, self._uid, self._gid)
        return name

    def drop(self, user: str) -> None:
        shutil.rmtree(self.home(user), ignore_errors=True)

    def moved(self, user: str) -> int:
        """How many messages are in the rules' mailboxes."""
        with Wire(self.imap_port, user) as wire:
            found = 0
            for name in MAILBOXES:
                answer = wire.command(f"STATUS {name} (MESSAGES)")
                found += int(answer.split(b"MESSAGES ")[1].split(b")")[0]) if b"MESSAGES " in answer else 0
            return found

    # -- what it cost ---------------------------------------------------------------------------
    def settle(self, timeout: float = 30) -> None:
        """Until nobody is logged in."""
        deadline = time.monotonic() + timeout
        while self.processes("imap") and time.monotonic() < deadline:
            time.sleep(0.02)

    def cpu(self) -> float:
        """Seconds that all of this Dovecot used so far: what runs, and what its master has seen end."""
        assert self._process is not None
        ticks = 0
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                except OSError:
                    continue
                if int(fields[2]) == self._process.pid:
                    ticks += sum(map(int, fields[11:15]))
        return ticks / _TICK

    def bytes_of(self, user: str) -> tuple[int, int]:
        """What this user's sessions sent and were sent, as Dovecot says when they end."""
        found = [match for match in _LOGGED_OUT.finditer(self.log()) if match[1] == user]
        return sum(int(match[2]) for match in found), sum(int(match[3]) for match in found)

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A directory for one run of one contender."""
        path = Path(tempfile.mkdtemp(dir=self.scratch))
        yield path
        shutil.rmtree(path, ignore_errors=True)


class Wire:
    """An IMAP connection with nothing around it."""

    def __init__(self, port: int, user: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=600)
        self._reader = self._socket.makefile("rb", buffering=1 << 18)
        self._reader.readline()
        self.command(f"LOGIN {user} {PASSWORD}")

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *exc: object) -> None:
        self._reader.close()
        self._socket.close()

    def command(self, line: str | bytes) -> bytes:
        """Everything up to the tagged line."""
        self._socket.sendall(b"x " + (line.encode() if isinstance(line, str) else line) + b"\r\n")
        answer = []
        while True:
            got = self._reader.readline()
            if not got:
                raise EOFError("the server went away")
            answer.append(got)
            if got.startswith(b"x "):
                if not got.startswith(b"x OK"):
                    raise RuntimeError(f"{line!r:.80}: {got!r}")
                return b"".join(answer)

    def append(self, batch: list[Mail], mailbox: str = "INBOX") -> None:
        """All of them in one command (MULTIAPPEND)."""
        parts = [f"APPEND {mailbox}".encode()]
        for mail in batch:
            date = time.strftime("%d-%b-%Y %H:%M:%S +0000", time.gmtime(mail.at))
            parts.append(f' ({mail.flags}) "{date}" {{{len(mail.raw)}+}}\r\n'.encode() + mail.raw)
        self.command(b"".join(parts))


class _Judge:
    """Which mail goes where: asked before the floor is measured, because the floor does not judge."""

    def __init__(self, rules: list[Rule]) -> None:
        self._rules = [(rule.header, pattern_of(rule), rule.mailbox) for rule in rules]
        self.moves: dict[str, list[int]] = {}

    def see(self, uid: int, raw: bytes) -> None:
        head = re.sub(rb"\r\n[ \t]", b" ", raw.split(b"\r\n\r\n", 1)[0])
        values = {"From": "", "Subject": "", "List-Id": ""}
        for line in head.split(b"\r\n"):
            field, _, value = line.partition(b":")
            name = field.decode("latin-1").title()
            if name in values and not values[name]:
                values[name] = decode(value).strip()
        for header, pattern, mailbox in self._rules:
            if pattern.search(values[header]):
                self.moves.setdefault(mailbox, []).append(uid)
                return


def write_moves(path: Path, mailbox: Mailbox | None) -> None:
    """For the floor: UIDs as lines of at most 8,000 bytes, ranges where nothing else lies between."""
    moves: list[tuple[str, str]] = []
    for name, uids in (mailbox.moves if mailbox else {}).items():
        line = ""
        for uid in uids:
            line += f",{uid}"
            if len(line) > 7900:
                moves.append((name, line[1:]))
                line = ""
        if line:
            moves.append((name, line[1:]))
    path.write_text(json.dumps(moves))
