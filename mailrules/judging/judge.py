"""Judging a window of messages: decide while the facts that the rules ask for arrive; fetch what is still
missing, decide. Of a message that no rule matches nothing is kept.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from mailrules import clock
from mailrules.adapters.imap.facts import Arrived
from mailrules.adapters.imap.identity import Identity
from mailrules.adapters.imap.mailbox import Mailbox
from mailrules.core.decision import NOTHING, Decision, Deferred, Needs, Situation, decide
from mailrules.core.errors import PermanentError, TransientError
from mailrules.core.message import BODY, HISTORY, SIGHTINGS, Fact, Message, MessageKey, Unavailable
from mailrules.core.narrowing import Narrowing
from mailrules.core.rule import Rule
from mailrules.core.ruleset import RuleSet
from mailrules.core.search import Everything, Search, any_of, usable
from mailrules.core.uidset import UidSet

log = logging.getLogger("mailrules.run")

CHEAP = frozenset({"header", "flags", "internaldate", "size", "gmail_labels"})
"""Kinds of facts that the first FETCH of a window brings; the others are fetched where they decide."""
WORTH_A_SEARCH = 50
"""Messages from which asking SEARCH first spares more than its round trip costs."""

LEARNED = frozenset({"history", "search", "gmail", "sightings", "written_to", "answer", "script"})
"""Kinds of facts that no FETCH tells."""

History = Callable[[Mapping[int, Identity]], Mapping[int, str]]
"""What the journal knows of messages that are about to be acted on: uid -> new | ours | returned."""


TOGETHER = 20
"""Messages of which it is asked at once who they are, whether they match or not: a round trip less for each
new mail, and more octets than that is worth for many."""
PIECE = 500
"""Messages worked on at once while others of the window wait."""

Hold = Callable[[Sequence[int]], None]
"""Is told of messages before they are worked on, of no more than PIECE at once."""


class Source(Protocol):
    """Tells facts that no server tells of a message by itself. For many mailboxes, from any thread."""

    def learn(
        self,
        mailbox: Mailbox,
        fact: Fact,
        messages: Mapping[int, Message],
        identities: Mapping[int, Identity],
        *,
        patient: bool,
    ) -> Mapping[int, Any]:
        """The fact of each message: a value, Unavailable, or, unless `patient`, PENDING. Those that are
        gone are absent. Raises TransientError if the connection is lost."""


PENDING = Unavailable("it takes its time", passing=True)
"""It is being found out: judge the message when `Judge.ready` names it."""


Note = Callable[[str, Mapping[int, Identity], datetime], None]
"""Is told of all messages of a mailbox, in their order, before they are judged."""


@dataclass(slots=True)
class Judged:
    """What judging a window gave. `gone`: UIDs that vanished meanwhile; `left_out`: by SEARCH;
    `pending`: put off until what they wait for has ended; `unsure`: came to nothing, though a fact of
    theirs could not be had.

    `decisions` are those that came to something, `waited` counts the messages that took more than the
    first facts. `messages` are there while they wait for facts, or if the judge is to keep them.
    """

    decisions: dict[int, Decision] = field(default_factory=dict)
    deferred: dict[int, str] = field(default_factory=dict)
    broken: dict[int, BaseException] = field(default_factory=dict)
    identities: dict[int, Identity] = field(default_factory=dict)
    messages: dict[int, Message] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    pending: set[int] = field(default_factory=set)
    left_out: set[int] = field(default_factory=set)
    unsure: set[int] = field(default_factory=set)
    waited: int = 0


@dataclass(frozen=True, slots=True)
class Judge:
    """How messages of one mailbox are judged now. `keep`: all decisions, and the messages (to explain)."""

    rules: RuleSet
    situation: Situation
    body_limit: int
    trusted_authserv: tuple[str, ...] = ()
    trust_search: bool = False
    history: History | None = None
    sources: Mapping[str, Source] = field(default_factory=dict)
    note: Note = lambda mailbox, identities, now: None
    noting: bool = False  # tell `note` of all messages, also where no rule here asks
    ready: Callable[[Mailbox], frozenset[int]] = lambda mailbox: frozenset()
    patient: bool = True  # wait for what takes its time; else such messages are `pending`
    decide: Callable[[Sequence[Rule], Message, Situation], Decision | Needs | Deferred] = decide
    keep: bool = False
    searched: bool = False  # SEARCH was asked already, over the whole mailbox

    def search(self, now: datetime) -> Search:
        """What may leave messages out before anything is fetched (SPEC section 3, SEARCH)."""
        parts: list[Search] = []
        for search, changed in self.rules.searches:
            part = usable(search, trusted=self.trust_search, changed_flags=changed, now=now)
            if isinstance(part, Everything):
                return part  # one rule looks at everything
            parts.append(part)
        return any_of(parts)

    def first_facts(self) -> frozenset[Fact]:
        """The union of what every message is asked for at once."""
        return frozenset(fact for fact in self.rules.facts if fact.kind in CHEAP)

    def judge(
        self, mailbox: Mailbox, uids: Sequence[int], now: datetime, *, hold: Hold = lambda uids: None
    ) -> Judged:
        """Judge these messages. Raises TransientError if the connection is lost; nothing is recorded."""
        with mailbox.connection.lane.work(len(uids)):
            return self._judge(mailbox, uids, now, hold)

    def _judge(self, mailbox: Mailbox, uids: Sequence[int], now: datetime, hold: Hold) -> Judged:
        judged = Judged()
        if not uids:
            return judged
        if self.noting or SIGHTINGS in self.rules.facts:
            for start in range(0, len(uids), PIECE):
                piece = uids[start : start + PIECE]
                hold(piece)
                known = mailbox.identities(piece)
                judged.identities.update(known)
                self.note(mailbox.name, known, now)
        wanted: Sequence[int] = uids
        search = Everything() if self.searched else self.search(now)
        narrowing = self.narrowing(mailbox)
        began = clock.timer()
        if not isinstance(search, Everything) and self._worth_a_search(narrowing, len(uids)):
            found = mailbox.search(search, UidSet(uids))
            judged.left_out = set(uids) - found
            wanted = [uid for uid in uids if uid in found]
            narrowing.searched(len(uids), len(wanted), seconds=clock.timer() - began)
            began = clock.timer()
        needs = self._stream(mailbox, judged, wanted, now, hold) if wanted else {}
        waiting = sorted(needs)
        for start in range(0, len(waiting), PIECE):
            piece = waiting[start : start + PIECE]
            hold(piece)
            self._wait(mailbox, judged, {uid: needs.pop(uid) for uid in piece})
        narrowing.fetched(len(wanted), seconds=clock.timer() - began)
        return judged

    def narrowing(self, mailbox: Mailbox) -> Narrowing:
        """What asking SEARCH first has spared in this mailbox under these rules."""
        return mailbox.connection.narrowings.setdefault((mailbox.name, id(self.rules)), Narrowing())

    def _worth_a_search(self, narrowing: Narrowing, messages: int) -> bool:
        if messages < WORTH_A_SEARCH:
            return self.trust_search  # for so few, what matters is what the person asked for
        return narrowing.first()

    def _stream(
        self, mailbox: Mailbox, judged: Judged, uids: Sequence[int], now: datetime, hold: Hold
    ) -> dict[int, frozenset[Fact]]:
        """Decide while the first facts arrive. Gives what is missing of those that could not be decided."""
        needs: dict[int, frozenset[Fact]] = {}
        unheard = set(uids)
        account, name, uidvalidity = self.situation.account.name, mailbox.name, mailbox.uidvalidity

        look = None if self.keep else self.rules.sieve
        looks: dict[int, tuple[int, ...] | None] = {}  # what was seen of those that are handed on

        def skim(uids: Sequence[int], blocks: Sequence[bytes]) -> set[int]:
            assert look is not None
            hold(uids)
            unheard.difference_update(uids)
            through = set()
            for uid, block in zip(uids, blocks, strict=True):
                seen = look(block)
                if seen == ():
                    through.add(uid)  # no rule can match
                else:
                    looks[uid] = seen
            return through

        def take(told: Sequence[Arrived]) -> None:
            uids = [arrived.uid for arrived in told]
            hold(uids)
            unheard.difference_update(uids)
            for arrived in told:
                uid = arrived.uid
                if uid in looks:
                    seen = looks.pop(uid)
                else:
                    seen = look(arrived.block) if look is not None and arrived.block is not None else None
                if seen == ():
                    continue
                key = MessageKey(account, name, uidvalidity, uid)
                message = Message(key, now, arrived.facts(), self.trusted_authserv)
                if seen is not None:
                    self.rules.tell(message, seen)
                answer = self._decide(judged, message)
                identity = arrived.identity() if answer is not NOTHING else None
                if identity is not None:
                    judged.identities[uid] = identity
                if answer is not None and not self._settled(judged, message, answer):
                    needs[uid] = answer.facts  # type: ignore[union-attr]
                elif not self.keep:
                    continue
                judged.messages[uid] = message

        identities = self.history is not None and len(uids) <= TOGETHER
        mailbox.stream(
            uids, self.first_facts(), take, identities=identities, skim=None if look is None else skim
        )
        self._miss(mailbox, judged, sorted(unheard))
        judged.waited = len(needs)
        return needs

    def _settled(self, judged: Judged, message: Message, answer: Decision | Needs | Deferred) -> bool:
        """Whether that is the end of it."""
        if isinstance(answer, Needs):
            return False
        uid = message.key.uid
        if isinstance(answer, Deferred):
            judged.deferred[uid] = answer.reason
        elif self.keep or answer.says_something:
            judged.decisions[uid] = answer
        elif any(type(value) is Unavailable for value in message.facts.values()):
            judged.unsure.add(uid)
        return True

    def _wait(self, mailbox: Mailbox, judged: Judged, needs: dict[int, frozenset[Fact]]) -> None:
        """Learn what is missing, for those together that miss the same, until all are decided."""
        while needs:
            alike: dict[frozenset[Fact], list[int]] = defaultdict(list)
            for uid, asked in needs.items():
                alike[asked].append(uid)
            for asked, those in alike.items():
                self._gather(mailbox, judged, asked, those)
            put_off = judged.gone | judged.deferred.keys() | judged.pending
            waiting = [uid for uid in needs if uid not in put_off]
            for uid in needs.keys() - set(waiting):
                judged.messages.pop(uid, None)
            needs = {}
            for uid in waiting:
                message = judged.messages[uid]
                answer = self._decide(judged, message)
                if answer is not None and not self._settled(judged, message, answer):
                    needs[uid] = answer.facts  # type: ignore[union-attr]
                elif not self.keep:
                    del judged.messages[uid]

    def _miss(self, mailbox: Mailbox, judged: Judged, uids: Sequence[int]) -> None:
        """The server did not tell of these. Those still there are looked at again; the others are gone."""
        if not uids:
            return
        present = mailbox.present(uids)
        for uid in uids:
            judged.decisions.pop(uid, None)
            if uid in present:
                judged.deferred[uid] = "the server did not send it"
            else:
                judged.gone.add(uid)

    def _decide(self, judged: Judged, message: Message) -> Decision | Needs | Deferred | None:
        try:
            return self.decide(self.rules, message, self.situation)
        except Exception as bug:
            log.exception("%s uid=%d could not be judged", message.key.mailbox, message.key.uid)
            judged.broken[message.key.uid] = bug
            return None

    def _gather(self, mailbox: Mailbox, judged: Judged, asked: frozenset[Fact], uids: list[int]) -> None:
        """Learn these facts of these messages. Each ends up known or Unavailable: judging goes on."""
        server = [fact for fact in asked if fact.kind not in LEARNED]
        if server:
            fetched = mailbox.fetch(uids, server, body_limit=self.body_limit)
            self._miss(mailbox, judged, [uid for uid in uids if uid not in fetched])
            for uid in uids:
                if uid not in fetched:
                    continue
                facts = judged.messages[uid].facts
                facts.update(fetched[uid])
                if getattr(facts.get(BODY), "cut", False):
                    log.info(
                        "%s uid=%d: only the first %d bytes of its text are judged (body_limit)",
                        mailbox.name, uid, self.body_limit,
                    )  # fmt: skip
                for fact in server:
                    facts.setdefault(fact, Unavailable("the server did not send it", passing=True))
        for fact in asked:
            if fact.kind == "history":
                self._learn_history(mailbox, judged, uids)
            elif fact.kind in ("search", "gmail"):
                self._learn_search(mailbox, judged, fact, uids)
            elif fact.kind in LEARNED:
                self._learn(mailbox, judged, fact, uids)

    def _learn(self, mailbox: Mailbox, judged: Judged, fact: Fact, uids: list[int]) -> None:
        put_off = judged.gone | judged.deferred.keys() | judged.pending
        there = [uid for uid in uids if uid not in put_off]
        if not there:
            return
        messages = {uid: judged.messages[uid] for uid in there}
        source = self.sources.get(fact.kind)
        if source is None:
            told: Mapping[int, Any] = dict.fromkeys(there, Unavailable(f"nobody can tell here ({fact.kind})"))
        else:
            told = source.learn(mailbox, fact, messages, judged.identities, patient=self.patient)
        for uid, value in told.items():
            if value is PENDING:
                judged.pending.add(uid)
            messages[uid].facts[fact] = value
        self._miss(mailbox, judged, [uid for uid in there if uid not in told])

    def _learn_search(self, mailbox: Mailbox, judged: Judged, fact: Fact, uids: list[int]) -> None:
        ask = mailbox.search_raw if fact.kind == "search" else mailbox.search_gmail
        value: Any
        try:
            selected = ask(str(fact.argument), UidSet(uids))
        except PermanentError as error:
            refused = Unavailable(str(error))
            for uid in uids:
                judged.messages[uid].facts[fact] = refused
            return
        except TransientError as error:
            if not mailbox.alive:
                raise
            for uid in uids:
                judged.messages[uid].facts[fact] = Unavailable(str(error), passing=True)
            return
        for uid in uids:
            value = uid in selected
            judged.messages[uid].facts[fact] = value

    def _learn_history(self, mailbox: Mailbox, judged: Judged, uids: list[int]) -> None:
        identities = self.identify(mailbox, judged, uids)
        known = self.history(identities) if self.history is not None else {}
        for uid in uids:
            if uid in identities:
                judged.messages[uid].facts[HISTORY] = known.get(uid, "new")

    def identify(self, mailbox: Mailbox, judged: Judged, uids: Iterable[int]) -> Mapping[int, Identity]:
        """The identities of these messages; those that can't be had are absent: `gone` or `deferred`."""
        uids = list(uids)
        missing = [uid for uid in uids if uid not in judged.identities]
        if missing:
            judged.identities.update(mailbox.identities(missing))
            self._miss(mailbox, judged, [uid for uid in missing if uid not in judged.identities])
        return {uid: judged.identities[uid] for uid in uids if uid in judged.identities}
