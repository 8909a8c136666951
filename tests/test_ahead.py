"""Getting in while the rest is still being imported: into which account, and what becomes of it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from mailrules.adapters.imap.connection import GOODBYE
from mailrules.ahead import Ahead, begun, first_mailbox
from mailrules.config import Config, parse
from mailrules.house import House
from tests.lab.scripted import ScriptedServer

Serve = Callable[[], ScriptedServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(ScriptedServer())


def config(*servers: ScriptedServer, mailboxes: str = "[INBOX]", password: str = "{env: P}") -> Config:
    accounts = "".join(
        f"  a{n}: {{host: 127.0.0.1, port: {server.port}, security: none, username: u{n}, "
        f"password: {password}, mailboxes: {mailboxes}}}\n"
        for n, server in enumerate(servers)
    )
    return parse(
        f"accounts:\n{accounts}rules:\n- {{name: one, when: always, then: [mark: read]}}\n",
        environ={"P": "pw"},
    )


def test_the_house_takes_what_was_begun(serve: Serve) -> None:
    """One login, whoever asks for the account first; the next connection is another one."""
    server = serve()
    file = config(server)
    with begun(file, {}) as ahead:
        house = House(file, None, ahead=ahead)
        connection = house.connect("a0")
        connection.open()
        try:
            house.discover("a0", connection)
            assert connection.selected("INBOX") is not None
            assert [c.split()[0] for c in server.commands].count(b"LOGIN") == 1
            assert house.connect("a0") is not connection
        finally:
            connection.close()


def test_what_nobody_takes_is_closed(serve: Serve) -> None:
    """An error elsewhere, before anybody came to the account."""
    file = config(serve())
    with Ahead() as ahead:
        ahead.begin(file.accounts["a0"], mailbox=None)
        taken = ahead.take("a0")
        assert taken is not None
        taken.open()
        ahead.begin(file.accounts["a0"], mailbox=None)
    assert taken.alive
    taken.close()
    assert ahead.take("a0") is None


def test_what_hangs_is_left_side_by_side(serve: Serve, tmp_path: Path) -> None:
    """Where nobody gives the passwords, all are waited for together, and none logs in when one comes."""
    silent = tmp_path / "password"
    os.mkfifo(silent, 0o600)
    server = serve()
    file = config(*[server] * 8, password=f"{{file: {silent}}}")
    with Ahead() as ahead:
        for settings in file.accounts.values():
            ahead.begin(settings, mailbox=None)
        start = time.monotonic()
    assert time.monotonic() - start < 4 * GOODBYE  # one after the other it would be twice that
    with silent.open("wb") as pipe:
        pipe.write(b"pw")
    for thread in threading.enumerate():
        if thread.name == "mailrules-begin":
            thread.join(10)
    assert not server.commands


@pytest.mark.parametrize(
    ("asked", "first"),
    [
        ({}, "a0"),
        ({"accounts": ["a1"], "rules": ["one"]}, "a1"),
        ({"accounts": ["a1", "who"]}, None),
        ({"rules": ["none such"]}, None),
    ],
)
def test_only_what_is_come_to(asked: dict[str, Any], first: str | None, serve: Serve) -> None:
    """The first of the accounts that are asked for; none where a name is wrong."""
    file = config(serve(), serve())
    with begun(file, asked) as ahead:
        for name in file.accounts:
            connection = ahead.take(name)
            assert (connection is not None) == (name == first)
            if connection is not None:
                connection.close()


def test_globs_are_not_selected(serve: Serve) -> None:
    """Which mailbox comes first is known only if the file names it."""
    server = serve()
    assert first_mailbox(config(server).accounts["a0"]) == "INBOX"
    assert first_mailbox(config(server, mailboxes="['*']").accounts["a0"]) is None


def test_nothing_is_begun_where_there_is_no_account() -> None:
    """A file without accounts comes to nothing, and that is no error."""
    with begun(parse("rules: []\n", environ={}), {}) as ahead:
        assert ahead.take("a0") is None
