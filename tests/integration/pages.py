"""A page of the manual, as those see it who do what it says: its commands are run, its screens compared.

`MAILRULES_REWRITE=1` writes what is seen into the page instead; look at the difference.
"""

from __future__ import annotations

import imaplib
import os
import re
import shlex
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.lab import terminal
from tests.lab.ca import LabCA
from tests.lab.dovecot import PASSWORD, Dovecot

ROOT = Path(__file__).parents[2]
MAIL = sorted((ROOT / "mailrules" / "demo" / "mail").glob("*.eml"))
LONG_AGO = time.time() - 40 * 86400
PROGRAM = [sys.executable, str(Path(__file__).with_name("newcomer.py"))]


_TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?Z?|^\d\d:\d\d:\d\d|\d{4}-\d\d-\d\d")


@dataclass(frozen=True)
class Step:
    """A command of the page, and the screen that it shows."""

    line: int
    command: str
    screen: list[str]

    def text(self, screen: Iterable[str]) -> str:
        """As it stands in the page."""
        return "".join(f"{line}\n" for line in (f"$ {self.command}", *screen))


def steps(page: str) -> list[Step]:
    """The commands of the console blocks, in order."""
    found: list[Step] = []
    inside = False
    for number, line in enumerate(page.splitlines(), 1):
        if line.startswith("```"):
            inside = line == "```console"
        elif inside and line.startswith("$ "):
            found.append(Step(number, line[2:], []))
        elif inside:
            found[-1].screen.append(line.rstrip())
    return found


@dataclass(frozen=True)
class Stage:
    """A directory, and what the newcomer's programs are told."""

    directory: Path
    environment: dict[str, str]
    port: int

    def public(self, line: str) -> str:
        """With the page's server instead of the lab's."""
        line = line.replace(f"127.0.0.1:{self.port}", "imap.example.org:993")
        return line.replace("127.0.0.1", "imap.example.org")

    def plain(self, line: str) -> str:
        """Without what differs from day to day and from place to place."""
        line = self.public(line)
        line = _TIME.sub("TIME", line)
        line = re.sub(r"\d+\.\d+ s\b", "SECONDS", line)
        return line.rstrip()

    def run(self, command: str, shown: list[str]) -> tuple[int, list[str]]:
        """Run it, giving the answers that the page shows."""
        words = shlex.split(command)
        program = [*PROGRAM, *words[1:]] if words[0] == "mailrules" else ["/bin/sh", "-c", command]
        answers = {r"Password for [^\n]*: ": PASSWORD}
        for line in shown:
            if match := re.search(r"([^.?]+\? \[y/N\]: )(\w+)$", line):
                answers[re.escape(match[1])] = match[2]
        return terminal.run(program, answers, directory=self.directory, environment=self.environment)


def staged(dovecot: Dovecot, lab_ca: LabCA, directory: Path, *, user: str) -> Stage:
    """The demo's mail in the inbox of somebody whose server is the lab's."""
    dovecot.set_user(user)
    with dovecot.session(user) as client:
        for path in MAIL:
            when = imaplib.Time2Internaldate(LONG_AGO if "out-of-office" in path.name else time.time())
            client.append("INBOX", "", when, path.read_bytes().replace(b"\n", b"\r\n"))
    home = directory / "home"
    home.mkdir()
    return Stage(
        home,
        {
            "PATH": os.environ["PATH"], "HOME": str(home), "TERM": "xterm", "LANG": "C.UTF-8", "TZ": "UTC",
            "PYTHONPATH": str(ROOT), "SSL_CERT_FILE": str(lab_ca.ca_file),
            "LAB_PORT": str(dovecot.imaps_port),
            "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
        },
        dovecot.imaps_port,
    )  # fmt: skip


def follow(stage: Stage, path: Path) -> None:
    """Every step of a page: it works, and its screen, in 80 columns, is as the page shows it.

    With MAILRULES_REWRITE the page is written anew where it is not.
    """
    page = path.read_text()
    for step in steps(page):
        status, shown = stage.run(step.command, step.screen)
        where = f"docs/{path.name}:{step.line}: {step.command}"
        assert status == 0, (where, shown)
        assert all(len(line) <= 80 for line in shown), where
        same = [stage.plain(line) for line in shown] == [stage.plain(line) for line in step.screen]
        if os.environ.get("MAILRULES_REWRITE") and not same:
            page = page.replace(step.text(step.screen), step.text(map(stage.public, shown)), 1)
            path.write_text(page)
            continue
        assert same, (where, shown)
