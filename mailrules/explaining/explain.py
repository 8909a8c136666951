"""`explain --uid` and `--message-id`: why a message is treated as it is, and why it was treated as it was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mailrules import clock
from mailrules.adapters.imap.connection import Connection
from mailrules.adapters.imap.mailbox import Mailbox
from mailrules.adapters.imap.refusals import NoSuchMailbox
from mailrules.adapters.store import Met
from mailrules.adapters.store.assigning import Assignments
from mailrules.core.decision import Decision, as_json, explain, rules_explained
from mailrules.core.errors import NoSuchName, PermanentError
from mailrules.core.message import Message, header_fact
from mailrules.core.search import Key
from mailrules.core.uidset import UidSet
from mailrules.explaining.past import Retrospect, Then
from mailrules.house import House
from mailrules.judging.asking import NotAsking
from mailrules.performing.assigning import whose_turn
from mailrules.undoing.inverse import History, Place

MESSAGE_ID = header_fact("message-id")
SHOWN = (header_fact("from"), header_fact("subject"))


@dataclass(frozen=True, slots=True)
class Explained:
    """One message and its decision as it is now, every condition traced; None: it is not there any more.

    `then`: what the log says of it, oldest first. `met`: what the journal knows of one that is gone.
    """

    account: str
    mailbox: str
    uid: int
    message_id: str | None
    decision: Decision | None
    message: Message | None
    then: tuple[Then, ...] = ()
    met: Met | None = None
    watched: bool = True  # whether new mail of its mailbox is judged

    def as_json(self) -> dict[str, Any]:
        return {
            "uid": self.uid,
            "account": self.account,
            "mailbox": self.mailbox,
            "message_id": self.message_id,
            **(as_json(self.decision) if self.decision is not None else {"rules": [], "actions": []}),
            **({"then": [then.as_json() for then in self.then]} if self.then else {}),
        }


@dataclass(frozen=True, slots=True)
class Asked:
    """Which messages are to be explained: of one UID or one Message-ID."""

    uid: int | None = None
    message_id: str | None = None

    def __str__(self) -> str:
        return f"UID {self.uid}" if self.uid is not None else f"Message-ID {self.message_id}"


def explain_on_server(
    house: House,
    *,
    accounts: Sequence[str] = (),
    mailboxes: Sequence[str] = (),
    uid: int | None = None,
    message_id: str | None = None,
    scripts: bool = False,
) -> Iterator[Explained]:
    """Explain what is found by UID (one account, one mailbox) or Message-ID, on the server or in the log.

    Changes nothing. Script conditions are run only with `scripts`. Raises PermanentError if nothing is
    found, TransientError if a server can't be asked.
    """
    names = list(accounts or house.config.accounts)
    asked = Asked(uid, message_id)
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
            for explained in _Explaining(house, account, connection, scripts).each(
                mailboxes or watched, asked
            ):
                found = True
                yield explained
        finally:
            connection.close()
    if not found:
        raise PermanentError(
            f"no message with {asked} in the mailboxes looked at, nor in the log. "
            "--account and --mailbox look elsewhere."
        )


@dataclass(slots=True)
class _Explaining:
    """The messages of one account."""

    house: House
    account: str
    connection: Connection
    scripts: bool

    def each(self, mailboxes: Sequence[str], asked: Asked) -> Iterator[Explained]:
        """Those on the server, then those that the log knows from there and that are elsewhere now."""
        told: set[str] = set()
        for name in mailboxes:
            box = self.connection.select(name, read_only=True)
            uids = [asked.uid] if asked.uid is not None else _by_message_id(box, asked.message_id or "")
            for explained, identity in self._now(box, uids):
                told.add(identity)
                yield explained
        if self.house.journal is None:
            return
        met = self.house.store.met(
            self.account, mailboxes=mailboxes, uid=asked.uid, message_id=asked.message_id
        )
        if asked.uid is not None:  # of a mailbox that was numbered anew only the last one of that number
            met = list({m.mailbox: m for m in met}.values())
        for one in {m.identity: m for m in met}.values():
            if one.identity not in told:
                yield self._elsewhere(one)

    def _elsewhere(self, met: Met) -> Explained:
        """A message that is not where it was met: where the log's moves lead to, or gone."""
        history = History.of(self.house.store.done_to(self.account, [met.identity]))
        end = history.thread(Place(met.mailbox, met.uidvalidity, met.uid)).end
        try:
            box = self.connection.select(end.mailbox, read_only=True)
        except NoSuchMailbox:
            box = None
        if box is not None and box.uidvalidity == end.uidvalidity and end.uid:
            known = box.identities([end.uid]).get(end.uid)
            if known is not None and known.identity == met.identity:
                for explained, _ in self._now(box, [end.uid]):
                    return replace(explained, watched=end.mailbox in self.house.state(self.account).watched)
        then = Retrospect(self.house).of(self.account, met.identity, None, None)
        return Explained(
            self.account, met.mailbox, met.uid, met.message_id, None, None, tuple(then), met
        )  # fmt: skip

    def _now(self, box: Mailbox, uids: Sequence[int]) -> Iterator[tuple[Explained, str]]:
        """Messages as they are now, each with its identity."""
        house, account, name = self.house, self.account, box.name
        judge = replace(
            house.judge(
                account,
                name,
                rules=rules_explained(house.config.rules, account, name),
                situation=house.situation(account, name, again=True),
            ),
            decide=explain,
            trust_search=False,
            keep=True,
        )
        if not self.scripts:
            judge = replace(judge, sources={**judge.sources, "script": NotAsking()})
        judged = judge.judge(box, uids, clock.now())
        for each, facts in box.fetch(judged.decisions, SHOWN, body_limit=0).items():
            judged.messages[each].facts.update(facts)  # who and what, for people
        identities = judge.identify(box, judged, judged.decisions)
        told = {uid: (identities[uid], d) for uid, d in judged.decisions.items() if uid in identities}
        turns = Assignments(account)
        for each, (known, decision) in sorted(
            whose_turn(told, store=house.journal, mailbox=box, turns=turns).items()
        ):
            then: list[Then] = []
            if house.journal is not None:
                then = Retrospect(house, scripts=self.scripts).of(account, known.identity, box, each)
            yield (
                Explained(
                    account, name, each, known.message_id or None, decision, judged.messages[each],
                    tuple(then),
                ),
                known.identity,
            )  # fmt: skip
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
