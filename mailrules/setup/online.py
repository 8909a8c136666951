"""What the servers say about a configuration: `check --online`. Nothing is changed there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Literal

from mailrules.adapters.imap.connection import Connection
from mailrules.adapters.imap.mailbox import Mailbox
from mailrules.config import Account, Config
from mailrules.config.reader import nearest, suggest
from mailrules.core.actions.assign import Assign
from mailrules.core.actions.base import Action, RenderContext
from mailrules.core.actions.flags import Flag
from mailrules.core.actions.mailbox import Archive, Copy, Junk, Move, Trash
from mailrules.core.errors import PermanentError, RenderError, TransientError
from mailrules.core.message import Message, MessageKey
from mailrules.core.rule import Rule, account_named
from mailrules.setup.search_probe import probe

_AT_ONCE = 8
_ANY_MESSAGE = Message(MessageKey("", "", 0, 0), datetime.fromtimestamp(0, UTC))
_LISTED = 5_000  # mailboxes to look through for a near name


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing a server says. `passing`: it may be otherwise later (network, a temporary NO)."""

    account: str
    message: str
    severity: Literal["error", "warning", "info"] = "error"
    mailbox: str | None = None
    passing: bool = False


def inspect(
    config: Config, connect: Callable[[str], Connection], *, probe_search: bool = False
) -> list[Remark]:
    """Log in to every account and compare. `connect` gives an unopened connection for a name.

    SEARCH is probed on accounts with `trust_search`, on all of them with `probe_search`.
    """

    def one(account: Account) -> list[Remark]:
        connection = connect(account.name)
        try:
            connection.open()
            return list(_Inspection(config, account, connection).remarks(probe_search))
        except TransientError as error:
            return [Remark(account.name, f"{error}", passing=True)]
        except PermanentError as error:
            return [Remark(account.name, f"{error}")]
        finally:
            connection.close()

    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        return [remark for remarks in pool.map(one, config.accounts.values()) for remark in remarks]


class _Inspection:
    """One account's comparison, over an open connection."""

    def __init__(self, config: Config, account: Account, connection: Connection) -> None:
        self._config = config
        self._account = account
        self._connection = connection
        self._rules = [
            rule for rule in config.rules if rule.enabled and account_named(rule.accounts, account.name)
        ]

    def remarks(self, probe_search: bool) -> Iterator[Remark]:
        account = self._account
        yield self._info(f"logged in to {account.host} as {account.username}")
        yield from (self._warning(f"the server says: {alert}") for alert in self._connection.alerts)
        yield from self._capabilities()
        listed = {info.name: info.selectable for info in self._connection.mailboxes()}
        watched = []
        for remark, name in self._watched(listed):
            if remark is not None:
                yield remark
            if name is not None:
                watched.append(name)
        yield from self._looked_at(listed)
        yield from self._targets(listed)
        yield from self._special_use(self._connection.special_use())
        for name in watched:
            yield from self._mailbox(name, probe_search=probe_search or account.trust_search)

    def _capabilities(self) -> Iterator[Remark]:
        able = self._connection.capabilities
        if not self._connection.supports_idle:
            yield self._info("the server has no IDLE: it is polled")
        leaving = [rule for rule in self._rules if rule.leaves]
        if leaving and "MOVE" not in able:
            if "UIDPLUS" in able:
                yield self._info("the server has no MOVE: messages are copied, checked, then removed")
            else:
                names = _names(leaving)
                yield self._warning(
                    "the server has neither MOVE nor UIDPLUS: a message can be copied, not safely removed. "
                    f"Concerned: {names}."
                )
        if "X-GM-EXT-1" not in able:
            gmail = [rule for rule in self._rules if any(f.kind.startswith("gmail") for f in rule.facts())]
            if gmail:
                yield self._error(
                    "gmail and gmail_label can't be judged: this is not a Gmail server. "
                    f"Say under 'accounts' whom they are for: {_names(gmail)}."
                )
            labelling = [rule for rule in self._rules if {a.key for a in rule.then} & {"label", "unlabel"}]
            if labelling:
                yield self._error(
                    "label and unlabel can't be done: this is not a Gmail server. "
                    f"Say under 'accounts' whom they are for: {_names(labelling)}."
                )

    def _watched(self, listed: Mapping[str, bool]) -> Iterator[tuple[Remark | None, str | None]]:
        for name in self._account.mailboxes:
            if any(c in name for c in "*?"):
                found = [info.name for info in self._connection.mailboxes([name]) if info.selectable]
                yield from ((None, each) for each in found)
                if not found:
                    yield self._warning(f"no mailbox matches '{name}'. Check 'mailboxes'."), None
            elif name not in listed:
                hint = suggest(name, sorted(listed)[:_LISTED], what="There are") or "Create it."
                if hint.startswith("There are"):
                    hint = "Create it, or correct 'mailboxes'."
                yield self._error(f"there is no mailbox '{name}'. {hint}", name), None
            elif not listed[name]:
                message = f"'{name}' holds no messages, only other mailboxes. Watch '{name}/*'."
                yield self._error(message, name), None
            else:
                yield None, name

    def _looked_at(self, listed: Mapping[str, bool]) -> Iterator[Remark]:
        """Mailboxes that rules name, watched or not: a schedule looks at any."""
        for rule in self._rules:
            for name in rule.mailboxes or ():
                if name in listed or name in self._account.mailboxes or any(c in name for c in "*?["):
                    continue
                hint = nearest(name, list(listed)[:_LISTED])
                next_step = (
                    f"Did you mean '{hint}'?" if hint is not None else "Create it, or correct the rule."
                )
                yield self._warning(f"rule {rule.name} looks at '{name}', which is not there. {next_step}")

    def _targets(self, listed: Mapping[str, bool]) -> Iterator[Remark]:
        wanted: dict[str, list[Rule]] = {}
        for rule in self._rules:
            for action in rule.then:
                if isinstance(action, Move | Copy) and action.mailbox.literal:
                    wanted.setdefault(action.mailbox.source, []).append(rule)
                for place in action.places("mailbox") if isinstance(action, Assign) else ():
                    wanted.setdefault(place, []).append(rule)
        for name, rules in wanted.items():
            if name in listed or name.upper() == "INBOX":
                continue
            if self._config.settings.create_mailboxes:
                near = nearest(name, list(listed)[:_LISTED], alike=0.85)
                hint = f". Did you mean '{near}'?" if near is not None else ""
                yield self._info(f"the mailbox '{name}' will be created when it is needed{hint}")
            else:
                yield self._error(
                    f"there is no mailbox '{name}', and create_mailboxes is false. "
                    f"Create it. Concerned: {_names(rules)}."
                )

    def _special_use(self, known: Mapping[str, str]) -> Iterator[Remark]:
        for rule in self._rules:
            asks = {fact.kind for fact in rule.when.facts()}
            if "\\Sent" not in known and not asks.isdisjoint(("written_to", "answer")):
                yield self._error(
                    f"rule {rule.name}: replied_to and unanswered_for need the Sent mailbox, and the server "
                    "names none. Say special_use: {sent: NAME} in the account."
                )
            for action in rule.then:
                if isinstance(action, Archive | Trash | Junk):
                    context = RenderContext(self._account.name, rule.name, special_use=known)
                    try:
                        action.render(_ANY_MESSAGE, context)
                    except RenderError as error:
                        yield self._error(f"rule {rule.name}: {error}")

    def _mailbox(self, name: str, *, probe_search: bool) -> Iterator[Remark]:
        try:
            mailbox = self._connection.select(name)
        except PermanentError as error:
            yield self._error(str(error), name)
            return
        rules = [rule for rule in self._rules if _watches(rule, name)]
        changing = [rule for rule in rules if rule.leaves or any(a.changes() for a in rule.then)]
        if mailbox.read_only and changing:
            yield self._error(f"'{name}' may only be read. Concerned: {_names(changing)}.", name)
        yield from self._keywords(mailbox, rules)
        if probe_search:
            yield from self._search(mailbox)

    def _keywords(self, mailbox: Mailbox, rules: Sequence[Rule]) -> Iterator[Remark]:
        kept = {flag.lower() for flag in mailbox.permanent_flags}
        if "\\*" in kept:
            return
        for rule in rules:
            for action in rule.then:
                for flag in _set_by(action):
                    if flag.lower() not in kept:
                        yield self._error(
                            f"'{mailbox.name}' does not keep {flag}, which rule {rule.name} sets. "
                            f"{_instead_of(action)} instead.",
                            mailbox.name,
                        )

    def _search(self, mailbox: Mailbox) -> Iterator[Remark]:
        trusted = self._account.trust_search
        for differs, message in probe(mailbox):
            if differs and trusted:
                yield self._warning(
                    f"{message} Rules would miss such mail: set trust_search: false.", mailbox.name
                )
            else:
                yield self._info(message, mailbox.name)

    def _error(self, message: str, mailbox: str | None = None) -> Remark:
        return Remark(self._account.name, message, mailbox=mailbox)

    def _warning(self, message: str, mailbox: str | None = None) -> Remark:
        return Remark(self._account.name, message, "warning", mailbox)

    def _info(self, message: str, mailbox: str | None = None) -> Remark:
        return Remark(self._account.name, message, "info", mailbox)


def _watches(rule: Rule, mailbox: str) -> bool:
    return rule.mailboxes is None or any(fnmatchcase(mailbox, name) for name in rule.mailboxes)


def _names(rules: Sequence[Rule]) -> str:
    return ", ".join(dict.fromkeys(rule.name for rule in rules))


def _set_by(action: Action) -> list[str]:
    """The keywords and flags that an action sets, as far as they are written out."""
    if isinstance(action, Flag):
        return [flag.source for flag in action.flags if flag.literal]
    return action.places("keyword") if isinstance(action, Assign) else []


def _instead_of(action: Action) -> str:
    return "Write 'with: mailbox'" if isinstance(action, Assign) else "Use a mailbox or flagged"
