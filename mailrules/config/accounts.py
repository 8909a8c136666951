"""`accounts` and `defaults`: which logins there are, how to reach them, where their passwords stand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from mailrules.adapters.secret import Secret
from mailrules.config import providers
from mailrules.config.oauth import Auth, OAuth, read_auth, read_oauth
from mailrules.config.reader import Section, suggest
from mailrules.config.secret import FORMS, Secrets
from mailrules.config.server import (
    IMAP_PORTS,
    Security,
    Smtp,
    host_name,
    mail_address,
    port_of,
    read_smtp,
    security_of,
)
from mailrules.config.yaml_nodes import Document, Node
from mailrules.core.errors import Path, Report
from mailrules.core.mailbox_name import name_problem
from mailrules.core.values import describe

SPECIAL_USES = ("all", "archive", "drafts", "flagged", "junk", "sent", "trash")
ACCOUNT_KEYS = (
    "provider", "host", "port", "security", "username", "password", "address", "mailboxes", "smtp",
    "special_use", "trusted_authserv", "trust_search", "vars", "connections", "idle", "auth", "oauth",
)  # fmt: skip
_MERGED = ("smtp", "special_use", "vars", "oauth")  # defaults and account are joined key by key


@dataclass(frozen=True, slots=True)
class Account:
    """One login on one IMAP server. `special_use` maps "\\\\Archive" to a mailbox's name.

    `mailboxes` are names or globs, as the file spells them. `address` is the account's own mail address.
    With `auth` "oauth", `password` is where its tokens are kept (adapters/oauth.py).
    """

    name: str
    host: str
    port: int
    security: Security
    username: str
    password: Secret
    mailboxes: tuple[str, ...] = ("INBOX",)
    smtp: Smtp | None = None
    special_use: Mapping[str, str] = field(default_factory=dict)
    trusted_authserv: tuple[str, ...] = ()
    trust_search: bool = False
    vars: Mapping[str, str] = field(default_factory=dict)
    address: str = ""
    connections: int = 3
    idle: timedelta = timedelta(minutes=9)
    provider: str | None = None
    auth: Auth = "password"
    oauth: OAuth = field(default_factory=OAuth)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its own addresses: its `address`, its user name if that is one, and what it sends as."""
        sender = self.smtp.from_address if self.smtp is not None else ""
        found = (self.address, self.username if "@" in self.username else "", sender)
        return tuple(dict.fromkeys(address for address in found if address))


def apply_defaults(document: Document) -> None:
    """Give every account what `defaults` says, unless it says so itself. Places stay those of the file."""
    root = document.root
    if root is None or root.kind != "mapping" or "defaults" not in root.value or "accounts" not in root.value:
        return
    defaults = root.value["defaults"][1]
    accounts = root.value["accounts"][1]
    if defaults.kind != "mapping":
        return
    for name, (key, account) in accounts.value.items():
        if account.kind == "mapping":
            accounts.value[name] = (key, _joined(defaults, account))


def _joined(defaults: Node, account: Node) -> Node:
    entries = dict(defaults.value)
    if "host" in account.value and "provider" not in account.value:
        entries.pop("provider", None)
    if "provider" in account.value:
        for name in ("host", "port", "security"):
            entries.pop(name, None)
    for name, (key, value) in account.value.items():
        inherited = entries.get(name)
        if (
            name in _MERGED
            and inherited is not None
            and inherited[1].kind == "mapping"
            and value.kind == "mapping"
        ):
            value = replace(value, value={**inherited[1].value, **value.value})
        entries[name] = (key, value)
    return replace(account, value=entries)


class Accounts:
    """Reads the accounts of one document."""

    def __init__(self, document: Document, report: Report, environ: Mapping[str, str]) -> None:
        self._report = report
        self._secrets = Secrets(document, report, environ)

    def read(self, data: Mapping[str, Any]) -> dict[str, Account]:
        found = {}
        for name, value in data.items():
            account = self._account(name, value, ("accounts", name))
            if account is not None:
                found[name] = account
        return found

    def _account(self, name: str, data: Any, path: Path) -> Account | None:
        problem = _account_name_problem(name)
        if problem:
            self._report.error(path, problem, at="key")
        if data is None:
            self._report.error(path, "this account is empty. Give it host, username and password.", at="key")
            return None
        section = Section(data, path=path, report=self._report, known=ACCOUNT_KEYS, what="an account")
        if not isinstance(data, dict):
            return None
        provider = self._provider(section)
        host = host_name(section) or (provider.host if provider else None)
        if host is None and section.lacks("host") and section.lacks("provider"):
            section.missing("this account has no 'host' (nor a 'provider'). Write host: imap.example.org")
        security = security_of(
            section, host, provider.security if provider and "host" not in section else "tls"
        )
        default_port = provider.port if provider and "host" not in section else IMAP_PORTS[security]
        port = port_of(section, default_port)
        if port == IMAP_PORTS["starttls"] and security == "tls":
            self._report.warning(
                (*path, "port"), "port 143 speaks STARTTLS as a rule. Write security: starttls, or port: 993."
            )
        username = section.text("username")
        if section.lacks("username"):
            section.missing("this account has no 'username'. Write the name you log in with.")
        password = self._secrets.read(section, username or "")
        if section.lacks("password"):
            section.missing(f"this account has no 'password'. Write password: {FORMS}.")
        auth = read_auth(section, provider)
        oauth = read_oauth(section, provider=provider, secrets=self._secrets)
        address = mail_address(section, "address") or _own_address(username or "", host or "")
        smtp = read_smtp(
            section,
            provider=provider,
            secrets=self._secrets,
            username=username,
            password=password,
            auth=auth,
            address=address,
        )
        mailboxes = _mailboxes(section)
        special_use = _special_use(section)
        trusted = section.texts("trusted_authserv") or ()
        trust_search = section.boolean("trust_search", False)
        variables = _vars(section)
        connections = section.integer("connections", 3, low=1, high=15)
        idle = section.duration("idle", timedelta(minutes=9), low="2m", high="29m")
        if host is None or username is None or password is None:
            return None
        return Account(
            name=name,
            host=host,
            port=port,
            security=security,
            username=username,
            password=password,
            mailboxes=mailboxes,
            smtp=smtp,
            special_use=special_use,
            trusted_authserv=trusted,
            trust_search=trust_search,
            vars=variables,
            address=address,
            connections=connections or 3,
            idle=idle,
            provider=section.text("provider"),
            auth=auth,
            oauth=oauth,
        )

    def _provider(self, section: Section) -> providers.Provider | None:
        name = section.text("provider")
        if name is None:
            return None
        provider = providers.find(name)
        if provider is None:
            hint = suggest(name, [*providers.PROVIDERS, *providers.ALIASES])
            section.error("provider", f"unknown provider '{name}'. {hint} Or write host: instead.")
        return provider


def _account_name_problem(name: str) -> str | None:
    if any(ord(c) < 32 or c in "/*?[]" or ord(c) == 127 for c in name) or name != name.strip():
        return "an account's name has no '/', '*', '?', brackets or blanks at its ends. Rename it."
    if name.startswith("-") or not name:
        return "an account's name does not begin with '-'. Rename it."
    return None


def _own_address(username: str, host: str) -> str:
    if "@" in username:
        return username
    first, _, rest = host.partition(".")
    return f"{username}@{rest if first.lower() in ('imap', 'mail', 'imaps', 'mx') and rest else host}"


def _mailboxes(section: Section) -> tuple[str, ...]:
    names = section.texts("mailboxes")
    if names is None:
        return ("INBOX",)
    kept: list[str] = []
    for index, name in enumerate(names):
        check_mailbox(name, (*section.path, "mailboxes", index), section.report, globs=True)
        name = "INBOX" if name.upper() == "INBOX" else name  # RFC 9051 section 5.1: in any case
        if name not in kept:
            kept.append(name)
    return tuple(kept) or ("INBOX",)


def check_mailbox(name: str, path: Path, report: Report, *, globs: bool) -> None:
    """Report what can't be a mailbox's name (or a glob of names)."""
    literal = name.replace("*", "x").replace("?", "x") if globs else name
    problem = name_problem(literal)
    if problem:
        report.error(path, f"the mailbox name '{name}' {problem}. Write it like 'Team/Orders'.")


def _special_use(section: Section) -> dict[str, str]:
    found = {}
    path = (*section.path, "special_use")
    inner = Section(
        section.mapping("special_use"),
        path=path,
        report=section.report,
        known=SPECIAL_USES,
        what="special_use",
    )
    for key in SPECIAL_USES:
        name = inner.text(key)
        if name is not None:
            check_mailbox(name, (*path, key), section.report, globs=False)
            found["\\" + key.capitalize()] = name
    return found


def _vars(section: Section) -> dict[str, str]:
    found = {}
    for name, value in section.mapping("vars").items():
        path = (*section.path, "vars", name)
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            section.report.error(
                path, f"'{name}' can't be used as vars.{name}: write letters, digits and '_' only.", at="key"
            )
            continue
        if isinstance(value, str):
            found[name] = str(value)
        else:
            section.report.error(path, f"vars: expected text, found {describe(value)}. Write one value.")
    return found
