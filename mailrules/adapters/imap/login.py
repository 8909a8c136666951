"""Getting in: how an account logs in, and the way from its password to the server's OK."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mailrules.adapters.imap.framing import Limits
from mailrules.adapters.imap.refusals import LoginRefused, login_failure
from mailrules.adapters.imap.tls import Security
from mailrules.adapters.imap.transport import Client
from mailrules.adapters.imap.wire import Guarded
from mailrules.adapters.oauth import NeedsLogin
from mailrules.adapters.secret import remember


@dataclass(frozen=True)
class Login:
    """How to log in. `password` is called when the connection is opened, and may raise; with `oauth` it is
    an access token.

    `special_use`: "\\\\Archive" -> mailbox, for what the server does not say. `tls`: instead of the
    default context, which trusts the system's authorities. `compress`: whether mail in bulk comes
    compressed where the server offers it; None: unless the server is on this machine.
    """

    account: str
    host: str
    port: int
    security: Security
    username: str
    password: Callable[[], str]
    special_use: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 60
    tls: ssl.SSLContext | None = None
    compress: bool | None = None
    oauth: bool = False


def password_of(login: Login) -> str:
    """The password or token as it is now. Raises LoginRefused if a person has to agree first."""
    try:
        password = login.password()
    except NeedsLogin as error:
        raise LoginRefused(str(error)) from None
    remember(password)
    return password


def connected(login: Login, *, limits: Limits, born: Callable[[Guarded], None]) -> Client:
    """TCP, TLS, the greeting. `born` is handed the wire before it connects, so that it can be aborted."""
    return Client(
        login.host,
        login.port,
        security=login.security,
        context=login.tls,
        timeout=login.timeout,
        limits=limits,
        born=born,
    )


def log_in(client: Client, login: Login, password: str) -> bytes:
    """Log in. Gives what the server can do if it has said so with its OK, else nothing.

    Raises LoginRefused, or TransientError where it may let us in later.
    """
    let_in = client.log_in_with_token if login.oauth else client.log_in
    status = let_in(login.username, password)
    if status.status != "OK":
        raise login_failure(status)
    return status.data if status.code == "CAPABILITY" else b""
