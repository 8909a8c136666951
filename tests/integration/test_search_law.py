"""The law of SEARCH: a condition's search selects at least every message that the condition accepts.

Random condition trees against a real server. It holds only on a server whose SEARCH is right, as
Dovecot's is; which keys may be trusted elsewhere is `core.search.usable`'s business.
"""

from __future__ import annotations

import base64
import quopri
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailrules.adapters.imap.connection import Connection, Login
from mailrules.adapters.imap.mailbox import Mailbox
from mailrules.core.conditions import parse_when
from mailrules.core.conditions.base import ParseContext
from mailrules.core.errors import Report
from mailrules.core.message import (
    ALL_HEADERS,
    ANSWER,
    BODY,
    FLAGS,
    INTERNALDATE,
    SIGHTINGS,
    SIZE,
    STRUCTURE,
    WRITTEN_TO,
    Answer,
    Earlier,
    Fact,
    Message,
    MessageKey,
    Sightings,
)
from mailrules.core.uidset import UidSet
from mailrules.core.values import Plain
from tests.lab.dovecot import PASSWORD, Dovecot, message

WORDS = [
    "Invoice", "invoice 42", "Rechnung", "Größe", "straße", "STRASSE", "ünïcode", "re:", "[list]", "a b",
    "100%", 'quo"te', "back\\slash", "x", "ss", "İstanbul", "ﬁnal", "日本語", "news-letter",
]  # fmt: skip
ADDRESSES = [
    "Ann <ann@example.test>", '"Müller, Bob" <bob+tag@Sub.Example.TEST>',
    "=?utf-8?q?J=C3=BCrgen?= <j@example.org>",
    "nobody", "a@b.example, c@d.example", "Team: x@example.test, y@example.org;", "<no-reply@news.example>",
    "(comment) carl@example.test", "bob@münchen.example",
]  # fmt: skip
ENCODINGS = ["{}", "=?utf-8?q?{}?=", "=?utf-8?b?{}?=", "=?iso-8859-1?q?{}?="]


def mails() -> Iterator[tuple[bytes, str]]:
    """Messages with every word, encoded in every way, folded and not, in headers and bodies; their flags."""
    number = 0
    for place, word in enumerate(WORDS):
        for encoding in ENCODINGS:
            number += 1
            subject = f"{encode(word, encoding)} {encode(WORDS[(place * 7 + 3) % len(WORDS)], encoding)}"
            if number % 3 == 0:
                subject = subject.replace(" ", "\r\n ", 1)
            headers = {
                "from": ADDRESSES[number % len(ADDRESSES)],
                "to": ADDRESSES[(number * 5 + 2) % len(ADDRESSES)],
                "subject": subject,
                "list_id": f"{word} <{number}.lists.example>",
                "date": f"{1 + number % 28} Feb 2026 {number % 24:02}:10 {('+1400', '-1200')[number % 2]}",
            }
            if number % 4 == 0:
                headers["cc"] = ADDRESSES[(number + 4) % len(ADDRESSES)]
            if number % 5 == 0:
                headers["precedence"] = "bulk"
            raw = message(number, body=f"The body has {word}.", **headers)
            if number % 2:
                raw = raw.replace(b"\r\n\r\n", b"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n", 1)
            flags = " ".join(
                flag
                for bit, flag in enumerate(("\\Seen", "\\Flagged", "\\Answered", "$Todo", "\\Draft"))
                if number >> bit & 1
            )
            yield raw, f"({flags})"


def encode(word: str, encoding: str) -> str:
    if encoding == "{}":
        return word
    charset = "utf-8" if "utf-8" in encoding else "iso-8859-1"
    octets = word.encode(charset, "replace")
    if "?b?" in encoding:
        return encoding.format(base64.b64encode(octets).decode())
    return encoding.format(quopri.encodestring(octets, header=True).decode())


pieces = st.sampled_from(WORDS).flatmap(
    lambda word: st.tuples(st.integers(0, len(word)), st.integers(0, len(word))).map(
        lambda cut: word[min(cut) : max(cut)] or word
    )
)
texts = st.one_of(pieces, pieces.map(str.upper), pieces.map(str.casefold), st.text(min_size=1, max_size=4))
patterns = st.one_of(texts.map(lambda t: f"*{t}*"), texts.map(lambda t: f"{t}*"), st.just("*"))
values = st.one_of(
    texts,
    st.lists(texts, min_size=1, max_size=3),
    st.fixed_dictionaries({"contains": texts}),
    st.fixed_dictionaries({"starts_with": texts}),
    st.fixed_dictionaries({"ends_with": texts}),
    st.fixed_dictionaries({"is": texts, "case_sensitive": st.sampled_from([Plain("true"), Plain("false")])}),
    st.fixed_dictionaries({"glob": patterns}),
    st.fixed_dictionaries({"regex": st.sampled_from(["in.oice", "^re:", "[0-9]+", "(?P<n>x)"])}),
    st.sampled_from([{"exists": Plain("true")}, {"exists": Plain("false")}]),
)
addresses = st.one_of(
    st.sampled_from(
        [
            "ann@example.test",
            "@example.test",
            "example.test",
            "*@*.example",
            "bob*@sub.example.test",
            "d.example",
        ]
    ),
    st.fixed_dictionaries({"name": values}),
    st.fixed_dictionaries({"localpart": texts}),
    st.fixed_dictionaries({"detail": st.just("tag")}),
    st.fixed_dictionaries({"domain": st.sampled_from(["example.test", "example.org", "münchen.example"])}),
    st.fixed_dictionaries({"contains": texts}),
)
days = st.dates(min_value=datetime(2026, 1, 25).date(), max_value=datetime(2026, 3, 5).date()).map(
    lambda day: Plain(day.isoformat())
)
dates = st.one_of(
    st.fixed_dictionaries({"since": days}),
    st.fixed_dictionaries({"before": days}),
    st.fixed_dictionaries({"on": days}),
)
truths = st.sampled_from([Plain("true"), Plain("false")])
sizes = st.integers(100, 600).map(lambda n: Plain(str(n)))
leaves = st.one_of(
    st.fixed_dictionaries({"subject": values}),
    st.fixed_dictionaries({"from": addresses}),
    st.fixed_dictionaries({"to": addresses}),
    st.fixed_dictionaries({"recipient": addresses}),
    st.fixed_dictionaries(
        {"header": st.dictionaries(st.sampled_from(["Subject", "List-Id", "Cc"]), values, min_size=1)}
    ),
    st.fixed_dictionaries({"list_id": values}),
    st.fixed_dictionaries({"body": values}),
    st.fixed_dictionaries({"text": values}),
    st.fixed_dictionaries({"exists": st.sampled_from(["Cc", "Precedence", "X-None"])}),
    st.fixed_dictionaries({"larger_than": sizes}),
    st.fixed_dictionaries({"smaller_than": sizes}),
    st.fixed_dictionaries({"seen": truths}),
    st.fixed_dictionaries({"flagged": truths}),
    st.fixed_dictionaries({"draft": truths}),
    st.fixed_dictionaries({"keyword": st.sampled_from(["$Todo", "$todo", "$Other"])}),
    st.fixed_dictionaries({"is_bulk": truths}),
    st.fixed_dictionaries({"has_attachment": truths}),
    st.fixed_dictionaries({"sent": dates}),
    st.fixed_dictionaries({"received": dates}),
    st.fixed_dictionaries({"older_than": st.sampled_from([Plain("1h"), Plain("3d")])}),
    st.fixed_dictionaries({"newer_than": st.sampled_from([Plain("1h"), Plain("3d")])}),
    st.fixed_dictionaries({"unanswered_for": st.sampled_from([Plain("0s"), Plain("3d")])}),
    st.fixed_dictionaries({"duplicate": st.just(Plain("3d"))}),
    st.fixed_dictionaries({"replied_to": st.booleans()}),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"all": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"any": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"not": inner}),
    ),
    max_leaves=6,
)


@dataclass(repr=False)
class Filled:
    """A mailbox full of mail, and the same messages with all their facts."""

    mailbox: Mailbox
    messages: list[Message]


@pytest.fixture(scope="module")
def filled(dovecot: Dovecot) -> Iterator[Filled]:
    """A mailbox full of mail, and the same messages with all their facts."""
    user = dovecot.new_user()
    with dovecot.session(user) as session:
        for raw, flags in mails():
            assert session.append("INBOX", flags, "", raw)[0] == "OK"
    connection = Connection(
        Login("law", "127.0.0.1", dovecot.imap_port, "none", user, lambda: PASSWORD, timeout=30)
    )
    connection.open()
    selected = connection.select("INBOX", read_only=True)
    facts = [ALL_HEADERS, FLAGS, INTERNALDATE, SIZE, STRUCTURE, BODY]
    now = datetime.now(UTC)
    messages = [
        Message(MessageKey("law", "INBOX", selected.uidvalidity, uid), now, known | learned(uid, now))
        for uid, known in selected.fetch(selected.uids(), facts, body_limit=1_000_000).items()
    ]
    yield Filled(selected, messages)
    connection.close()


def learned(uid: int, now: datetime) -> dict[Fact, Any]:
    """What no server tells: some are answered, some are there twice, to some senders somebody has written."""
    return {
        ANSWER: Answer(now, "") if uid % 2 else None,
        SIGHTINGS: Sightings(now, Earlier(now, "INBOX", 1) if uid % 3 else None),
        WRITTEN_TO: {"ann@example.test": now} if uid % 5 else {},
    }


def check(tree: dict[str, Any], filled: Filled) -> None:
    """The law for one condition."""
    condition = parse_when(tree, path=("when",), report=Report(), context=ParseContext(timezone=UTC))
    if condition is None:
        return
    messages = filled.messages
    search = condition.search()
    found = filled.mailbox.search(search, UidSet(message.key.uid for message in messages))
    assert not filled.mailbox.connection.refused_searches, f"the server refuses {search}"
    accepted = {message.key.uid for message in messages if condition.judge(message).truth is True}
    assert accepted <= found, f"left out: {sorted(accepted - found)} by {search}"
    if search.exact:
        assert accepted == found, f"more than exactly: {sorted(found - accepted)} by {search}"


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(tree=trees)
def test_search_selects_at_least_what_matches(tree: dict[str, Any], filled: Filled) -> None:
    """Every message that the condition accepts is selected; an exact search selects no other."""
    check(tree, filled)


ODD = [
    pytest.param({"subject": "s"}, id="half of the ss that ß folds to"),
    pytest.param({"subject": "inal"}, id="half of the fi that a ligature folds to"),
    pytest.param({"header": {"Cc": "comment"}}, id="CC does not see comments, HEADER Cc does"),
]


@pytest.mark.parametrize("tree", ODD)
def test_letters_that_fold_to_several(tree: dict[str, Any], filled: Filled) -> None:
    """The law also holds where we see more letters than the server does, and for comments in addresses."""
    check(tree, filled)
