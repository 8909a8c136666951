"""Judging a window of messages: fetch what the rules ask for, decide, fetch what is still missing, decide."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from mailrules.adapters.imap.identity import Identity
from mailrules.adapters.imap.mailbox import Mailbox
from mailrules.core.decision import Decision, Deferred, Needs, Situation, decide
from mailrules.core.errors import PermanentError, TransientError
from mailrules.core.message import BODY, HISTORY, Fact, Message, MessageKey, Unavailable
from mailrules.core.rule import Rule
from mailrules.core.ruleset import RuleSet
from mailrules.core.search import Everything, Search, any_of, usable
from mailrules.core.uidset import UidSet

log = logging.getLogger("mailrules.run")

CHEAP = frozenset({"header", "flags", "internaldate", "size", "gmail_labels"})
"""Kinds of facts that the first FETCH of a window brings; the others are fetched where they decide."""
WORTH_A_SEARCH = 50
"""Messages from which asking SEARCH first spares more than its round trip costs."""

History = Callable[[Mapping[int, Identity]], Mapping[int, str]]
"""What the journal knows of messages that are about to be acted on: uid -> new | ours | returned."""


@dataclass(slots=True)
class Judged:
    """What judging a window gave. `gone`: UIDs that vanished meanwhile; `left_out`: by SEARCH."""

    decisions: dict[int, Decision] = field(default_factory=dict)
    deferred: dict[int, str] = field(default_factory=dict)
    broken: dict[int, BaseException] = field(default_factory=dict)
    identities: dict[int, Identity] = field(default_factory=dict)
    messages: dict[int, Message] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    left_out: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Judge:
    """How messages of one mailbox are judged now."""

    rules: RuleSet
    situation: Situation
    body_limit: int
    trusted_authserv: tuple[str, ...] = ()
    trust_search: bool = False
    history: History | None = None
    decide: Callable[[Sequence[Rule], Message, Situation], Decision | Needs | Deferred] = decide

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

    def judge(self, mailbox: Mailbox, uids: Sequence[int], now: datetime) -> Judged:
        """Judge these messages. Raises TransientError if the connection is lost; nothing is recorded."""
        judged = Judged()
        if not uids:
            return judged
        wanted: Iterable[int] = uids
        search = self.search(now)
        if not isinstance(search, Everything) and (self.trust_search or len(uids) >= WORTH_A_SEARCH):
            found = mailbox.search(search, UidSet(uids))
            judged.left_out = set(uids) - found
            wanted = [uid for uid in uids if uid in found]
        fetched = mailbox.fetch(wanted, self.first_facts(), body_limit=self.body_limit) if wanted else {}
        self._miss(mailbox, judged, [uid for uid in wanted if uid not in fetched])
        for uid, facts in fetched.items():
            key = MessageKey(self.situation.account.name, mailbox.name, mailbox.uidvalidity, uid)
            judged.messages[uid] = Message(key, now, facts, self.trusted_authserv)
        waiting = sorted(judged.messages)
        while waiting:
            needs: dict[frozenset[Fact], list[int]] = defaultdict(list)
            for uid in waiting:
                answer = self._decide(judged, uid)
                if isinstance(answer, Decision):
                    judged.decisions[uid] = answer
                elif isinstance(answer, Deferred):
                    judged.deferred[uid] = answer.reason
                elif answer is not None:
                    needs[answer.facts].append(uid)
            waiting = sorted(uid for asked in needs.values() for uid in asked)
            for asked, those in needs.items():
                self._gather(mailbox, judged, asked, those)
            waiting = [uid for uid in waiting if uid not in judged.gone and uid not in judged.deferred]
        return judged

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

    def _decide(self, judged: Judged, uid: int) -> Decision | Needs | Deferred | None:
        try:
            return self.decide(self.rules, judged.messages[uid], self.situation)
        except Exception as bug:
            log.exception("%s uid=%d could not be judged", judged.messages[uid].key.mailbox, uid)
            judged.broken[uid] = bug
            return None

    def _gather(self, mailbox: Mailbox, judged: Judged, asked: frozenset[Fact], uids: list[int]) -> None:
        """Learn these facts of these messages. Each ends up known or Unavailable: judging goes on."""
        server = [fact for fact in asked if fact.kind not in ("history", "search", "gmail")]
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
