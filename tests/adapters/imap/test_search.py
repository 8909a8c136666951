"""SEARCH: what is written, what is read, and servers that search badly."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrules.adapters.imap.arguments import ForbiddenArgument
from mailrules.adapters.imap.search import criteria, expression, read_esearch, read_search
from mailrules.adapters.imap.transport import Verbatim
from mailrules.core.errors import PermanentError, TransientError
from mailrules.core.search import And, Everything, Key, Not, Or, Search
from mailrules.core.uidset import UidSet
from tests.adapters.imap.conftest import Connect
from tests.lab.dovecot import Dovecot, message
from tests.lab.model import everything, whole_words
from tests.lab.scripted import ScriptedServer

Scripted = Callable[..., ScriptedServer]
SUBJECT = Key("SUBJECT", ("ode-im",), text=True)


def written(search: Search) -> str:
    return criteria(search).text


@pytest.mark.parametrize(
    ("search", "text"),
    [
        (Key("LARGER", (500,)), "LARGER 500"),
        (Key("HEADER", ("List-Id", 'a "b" \\')), 'HEADER "List-Id" "a \\"b\\" \\\\"'),
        (Key("SINCE", (date(2026, 3, 2),)), "SINCE 2-Mar-2026"),
        (Key("BEFORE", (date(987, 12, 31),)), "BEFORE 31-Dec-0987"),
        (Key("KEYWORD", ("$Todo",)), "KEYWORD $Todo"),
        (Key("UID", ("7,3,1:2",)), "UID 1:3,7"),
        (Not(And((Key("SEEN"), Key("LARGER", (5,))))), "OR (UNSEEN UID 1:*) SMALLER 6"),
        (Not(Or((Key("UNKEYWORD", ("x",)), Not(Key("DRAFT")), Key("TEXT", ("y",))))),
         '(KEYWORD x DRAFT NOT TEXT "y")'),
        (Or((Key("SEEN"), Key("DRAFT"), Key("FLAGGED"))), "OR SEEN OR DRAFT FLAGGED"),
        (Or(tuple(Key("LARGER", (n,)) for n in range(4))),
         "OR OR LARGER 0 LARGER 1 OR LARGER 2 LARGER 3"),
        (Everything(), "ALL"),
    ],
)  # fmt: skip
def test_writing(search: Search, text: str) -> None:
    """Every kind of Search as RFC 9051 writes it."""
    assert written(search) == text


def test_ages_are_written_as_days() -> None:
    """Widened by two days, for servers without RFC 5032 and zones that differ."""
    today = datetime.now(UTC).date()
    for key, word, days in (
        (Key("OLDER", (86400 * 10,)), "BEFORE", -8),
        (Key("YOUNGER", (60,)), "SINCE", -2),
    ):
        name, day = written(key).split()
        assert name == word
        assert abs((datetime.strptime(day, "%d-%b-%Y").date() - today).days - days) <= 1
    assert written(Key("OLDER", (10**15,))) == "ALL"


def test_text_beyond_ascii_is_a_literal() -> None:
    """And only then a charset is named."""
    wanted = criteria(Key("SUBJECT", ("Größe",)))
    assert wanted.parts == (b"SUBJECT ", Verbatim("Größe".encode())) and wanted.charset
    assert not criteria(SUBJECT).charset


@pytest.mark.parametrize("key", [Key("KEYWORD", ("a b",)), Key("KEYWORD", ("(",)), Key("X Y"), Key("seen")])
def test_what_can_be_no_key(key: Key) -> None:
    """A keyword is an atom, a key's name a word."""
    with pytest.raises(PermanentError):
        criteria(key)


@given(st.text(max_size=30), st.sampled_from("\r\n\0"))
def test_no_second_command(text: str, bad: str) -> None:
    """CR, LF and NUL are refused in keys and in expressions."""
    with pytest.raises(ForbiddenArgument):
        criteria(Key("SUBJECT", (text + bad,)))
    with pytest.raises(ForbiddenArgument):
        expression(text + bad + text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('OR FROM alice (SUBJECT "foo bar" UNSEEN)', 'OR FROM alice (SUBJECT "foo bar" UNSEEN)'),
        ("  UNSEEN   SINCE 1-Feb-2026 ", "UNSEEN SINCE 1-Feb-2026"),
        ('SUBJECT "a \\"b\\""', 'SUBJECT "a \\"b\\""'),
        ("SUBJECT Größe", "SUBJECT Größe"),
    ],
)
def test_expressions(text: str, expected: str) -> None:
    """A person's expression goes as it is, but for blanks and literals."""
    assert expression(text).text == expected
    assert expression(text).charset == (not text.isascii())


@pytest.mark.parametrize(
    "text", ["", "   ", "(UNSEEN", "UNSEEN)", ")(", 'SUBJECT "x', "SUBJECT {5}", "SUBJECT {5+}",
             "RETURN (ALL) ALL", "CHARSET UTF-8 ALL"],
)  # fmt: skip
def test_expressions_that_are_none(text: str) -> None:
    """Unbalanced, unended, with a literal the server would wait for, or with options."""
    with pytest.raises(PermanentError):
        expression(text)


def test_reading_search() -> None:
    """Any number of lines, MODSEQ at the end, none at all."""
    assert read_search([[b"* SEARCH 3 1"], [b"* search 2 (MODSEQ 917162500)"], [b"* SEARCH"]]) == [3, 1, 2]
    assert read_search([[b"* SEARCHX 4"], [b"* 4 EXISTS"]]) == []
    assert read_search([[b"* SEARCH 3 " + b"9" * 5000 + b" 18446744073709551616 x 5"]]) == [3, 5]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b'* ESEARCH (TAG "A1") UID ALL 2,10:12', UidSet([2, 10, 11, 12])),
        (b'* ESEARCH (TAG "A1") UID', UidSet()),
        (b"* ESEARCH (TAG A1) UID COUNT 0", UidSet()),
        (b"* ESEARCH (TAG A1) UID COUNT 5", None),  # iCloud
        (b"* ESEARCH (TAG A1) UID ALL x", None),
        (b"* ESEARCH (TAG A1) UID ALL 1:4294967295", None),  # more than there is memory for
        (b"* ESEARCH (TAG A1) UID ALL 1:99999999999999999999", None),
        (b"* ESEARCH (TAG A1) UID ALL " + b"9" * 5000, None),
        (b"* SEARCH 1", None),
    ],
)
def test_reading_esearch(line: bytes, found: UidSet | None) -> None:
    """What can't be trusted is None: then SEARCH is asked the long way."""
    assert read_esearch([[line]]) == found


# -- servers --------------------------------------------------------------------------------------


def test_on_dovecot(dovecot: Dovecot, user: str, connect: Connect) -> None:
    """Quoting, literals, charset, ESEARCH: each answer is right."""
    subjects = ["plain", "(spam)", "a)", "{5}", 'quo"te\\', "Größe", "x" * 1200]
    dovecot.append(user, [message(0, subject=subject).replace(b"\n", b"\n") for subject in subjects])
    mailbox = connect(dovecot, user).select("INBOX")
    every = UidSet(range(1, 8))
    for uid, subject in enumerate(subjects, 1):
        assert uid in mailbox.search(Key("SUBJECT", (subject,)), every), subject
    assert mailbox.search(Key("SUBJECT", ("(spam)",)), every) == {2}
    assert mailbox.search(Key("SUBJECT", ("(spam)",)), UidSet([3, 4])) == set()
    assert mailbox.search_raw('OR SUBJECT "(spam)" SUBJECT Größe', every) == {2, 6}
    assert mailbox.search(Not(Key("LARGER", (1000,))), every) == {1, 2, 3, 4, 5, 6}


def test_dovecots_first_unseen_message(dovecot: Dovecot, user: str, connect: Connect) -> None:
    """Dovecot 2.3 leaves out what is before the first unseen message: written so that it does not."""
    for flags in ("(\\Seen)", "(\\Flagged)", "(\\Seen \\Flagged)"):
        dovecot.append(user, message(), flags=flags)
    mailbox = connect(dovecot, user).select("INBOX")
    every = UidSet([1, 2, 3])
    unseen_or_unflagged = Or((Key("UNSEEN", exact=True), Key("UNFLAGGED", exact=True)))
    assert mailbox.search(unseen_or_unflagged, every) == {1, 2}
    assert mailbox.search(Not(And((Key("SEEN"), Key("FLAGGED")))), every) == {1, 2}


def test_a_wide_set_is_asked_as_its_span(scripted: Scripted, connect: Connect) -> None:
    """One command, one line of sane length, and only the asked ones come back."""
    server = scripted()
    for _ in range(3000):
        server.box().add(b"Subject: x\r\n\r\n")
    mailbox = connect(server).select("INBOX")
    within = UidSet(range(1, 3000, 2))
    assert mailbox.search(Key("SUBJECT", ("x",)), within) == set(within)
    assert server.commands[-1] == b'UID SEARCH UID 1:2999 SUBJECT "x"'


@pytest.mark.parametrize(
    "answer",
    [
        b"{tag} NO [BADCHARSET (US-ASCII)] The specified charset is not supported.\r\n",
        b"{tag} BAD Command Argument Error. 11\r\n",
        b"{tag} NO unsupported search query\r\n",
        b"{tag} NO [UNAVAILABLE] UID SEARCH Backend error\r\n",
    ],
)
def test_refused_searches(answer: bytes, scripted: Scripted, connect: Connect) -> None:
    """A typed search then leaves nothing out, and is not asked again; a person's own is an error."""
    server = scripted()
    server.script(rb"UID SEARCH", answer)
    mailbox = connect(server).select("INBOX")
    for _ in range(2):
        assert mailbox.search(SUBJECT, UidSet([1, 2])) == {1, 2}
    assert len(server.sent(b"UID SEARCH")) == 1
    expected = TransientError if b"UNAVAILABLE" in answer else PermanentError
    with pytest.raises(expected):
        mailbox.search_raw("SUBJECT x", UidSet([1]))


def test_faulty_esearch(scripted: Scripted, connect: Connect) -> None:
    """iCloud announces ESEARCH and sends a count: asked the long way, and from then on."""
    server = scripted(capability="IMAP4rev1 ESEARCH")
    server.box().add(message())
    server.script(rb"UID SEARCH RETURN", b'* ESEARCH (TAG "{tag}") UID COUNT 1\r\n{tag} OK\r\n')
    mailbox = connect(server).select("INBOX")
    assert mailbox.uids() == [1] and mailbox.uids() == [1]
    assert len(server.sent(b"UID SEARCH RETURN")) == 1


def test_lying_servers_answer_as_they_do(scripted: Scripted, connect: Connect) -> None:
    """Gmail finds whole words, QQ everything: the answer is passed on; trusting it is the caller's choice."""
    for words, found in ((whole_words, set()), (everything, {1})):
        server = scripted(search=words)
        server.box().add(message(subject="I love node-imap"))
        assert connect(server).select("INBOX").search(SUBJECT, UidSet([1])) == found


def test_gmail(scripted: Scripted, connect: Connect) -> None:
    """X-GM-RAW there, an error elsewhere."""
    server = scripted(capability="IMAP4rev1 X-GM-EXT-1")
    server.script(rb'UID SEARCH UID 1:2 X-GM-RAW "has:attachment"', b"* SEARCH 2\r\n{tag} OK\r\n")
    mailbox = connect(server).select("INBOX")
    assert mailbox.search_gmail("has:attachment", UidSet([1, 2])) == {2}
    with pytest.raises(PermanentError, match="not a Gmail"):
        connect(scripted()).select("INBOX").search_gmail("x", UidSet([1]))


def test_uids(scripted: Scripted, connect: Connect) -> None:
    """Ascending, none below the bound (`n:*` names the last message even if it is lower)."""
    server = scripted()
    for uid in (3, 7, 9):
        server.box().add(message(), uid=uid)
    mailbox = connect(server).select("INBOX")
    assert mailbox.uids() == [3, 7, 9]
    assert mailbox.uids(8) == [9]
    assert mailbox.uids(100) == []
    server.script(rb"UID SEARCH", b"* SEARCH 9 3\r\n* SEARCH 7\r\n{tag} OK\r\n")
    assert mailbox.uids() == [3, 7, 9]


def test_mail_that_arrives_while_asked(scripted: Scripted, connect: Connect) -> None:
    """An EXISTS in the answer: asked once more, so that nothing waits for the next sweep."""
    server = scripted()
    server.box().add(message())
    mailbox = connect(server).select("INBOX")

    def arrive(session: object, line: bytes) -> bytes:
        server.box().add(message())
        return b"* SEARCH 1\r\n* 2 EXISTS\r\n{tag} OK\r\n"

    server.script(rb"UID SEARCH", arrive, times=1)
    assert mailbox.uids() == [1, 2]


def test_uids_where_search_fails(scripted: Scripted, connect: Connect) -> None:
    """FETCH tells too."""
    server = scripted()
    server.box().add(message())
    server.script(rb"UID SEARCH", b"{tag} BAD no\r\n")
    mailbox = connect(server).select("INBOX")
    assert mailbox.uids() == [1] and mailbox.present([1, 2]) == {1}


def test_uids_in_pieces(scripted: Scripted, connect: Connect) -> None:
    """RFC 9738: a server that looks at no more than some messages is asked for the rest."""
    server = scripted()
    server.script(rb"UID SEARCH ALL", b"* SEARCH 8 9\r\n{tag} OK [MESSAGELIMIT 2 8] partial\r\n")
    server.script(rb"UID SEARCH UID 1:7", b"* SEARCH 5 6\r\n{tag} OK [MESSAGELIMIT 2 5] partial\r\n")
    server.script(rb"UID SEARCH UID 1:4", b"* SEARCH 1\r\n{tag} OK done\r\n")
    assert connect(server).select("INBOX").uids() == [1, 5, 6, 8, 9]
