"""A message as the rules see it: a key, a moment, and the facts that are known of it.

Nothing here is lazy and nothing blocks. A fact is known (has a value), missing (nobody asked yet:
`MissingFact`, upon which `decide` answers `Needs`), or can't be had (`Unavailable`: the condition
that reads it is *unknown*, neither true nor false).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple


class MessageKey(NamedTuple):
    """Where a message is: IMAP's own name for it (RFC 9051 section 2.3.1.1)."""

    account: str
    mailbox: str
    uidvalidity: int
    uid: int


class Fact(NamedTuple):
    """Something that can be known of a message. `kind` is one of the constants below."""

    kind: str
    argument: Hashable = None


# What the server tells with one FETCH (values in brackets).
FLAGS = Fact("flags")  # frozenset[str], as the server spells them ("\\Seen", "$Todo")
INTERNALDATE = Fact("internaldate")  # datetime, aware
SIZE = Fact("size")  # int, RFC822.SIZE in octets
STRUCTURE = Fact("structure")  # tuple[mime.Part, ...]: the leaf parts
BODY = Fact("body")  # mime.Body: decoded text parts
ALL_HEADERS = Fact("header", "*")  # headers.Headers of the whole header block
GMAIL_LABELS = Fact("gmail_labels")  # frozenset[str]
# What the journal tells.
HISTORY = Fact("history")  # "new" | "ours" | "returned"
SIGHTINGS = Fact("sightings")  # Sightings: who else had this Message-ID
# What the Sent mailbox tells.
WRITTEN_TO = Fact("written_to")  # Mapping[str, datetime]: of the From addresses, when last written to
ANSWER = Fact("answer")  # Answer | None: mail of ours that names this one in References or In-Reply-To


@lru_cache(maxsize=4096)
def header_fact(name: str) -> Fact:
    """The occurrences of one header; the value is a tuple[bytes, ...] of raw, still folded values."""
    return Fact("header", name.lower())


def search_fact(expression: str) -> Fact:
    """Whether the server's SEARCH selects this message (bool)."""
    return Fact("search", expression)


def gmail_fact(expression: str) -> Fact:
    """Whether X-GM-RAW selects this message (bool)."""
    return Fact("gmail", expression)


class Sightings(NamedTuple):
    """When this message was first seen, and the last other message of its Message-ID seen before it."""

    seen: datetime
    earlier: Earlier | None


class Earlier(NamedTuple):
    """A message that was seen: when, where, and its UID there at that time."""

    seen: datetime
    mailbox: str
    uid: int


class Answer(NamedTuple):
    """When our answer was sent (INTERNALDATE), and its own Message-ID."""

    sent: datetime
    message_id: str


class Question(NamedTuple):
    """What a `script` condition of a rule runs."""

    rule: str
    run: tuple[str, ...]
    input: str
    timeout: float
    env: tuple[tuple[str, str], ...]
    base: str


class ScriptAnswer(NamedTuple):
    """How a script condition ended. `problem`: why nothing can be said; `passing`: it may be said later.

    `said`: the last line of its standard error.
    """

    status: int | None
    said: str = ""
    problem: str = ""
    passing: bool = False


def script_fact(question: Question) -> Fact:
    """What a script says of this message (ScriptAnswer)."""
    return Fact("script", question)


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A fact that can't be had. `passing`: it may be had later (network, a temporary NO)."""

    reason: str
    passing: bool = False


class MissingFact(Exception):
    """A condition reads a fact that nobody has fetched yet."""

    def __init__(self, fact: Fact) -> None:
        super().__init__(fact)
        self.fact = fact


class UnknownFact(Exception):
    """A condition reads a fact that can't be had."""

    def __init__(self, unavailable: Unavailable) -> None:
        super().__init__(unavailable.reason)
        self.unavailable = unavailable


@dataclass(slots=True)
class Message:
    """One message and what is known of it.

    `facts` maps Fact to its value or to an `Unavailable`. `fetched_at` is "now" for every condition
    (aware, UTC). `account`, `mailbox` and `uid` come from the key. `memo` holds derived values
    (decoded headers), keyed by whoever derives them; they never change a decision.
    """

    key: MessageKey
    fetched_at: datetime
    facts: dict[Fact, Any] = field(default_factory=dict)
    trusted_authserv: tuple[str, ...] = ()
    memo: dict[Hashable, Any] = field(default_factory=dict)

    def get(self, fact: Fact) -> Any:
        """The value of a fact. Raises MissingFact or UnknownFact."""
        try:
            value = self.facts[fact]
        except KeyError:
            raise MissingFact(fact) from None
        if type(value) is Unavailable:
            raise UnknownFact(value)
        return value

    def has(self, fact: Fact) -> bool:
        """Whether anything is known of a fact, be it that it can't be had."""
        return fact in self.facts or (fact.kind == "header" and ALL_HEADERS in self.facts)

    @property
    def flags(self) -> frozenset[str]:
        return self.get(FLAGS)  # type: ignore[no-any-return]

    @property
    def size(self) -> int:
        return self.get(SIZE)  # type: ignore[no-any-return]

    @property
    def internaldate(self) -> datetime:
        return self.get(INTERNALDATE)  # type: ignore[no-any-return]

    def header(self, name: str) -> tuple[bytes, ...]:
        """Raw values of every occurrence of a header, topmost first; () if it is absent."""
        fact = header_fact(name)
        value = self.facts.get(fact)
        if value is None:
            block = self.facts.get(ALL_HEADERS)
            if block is None:
                raise MissingFact(fact)
            if type(block) is Unavailable:
                raise UnknownFact(block)
            value = block.get(name)
        if type(value) is Unavailable:
            raise UnknownFact(value)
        return value  # type: ignore[no-any-return]

    def with_fact(self, fact: Fact, value: Any) -> Message:
        """The same message as rules further down see it. Shares facts learned so far, and the memo."""
        return Message(
            self.key, self.fetched_at, {**self.facts, fact: value}, self.trusted_authserv, self.memo
        )


Facts = Mapping[Fact, Any]
