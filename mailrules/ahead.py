"""Connections that are made while the rest of the program is still being imported and the journal opened.

Both take a quarter of a second, and getting in is mostly waiting: six or seven round trips.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from mailrules.adapters.imap.connection import Connection, Login
from mailrules.adapters.imap.lane import Lane
from mailrules.adapters.oauth import access_token
from mailrules.config import Account, Config
from mailrules.core.rule import is_glob


class Ahead:
    """Accounts that are being logged into. What nobody has taken by the end is closed."""

    def __init__(self) -> None:
        self.lane = Lane()
        self._begun: dict[str, Connection] = {}

    def begin(
        self, settings: Account, *, mailbox: str | None, read_only: bool = False, uids: bool = False
    ) -> None:
        """Begin: log in, list the mailboxes, select this one."""
        connection = self._begun[settings.name] = Connection(login_of(settings), lane=self.lane)
        connection.begin(mailbox, read_only=read_only, uids=uids)

    def take(self, account: str) -> Connection | None:
        """The connection that was begun for this account, to be opened as any other."""
        return self._begun.pop(account, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._begun:
            return
        from concurrent.futures import ThreadPoolExecutor  # mostly all have been taken

        # Each may wait for a moment: one by one, servers that hang would add up.
        with ThreadPoolExecutor(len(self._begun), thread_name_prefix="mailrules-leave") as pool:
            pool.map(Connection.close, self._begun.values())
        self._begun.clear()


def begun(config: Config, arguments: Mapping[str, Any], *, read_only: bool = False) -> Ahead:
    """The account begun that `plan` or `apply` comes to first; none, if they will come to nothing.

    `arguments`: a request's `rules`, `accounts`, `mailboxes`.
    """
    ahead = Ahead()
    accounts = [*(arguments.get("accounts") or config.accounts)]
    rules = {rule.name for rule in config.rules}
    if (
        accounts
        and rules.issuperset(arguments.get("rules") or ())
        and {*config.accounts}.issuperset(accounts)
    ):
        settings = config.accounts[accounts[0]]
        mailbox = next(iter(arguments.get("mailboxes") or ()), None) or first_mailbox(settings)
        ahead.begin(settings, mailbox=mailbox, read_only=read_only, uids=True)
    return ahead


def first_mailbox(settings: Account) -> str | None:
    """The watched mailbox that is looked at first, if the file names it."""
    name = next(iter(settings.mailboxes), None)
    return None if name is None or is_glob(name) else name


def login_of(settings: Account) -> Login:
    """How to get into an account."""
    return Login(
        account=settings.name,
        host=settings.host,
        port=settings.port,
        security=settings.security,
        username=settings.username,
        password=password_of(settings),
        oauth=settings.auth == "oauth",
        special_use=settings.special_use,
    )


def password_of(settings: Account) -> Callable[[], str]:
    """What gives an account's password, or its OAuth token, when it logs in."""
    if settings.auth == "oauth":
        return functools.partial(access_token, settings.password, account=settings.name)
    return settings.password.read
