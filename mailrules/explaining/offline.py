"""Judging without a server: `explain FILE`, and the tests that stand in the file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, cast

from mailrules import clock
from mailrules.core.decision import (
    AccountFacts,
    Decision,
    Deferred,
    Needs,
    Situation,
    explain,
    rules_explained,
)
from mailrules.core.errors import PermanentError
from mailrules.core.headers import decode
from mailrules.core.message import Fact, Message, Question
from mailrules.core.offline import message_from_bytes, without_server
from mailrules.core.rule import Rule

if TYPE_CHECKING:
    from mailrules.config import Account, Config

_FLAGS = {"seen": "\\Seen", "flagged": "\\Flagged", "answered": "\\Answered", "draft": "\\Draft",
          "deleted": "\\Deleted"}  # fmt: skip


def explain_bytes(
    raw: bytes,
    *,
    config: Config,
    account: Account | None,
    mailbox: str = "INBOX",
    flags: Sequence[str] = (),
    received: datetime | None = None,
    scripts: bool = False,
) -> tuple[Message, Decision]:
    """The decision for a message that is only a file, every condition traced. With `scripts`, the script
    conditions that it depends on are run."""
    name = account.name if account is not None else "-"
    message = message_from_bytes(
        raw,
        account=name,
        mailbox=mailbox,
        flags=frozenset(_FLAGS.get(flag.lower(), flag) for flag in flags),
        received=received,
        now=clock.now(),
        body_limit=config.settings.body_limit,
        trusted_authserv=account.trusted_authserv if account is not None else (),
    )
    rules = rules_explained(config.rules, name, mailbox)
    without_server(
        message,
        [fact for rule in rules for fact in rule.facts() if not (scripts and fact.kind == "script")],
    )

    def ask_scripts(facts: Iterable[Fact]) -> None:
        if scripts:
            _ask_scripts(message, facts, raw)

    return message, decide_alone(message, rules, config=config, account=account, gather=ask_scripts)


def decide_alone(
    message: Message,
    rules: Sequence[Rule],
    *,
    config: Config,
    account: Account | None,
    again: bool = False,
    gather: Callable[[Iterable[Fact]], None] | None = None,
) -> Decision:
    """The decision, every condition traced. What no `gather` tells is not to be had without a server."""
    facts = AccountFacts(
        name=message.key.account,
        address=account.address if account is not None else "",
        addresses=account.addresses if account is not None else (),
        vars=account.vars if account is not None else {},
        timezone=config.settings.timezone_name,
    )
    situation = Situation(facts, again=again, dry_run=config.settings.dry_run)
    answer = explain(rules, message, situation)
    while isinstance(answer, Needs):
        if gather is not None:
            gather(answer.facts)
        without_server(message, answer.facts)
        answer = explain(rules, message, situation)
    if isinstance(answer, Deferred):
        raise PermanentError(f"the message can't be judged: {answer.reason}.")
    return answer


def _ask_scripts(message: Message, facts: Iterable[Fact], raw: bytes) -> None:
    """Run the scripts among what is missing."""
    from mailrules.judging.asking import ask

    ids = message.header("message-id")
    for fact in facts:
        if fact.kind == "script":
            answer = ask(
                cast("Question", fact.argument),
                raw,
                key=message.key,
                message_id=decode(ids[0]) if ids else "",
                flags=sorted(message.flags),
            )
            # Nobody looks at this file again later.
            message.facts[fact] = answer._replace(passing=False)
