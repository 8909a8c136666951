"""Connections to the servers of the lab."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from mailrules.adapters.imap.connection import Connection, Limits, Login
from tests.conftest import need_dovecot
from tests.lab.ca import LabCA
from tests.lab.dovecot import PASSWORD, Dovecot, Layout
from tests.lab.proxy import FaultProxy
from tests.lab.scripted import ScriptedServer

Connect = Callable[..., Connection]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def connect(stack: ExitStack) -> Connect:
    """`connect(server, user, …)`: an open Connection in clear text; `open=False` leaves it closed."""

    def connect(
        server: Dovecot | ScriptedServer | FaultProxy,
        user: str = "u0",
        *,
        open: bool = True,
        limits: Limits | None = None,
        create_mailboxes: Any = True,
        **login: Any,
    ) -> Connection:
        if isinstance(server, Dovecot):
            port = server.imap_port
        else:
            port = server.port
        settings: dict[str, Any] = {
            "account": "test", "host": "127.0.0.1", "port": port, "security": "none", "username": user,
            "password": lambda: PASSWORD, "timeout": 10,
        } | login  # fmt: skip
        connection = Connection(Login(**settings), limits=limits, create_mailboxes=create_mailboxes)
        if open:
            connection.open()
        stack.callback(connection.close)
        return connection

    return connect


@pytest.fixture
def scripted(stack: ExitStack) -> Callable[..., ScriptedServer]:
    """`scripted(capability=…, …)`: a ScriptedServer that ends with the test."""
    return lambda **ways: stack.enter_context(ScriptedServer(**ways))


@pytest.fixture(scope="session")
def dotted_dovecot(lab_ca: LabCA) -> Iterator[Dovecot]:
    """A Dovecot as on many hosts: `.` separates, and everything is below `INBOX.`."""
    need_dovecot()
    with Dovecot(Layout(separator=".", prefix="INBOX.", users=50), ca=lab_ca) as server:
        yield server
