"""The demo's stage: the server, the rules, the real worker on them, and what became of each mail."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from mailrules import config
from mailrules.adapters.store import LogQuery, Store
from mailrules.config import Config
from mailrules.demo.sample import RULES, Sample
from mailrules.demo.server import DemoServer
from mailrules.watching.service import Service

ACCOUNT = "demo"
_ACCOUNT = """\
accounts:
  {name}:
    host: 127.0.0.1
    port: {imap}
    security: none          # allowed to this machine only
    username: {user}
    password: {{file: "{password}"}}
    smtp: {{host: 127.0.0.1, port: {smtp}, security: none}}
"""
_PATIENCE = 20.0
"""Seconds after which a mail that nobody filed counts as not filed."""


@dataclass(frozen=True, slots=True)
class Filing:
    """What became of one mail."""

    sample: Sample
    mailbox: str  # "" if it is nowhere
    flags: frozenset[str]
    rules: tuple[str, ...]
    actions: tuple[str, ...]
    sent_to: tuple[str, ...]
    seconds: float
    expected: str  # the mailbox it should be in

    @property
    def as_expected(self) -> bool:
        return (self.mailbox, self.flags, self.sent_to) == (
            self.expected, self.sample.flags, self.sample.sent_to,
        )  # fmt: skip


class Stage:
    """A running demo. `deliver` puts a mail into INBOX, `watch` waits until the worker is done with it."""

    def __init__(self, server: DemoServer, config: Config, state: Path) -> None:
        self.server = server
        self.config = config
        self.state = state
        self._store = Store.open(state, read_only=True)

    def close(self) -> None:
        self._store.close()

    def wait_for_baseline(self) -> None:
        """Mail that is there when the worker first looks is left alone: wait until it has looked."""
        _wait(lambda: self._store.mailbox(ACCOUNT, "INBOX") is not None)

    def deliver(self, sample: Sample) -> tuple[int, float]:
        """Returns its UID in INBOX and the moment it was there."""
        return self.server.deliver(sample.raw), time.monotonic()

    def watch(self, sample: Sample, uid: int, delivered: float) -> Filing:
        """Waits until the mail is judged and every effect on it has ended, then looks where it is."""
        _wait(lambda: self._settled(sample, uid))
        seconds = time.monotonic() - delivered
        effects = self._effects(sample)
        lies = [filed for filed in self.server.filed() if filed.message_id == sample.message_id]
        year = datetime.now(self.config.settings.timezone).year
        return Filing(
            sample=sample,
            mailbox=" and ".join(filed.mailbox for filed in lies),
            flags=frozenset().union(*(filed.flags for filed in lies)),
            rules=tuple(dict.fromkeys(effect["rule"] for effect in effects)),
            actions=tuple(effect["action"] for effect in effects if effect["state"] == "done"),
            sent_to=self._sent_to(sample),
            seconds=seconds,
            expected=sample.lands_in(year),
        )

    def _settled(self, sample: Sample, uid: int) -> bool:
        if uid not in self._store.judged(ACCOUNT, "INBOX"):
            return False
        return all(effect["state"] not in ("planned", "running", "later") for effect in self._effects(sample))

    def _effects(self, sample: Sample) -> list[dict[str, Any]]:
        rows = self._store.log(LogQuery(message_id=sample.message_id))
        return sorted(rows, key=lambda row: row["id"])

    def _sent_to(self, sample: Sample) -> tuple[str, ...]:
        """Who the demo's mail server was given it for: a forward carries the original."""
        original = sample.message_id.encode()
        return tuple(to for mail in self.server.sent if original in mail.content for to in mail.recipients)


@contextmanager
def open_stage(folder: Path) -> Iterator[Stage]:
    """Everything that the demo needs, in `folder`; ended in the opposite order, whatever happens."""
    with DemoServer() as server:
        loaded = config.load(write_files(folder, server))
        state = folder / "state"
        with run_worker(loaded, state):
            stage = Stage(server, loaded, state)
            try:
                stage.wait_for_baseline()
                yield stage
            finally:
                stage.close()


@contextmanager
def run_worker(loaded: Config, state: Path) -> Iterator[Service]:
    """The worker that `mailrules run` starts, in this process."""
    store = Store.open(state)
    try:
        service = Service(loaded, store)
        service.start()
        try:
            yield service
        finally:
            service.stop()
    finally:
        store.close()


def write_files(folder: Path, server: DemoServer) -> Path:
    """rules.yaml as it is shipped, and beside it the account that it includes."""
    password = folder / "password"
    password.touch(mode=0o600)
    password.write_text(server.password)
    (folder / "account.yaml").write_text(
        _ACCOUNT.format(
            name=ACCOUNT,
            user=server.username,
            imap=server.imap_port,
            smtp=server.smtp_port,
            password=password,
        )
    )
    rules = folder / "rules.yaml"
    rules.write_text(RULES.read_text())
    return rules


def _wait(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not done() and time.monotonic() < deadline:
        time.sleep(0.01)
