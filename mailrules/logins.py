"""Which login the name of an account stands for: by that name alone the journal knows whose mail it is."""

from __future__ import annotations

import functools
import logging

from mailrules.adapters.store import Store
from mailrules.config import Account, Config

log = logging.getLogger("mailrules.service")

_KEY = "login:"


def of(settings: Account) -> dict[str, str]:
    """What the journal is to remember of an account whose login has worked."""
    return {f"{_KEY}{settings.name}": f"{settings.username}@{settings.host}"}


def warn_of_others(store: Store, config: Config) -> None:
    """Say, once in a process, which accounts are somebody else's here than the file says."""
    known = store.remembered(_KEY)
    for account in config.accounts.values():
        before = known.get(_KEY + account.name)
        if before is not None and not _same(before.rpartition("@")[0], account.username):
            now = f"{account.username}@{account.host}"
            _warn(account.name, before, now, str(config.path))


def _same(one: str, other: str) -> bool:
    """Whether two user names are one person's, as far as they tell. Servers are given other names, and some
    take `me` as well as `me@example.org`."""
    one, other = one.casefold(), other.casefold()
    if "@" in one and "@" in other:
        return one == other
    return one.partition("@")[0] == other.partition("@")[0]


@functools.cache
def _warn(name: str, before: str, now: str, path: str) -> None:
    log.warning(
        "This state knows the account '%s' as %s; %s now says %s. The journal tells accounts apart by their "
        "names: if that is another mailbox, give it another name there, or a state of its own "
        "(settings.state, or --state DIRECTORY). If it is the same one, go on: what acts on it next takes "
        "the new login over.",
        name, before, path, now,
    )  # fmt: skip
