"""How a server's SEARCH behaves, asked about messages that are there (SPEC section 3, SEARCH).

With `trust_search` what the server leaves out is left out. So a word is taken from the subject of a message
at hand, and the server must find the message by a piece of the word, by the word in another case, by a word
that stands encoded in the header, and by one that is not ASCII.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mailrules.adapters.imap.mailbox import Mailbox
from mailrules.core.headers import decode
from mailrules.core.message import Unavailable, header_fact
from mailrules.core.search import Key
from mailrules.core.uidset import UidSet

SAMPLE = 100  # of the newest messages
_WORD = re.compile(r"[^\W\d_]{6,20}")
_ABSENT = "zqxjvkqzwx"


@dataclass(frozen=True, slots=True)
class _Question:
    """A word that stands in the subject of a message, changed as `how` says."""

    how: str
    text: str
    uid: int


def probe(mailbox: Mailbox) -> Iterator[tuple[bool, str]]:
    """What was found out: whether the server differs from local matching, and in which words."""
    uids = mailbox.uids()[-SAMPLE:]
    fact = header_fact("subject")
    subjects = []
    for uid, facts in mailbox.fetch(uids, [fact], body_limit=0).items():
        raws = facts.get(fact)
        if raws and not isinstance(raws, Unavailable):
            subjects.append((uid, raws[0]))
    questions = _questions(subjects)
    if not questions:
        yield False, "SEARCH was not probed: no message here has a subject to ask about."
        return
    right = []
    for question in questions:
        refused = len(mailbox.connection.refused_searches)
        found = mailbox.search(_key(question.text), UidSet([question.uid]))
        if len(mailbox.connection.refused_searches) > refused:
            yield False, f"SEARCH refuses {question.how}: nothing is left out by it."
        elif question.uid in found:
            right.append(question.how)
        else:
            yield True, f"SEARCH does not find {question.how}: '{question.text}' in UID {question.uid}."
    if mailbox.search(_key(_ABSENT), UidSet([questions[0].uid])):
        yield False, "SEARCH finds what is not there: it spares no work."
    if right:
        yield False, f"SEARCH finds {', '.join(right)}."


def _key(text: str) -> Key:
    return Key("SUBJECT", (text,), text=True)


def _questions(subjects: list[tuple[int, bytes]]) -> list[_Question]:
    """At most one of each kind, about the newest messages that serve."""
    found: dict[str, _Question] = {}
    for uid, raw in sorted(subjects, reverse=True):
        for word in _WORD.findall(decode(raw)):
            encoded = b"=?" in raw and word.encode("utf-8", "replace") not in raw
            if not word.isascii():
                found.setdefault("words that are not ASCII", _Question("words that are not ASCII", word, uid))
            elif encoded:
                found.setdefault("encoded words", _Question("encoded words", word, uid))
            else:
                found.setdefault("pieces of words", _Question("pieces of words", word[1:-1], uid))
                found.setdefault("any case", _Question("any case", word.swapcase(), uid))
    return list(found.values())
