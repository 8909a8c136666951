"""`explain --uid` and `--message-id`: why a message on the server is treated as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mailrules import clock
from mailrules.adapters.imap.connection import Connection
from mailrules.adapters.imap.mailbox import Mailbox
from mailrules.asking import NotAsking
from mailrules.core.decision import Decision, as_json, explain
from mailrules.core.errors import PermanentError
from mailrules.core.message import Message, header_fact
from mailrules.core.search import Key
from mailrules.core.uidset import UidSet
from mailrules.house import House
from mailrules.planning import NoSuchName

MESSAGE_ID = header_fact("message-id")
SHOWN = (header_fact("from"), header_fact("subject"))


@dataclass(frozen=True, slots=True)
class Explained:
    """One message on a server and its decision, every condition traced."""

    account: str
    mailbox: str
    uid: int
    message_id: str | None
    decision: Decision
    message: Message

    def as_json(self) -> dict[str, Any]:
        return {
            "uid": self.uid,
            "account": self.account,
            "mailbox": self.mailbox,
            "message_id": self.message_id,
            **as_json(self.decision),
        }


def explain_on_server(
    house: House,
    *,
    accounts: Sequence[str] = (),
    mailboxes: Sequence[str] = (),
    uid: int | None = None,
    message_id: str | None = None,
    scripts: bool = False,
) -> Iterator[Explained]:
    """Explain what is found by UID (one account, one mailbox) or Message-ID. Changes nothing. Script
    conditions are run only with `scripts`.

    Raises PermanentError if nothing is found, TransientError if a server can't be asked.
    """
    names = list(accounts or house.config.accounts)
    found = False
    for account in names:
        if account not in house.config.accounts:
            raise NoSuchName(
                f"there is no account '{account}'. Accounts: {', '.join(house.config.accounts)}."
            )
        connection = house.connect(account)
        try:
            connection.open()
            watched = house.discover(account, connection)
            for name in mailboxes or watched:
                for explained in _in_mailbox(
                    house, account, connection, name, uid, message_id, scripts=scripts
                ):
                    found = True
                    yield explained
        finally:
            connection.close()
    if not found:
        what = f"UID {uid}" if uid is not None else f"Message-ID {message_id}"
        raise PermanentError(
            f"no message with {what} in the mailboxes looked at. --account and --mailbox look elsewhere."
        )


def _in_mailbox(
    house: House,
    account: str,
    connection: Connection,
    name: str,
    uid: int | None,
    message_id: str | None,
    *,
    scripts: bool,
) -> Iterator[Explained]:
    mailbox = connection.select(name, read_only=True)
    uids = [uid] if uid is not None else _by_message_id(mailbox, message_id or "")
    judge = replace(
        house.judge(
            account,
            name,
            rules=house.rules(account, name),
            situation=house.situation(account, name, again=True),
        ),
        decide=explain,
        trust_search=False,
        keep=True,
    )
    if not scripts:
        judge = replace(judge, sources={**judge.sources, "script": NotAsking()})
    judged = judge.judge(mailbox, uids, clock.now())
    for each, facts in mailbox.fetch(judged.decisions, SHOWN, body_limit=0).items():
        judged.messages[each].facts.update(facts)  # who and what, for people
    identities = judge.identify(mailbox, judged, judged.decisions)
    for each, decision in sorted(judged.decisions.items()):
        if each in identities:
            message = judged.messages[each]
            yield Explained(account, name, each, identities[each].message_id or None, decision, message)
    for each, reason in judged.deferred.items():
        raise PermanentError(f"UID {each} can't be judged now: {reason}")


def _by_message_id(mailbox: Mailbox, message_id: str) -> list[int]:
    """SEARCH narrows, the header decides: servers differ over angle brackets and odd characters."""
    wanted = message_id.strip().strip("<>")
    everything = UidSet(mailbox.uids())
    found = mailbox.search(Key("HEADER", ("Message-ID", wanted), text=True), everything)
    fetched = mailbox.fetch(sorted(found), [MESSAGE_ID], body_limit=0) if found else {}
    return [
        uid
        for uid, facts in fetched.items()
        if any(value.strip().strip(b"<>") == wanted.encode() for value in facts.get(MESSAGE_ID, ()))
    ]
