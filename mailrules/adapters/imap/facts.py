"""Facts of messages, by FETCH: which items tell them, and how they are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mailrules.adapters.imap import identity as identity_
from mailrules.adapters.imap.fetch import Skim, Told, fetch_items, stream_items
from mailrules.adapters.imap.identity import Identity
from mailrules.adapters.imap.items import Items, answer_to, header_block, internal_date
from mailrules.adapters.imap.labelling import labels_of
from mailrules.adapters.imap.tokens import Unreadable, flags, number
from mailrules.core.errors import PermanentError
from mailrules.core.headers import parse_block
from mailrules.core.message import (
    ALL_HEADERS,
    BODY,
    FLAGS,
    GMAIL_LABELS,
    INTERNALDATE,
    SIZE,
    STRUCTURE,
    Fact,
    Unavailable,
    header_fact,
)

if TYPE_CHECKING:
    from mailrules.adapters.imap.mailbox import Mailbox

MOST_NAMES = 40
"""Header fields worth naming; for more, the whole header is fetched."""

Known = dict[Fact, Any]
"""Facts of one message, each a value or Unavailable."""

_FIELD_NAME = re.compile(r"[!-9;-~]+")
_ATOM = re.compile(r"[A-Za-z0-9!#$&'+,./:;<=>?@^_`|~-]+")
NO_LABELS = Unavailable("gmail_label: this is not a Gmail server (no X-GM-EXT-1)")
NOT_SENT = Unavailable("the server did not send it", passing=True)


class Arrived(NamedTuple):
    """What the server told of a message: `facts` reads it; `block` is the header as it came, if it came.

    `identity` reads who it is, where that was asked for and told.
    """

    uid: int
    block: bytes | None
    items: Items | Unavailable
    read: Callable[[Items | Unavailable], Known]
    know: Callable[[Items], Identity | None] | None = None

    def facts(self) -> Known:
        return self.read(self.items)

    def identity(self) -> Identity | None:
        if self.know is None or isinstance(self.items, Unavailable):
            return None
        return self.know(self.items)


def stream_facts(
    mailbox: Mailbox,
    uids: list[int],
    facts: Iterable[Fact],
    take: Callable[[Sequence[Arrived]], None],
    *,
    identities: bool = False,
    skim: Skim | None = None,
) -> None:
    """Hand these facts on as they arrive, some messages at a time; with them, if it can be, who they are.

    Not of text and parts, which take more than one question. `take` and `skim` send nothing to the server;
    what `skim` says needs no more is not handed on.
    """
    wanted = set(facts)
    labels = _has_labels(mailbox)
    read = _reader(wanted, labels=labels)
    asking = wanted if labels else wanted - {GMAIL_LABELS}
    as_usual = False  # whether the header came by the name that it was asked for by

    def hand_on(
        those: Sequence[Told], what: list[bytes], know: Callable[[Items], Identity | None] | None
    ) -> None:
        nonlocal as_usual
        asked = answer_to(what[-1]) if what[-1].startswith(b"BODY") else b""
        arrived = []
        for uid, items in those:
            block = None if isinstance(items, Unavailable) else items.get(asked)
            arrived.append(Arrived(uid, block, items, read, know))
        as_usual = arrived[-1].block is not None
        take(arrived)

    def skimmed(uids: Sequence[int], blocks: Sequence[bytes]) -> Collection[int]:
        nonlocal as_usual
        as_usual = True
        assert skim is not None
        return skim(uids, blocks)

    skimming = None if skim is None else skimmed
    idling = mailbox.connection.idling
    foretold = idling.foretold is not None and idling.foretold.some
    beside = identity_.beside(mailbox, uids) if identities or foretold else None
    if beside is not None:
        names, fields, know = beside
        what = _items(asking | {header_fact(field) for field in fields})
        what = [*(name for name in names if name not in what), *what]
        those = mailbox.foretold(uids, what)
        if those:
            hand_on(those, what, know)
            known = {uid for uid, _ in those}
            uids = [uid for uid in uids if uid not in known]
        if identities:
            stream_items(mailbox, uids, what, lambda those: hand_on(those, what, know), skimming)
            if as_usual and not mailbox.examined:
                idling.learn(mailbox.name, tuple(what))
            return
    plain = _items(asking) or [b"FLAGS"]
    stream_items(mailbox, uids, plain, lambda those: hand_on(those, plain, None), skim)


def facts_of(
    mailbox: Mailbox, uids: Iterable[int], facts: Iterable[Fact], *, body_limit: int
) -> dict[int, Known]:
    """Every one of these facts for every one of these messages that is there: a value, or Unavailable."""
    from mailrules.adapters.imap.body import bodies, structure

    wanted = set(facts)
    labels = _has_labels(mailbox)
    what = _items(wanted if labels else wanted - {GMAIL_LABELS})  # unknown items cost all the others
    found = fetch_items(mailbox, uids, b" ".join(what)) if what else fetch_items(mailbox, uids, b"FLAGS")
    if b"BODYSTRUCTURE" in what:
        # A BODYSTRUCTURE that breaks the grammar must not cost the other facts.
        broken = [uid for uid, items in found.items() if isinstance(items, Unavailable) and not items.passing]
        rest = [item for item in what if item != b"BODYSTRUCTURE"] or [b"FLAGS"]
        if broken:
            found.update(fetch_items(mailbox, broken, b" ".join(rest)))
    read = _reader(wanted, labels=labels)
    known = {uid: read(items) for uid, items in found.items()}
    if b"BODYSTRUCTURE" in what:
        structures = {uid: structure(items) for uid, items in found.items()}
        if BODY in wanted or any(isinstance(parts, Unavailable) for parts in structures.values()):
            structures, texts = bodies(mailbox, structures, limit=body_limit, texts=BODY in wanted)
        else:
            texts = {}
        for uid in known:
            if STRUCTURE in wanted:
                known[uid][STRUCTURE] = structures[uid]
            if BODY in wanted:
                known[uid][BODY] = texts[uid]
    return known


def in_words(facts: Iterable[Fact]) -> str:
    """The FETCH items that tell these facts, for people."""
    return b" ".join(_items(set(facts)) or [b"FLAGS"]).decode().replace("BODY.PEEK", "BODY")


def _has_labels(mailbox: Mailbox) -> bool:
    return "X-GM-EXT-1" in mailbox.connection.capabilities


def _items(facts: set[Fact]) -> list[bytes]:
    what: list[bytes] = []
    for fact, item in (
        (FLAGS, b"FLAGS"),
        (INTERNALDATE, b"INTERNALDATE"),
        (SIZE, b"RFC822.SIZE"),
        (GMAIL_LABELS, b"X-GM-LABELS"),
    ):
        if fact in facts:
            what.append(item)
    if STRUCTURE in facts or BODY in facts:
        what.append(b"BODYSTRUCTURE")
    names = sorted(str(fact.argument).upper() for fact in facts if fact.kind == "header")
    if ALL_HEADERS in facts or len(names) > MOST_NAMES:
        what.append(b"BODY.PEEK[HEADER]")
    elif names:
        fields = " ".join(_field_name(name) for name in names)
        what.append(b"BODY.PEEK[HEADER.FIELDS (%s)]" % fields.encode())
    return what


def _field_name(name: str) -> str:
    if not _FIELD_NAME.fullmatch(name):
        raise PermanentError(f"'{name}' can't be the name of a header field. Mend the rule.")
    return name if _ATOM.fullmatch(name) else '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _reader(wanted: Iterable[Fact], *, labels: bool) -> Callable[[Items | Unavailable], Known]:
    """What reads these facts of a message's items; text and parts are left out."""
    headers = [fact for fact in wanted if fact.kind == "header"]
    names = [(fact, str(fact.argument).encode("latin-1", "replace").lower()) for fact in headers]
    whole = ALL_HEADERS in headers
    asked = next((answer_to(item) for item in _items(set(headers))), b"")
    others = [fact for fact in wanted if fact.kind != "header" and fact not in (BODY, STRUCTURE)]

    def read(items: Items | Unavailable) -> Known:
        known: Known = {}
        if headers:
            block = items if isinstance(items, Unavailable) else header_block(items, asked)
            if isinstance(block, bytes):
                parsed = parse_block(block)
                known = parsed.among(names)
                if whole:
                    known[ALL_HEADERS] = parsed
            else:
                known = dict.fromkeys(headers, NOT_SENT if block is None else block)
        for fact in others:
            known[fact] = NO_LABELS if fact == GMAIL_LABELS and not labels else _value(fact, items)
        return known

    return read


def _value(fact: Fact, items: Items | Unavailable) -> Any:
    if isinstance(items, Unavailable):
        return items
    try:
        if fact == FLAGS:
            return flags(items[b"FLAGS"]) if b"FLAGS" in items else NOT_SENT
        if fact == SIZE:
            return number(items[b"RFC822.SIZE"])
        if fact == INTERNALDATE:
            return internal_date(items[b"INTERNALDATE"])
        if fact == GMAIL_LABELS:
            return labels_of(items[b"X-GM-LABELS"])
    except KeyError:
        return NOT_SENT
    except Unreadable as error:
        return Unavailable(f"the server's answer can't be read: {error}")
    return Unavailable(f"'{fact.kind}' is nothing a mail server knows")
