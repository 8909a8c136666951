"""FETCH: facts, identities, and what one broken message may cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta, timezone

import pytest

from mailrules.adapters.imap.connection import ConnectionLost, Limits
from mailrules.adapters.imap.facts import Arrived, Known
from mailrules.adapters.imap.fetch import Skim
from mailrules.adapters.imap.items import internal_date
from mailrules.adapters.imap.mailbox import Mailbox
from mailrules.adapters.imap.tokens import Unreadable
from mailrules.adapters.imap.wire import TooMuch
from mailrules.core import mime
from mailrules.core.errors import PermanentError, TransientError
from mailrules.core.message import (
    ALL_HEADERS,
    BODY,
    FLAGS,
    INTERNALDATE,
    SIZE,
    STRUCTURE,
    Fact,
    Unavailable,
    header_fact,
)
from tests.adapters.imap.conftest import Connect
from tests.lab.dovecot import Dovecot, Layout, message
from tests.lab.scripted import FULL, Box, ScriptedServer, Session

Scripted = Callable[..., ScriptedServer]
SUBJECT = header_fact("subject")

MULTIPART = b"\r\n".join(
    [
        b"From: a@example.test",
        b"Subject: parts",
        b'Content-Type: multipart/mixed; boundary="B"',
        b"",
        b"--B",
        b'Content-Type: multipart/alternative; boundary="C"',
        b"",
        b"--C",
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Transfer-Encoding: base64",
        b"",
        b"R3LDvMOfZQ==",
        b"--C",
        b"Content-Type: text/html",
        b"",
        b"<p>Hello <b>world</b></p>",
        b"--C--",
        b"--B",
        b"Content-Type: application/pdf; name*=utf-8''Rechnung%20M%C3%A4rz.pdf",
        b"Content-Disposition: attachment",
        b"Content-Transfer-Encoding: base64",
        b"",
        b"AAAA",
        b"--B",
        b"Content-Type: message/rfc822",
        b"",
        b"Subject: inner",
        b"",
        b"inner text",
        b"--B--",
        b"",
    ]
)


def shape(parts: tuple[mime.Part, ...]) -> list[tuple[object, ...]]:
    """What both roads must agree on; a server says us-ascii and 7bit where the message says nothing."""
    return [(p.section, p.content_type, p.filename, p.disposition, p.size) for p in parts]


def test_facts_on_dovecot(dovecot: Dovecot, user: str, connect: Connect) -> None:
    """Each fact has its value; messages that are gone are absent; nothing is marked as read."""
    one_raw = message(1, x_two="a")
    dovecot.append(user, [one_raw, MULTIPART], flags="(\\Flagged $Todo)")
    mailbox = connect(dovecot, user).select("INBOX")
    facts = [FLAGS, INTERNALDATE, SIZE, STRUCTURE, BODY, SUBJECT, header_fact("X-Absent")]
    found = mailbox.fetch([1, 2, 99], facts, body_limit=1000)
    assert sorted(found) == [1, 2]
    one, two = found[1], found[2]
    assert one[FLAGS] >= {"\\Flagged", "$Todo"}
    assert one[SIZE] == len(one_raw)
    assert abs(one[INTERNALDATE] - datetime.now(UTC)) < timedelta(hours=1)
    assert one[SUBJECT] == (b"message 1",) and one[header_fact("X-Absent")] == ()
    assert shape(two[STRUCTURE]) == shape(mime.parse_structure(MULTIPART))
    assert two[STRUCTURE][2].filename == "Rechnung März.pdf"
    assert "Grüße" in two[BODY].text and "Hello world" in two[BODY].text
    assert "inner" not in two[BODY].text
    assert not mailbox.fetch([1, 2], [FLAGS], body_limit=1)[2][FLAGS] & {"\\Seen"}


def test_all_headers(dovecot: Dovecot, user: str, connect: Connect) -> None:
    """The whole block, folded values and repeated fields as they are."""
    raw = b"Received: one\r\nReceived: two\r\n\tfolded\r\nSubject: x\r\n\r\nbody\r\n"
    dovecot.append(user, raw)
    mailbox = connect(dovecot, user).select("INBOX")
    headers = mailbox.fetch([1], [ALL_HEADERS], body_limit=1)[1][ALL_HEADERS]
    assert headers.get("received")[0] == b"one" and b"folded" in headers.get("received")[1]


def test_only_what_is_asked_for_is_fetched(scripted: Scripted, connect: Connect) -> None:
    """One command, PEEK, the union of the header fields, nothing else."""
    server = scripted()
    server.box().add(message())
    mailbox = connect(server).select("INBOX")
    mailbox.fetch([1], [SUBJECT, header_fact("From"), SIZE], body_limit=1)
    assert server.commands[-1] == b"UID FETCH 1 (UID RFC822.SIZE BODY.PEEK[HEADER.FIELDS (FROM SUBJECT)])"
    assert len(server.sent(b"UID FETCH")) == 1


def test_bodies_share_commands(scripted: Scripted, connect: Connect) -> None:
    """The structure first, then the text parts of all messages of one shape in one FETCH."""
    server = scripted()
    for _ in range(30):
        server.box().add(message())
        server.box().add(MULTIPART)
    mailbox = connect(server).select("INBOX")
    found = mailbox.fetch(range(1, 61), [BODY], body_limit=1000)
    assert found[1][BODY].text == "Hello.\n" and "Grüße" in found[2][BODY].text
    assert len(server.sent(b"UID FETCH")) == 3
    assert b"BODY.PEEK[1.1] BODY.PEEK[1.2])" in server.commands[-1]


def test_a_long_body_is_cut(dovecot: Dovecot, user: str, connect: Connect) -> None:
    """Up to the limit, and it says so."""
    dovecot.append(user, message(body="x" * 500_000))
    mailbox = connect(dovecot, user).select("INBOX")
    body = mailbox.fetch([1], [BODY], body_limit=1000)[1][BODY]
    assert body.cut and len(body.text) == 1000


def test_broken_bodystructure(scripted: Scripted, connect: Connect) -> None:
    """Gmail's malformed nested multiparts: the whole message is read instead, other facts are kept."""
    for broken in (b'(("ALTERNATIVE" ("BOUNDARY" "x") NIL NIL) "MIXED")', b"((((", b'("ALTERNATIVE")'):
        server = scripted()
        server.box().add(MULTIPART)

        def answer(session: Session, line: bytes, broken: bytes = broken) -> bytes | None:
            if b"BODYSTRUCTURE" not in line:
                return None
            return b"* 1 FETCH (UID 1 RFC822.SIZE 900 BODYSTRUCTURE " + broken + b")\r\n{tag} OK\r\n"

        server.script(rb"UID FETCH", answer)
        facts = connect(server).select("INBOX").fetch([1], [STRUCTURE, BODY, SIZE], body_limit=1000)[1]
        assert facts[STRUCTURE] == mime.parse_structure(MULTIPART)
        assert "Grüße" in facts[BODY].text
        assert isinstance(facts[SIZE], int)


def test_one_unreadable_answer_costs_one_message(scripted: Scripted, connect: Connect) -> None:
    """The others of the window are known; this one's facts can't be had, and that is lasting."""
    server = scripted()
    for _ in range(20):
        server.box().add(message())

    def answer(session: Session, line: bytes) -> bytes | None:
        mails = server.box().chosen(line.split()[2].decode())
        shown = [
            b"* %d FETCH (UID %d RFC822.SIZE %s)\r\n" % (m.uid, m.uid, b"(((" if m.uid == 13 else b"7")
            for m in mails
        ]
        return b"".join(shown) + b"{tag} OK\r\n"

    server.script(rb"UID FETCH", answer)
    found = connect(server).select("INBOX").fetch(range(1, 21), [SIZE], body_limit=1)
    assert [uid for uid in found if found[uid][SIZE] == 7] == [u for u in range(1, 21) if u != 13]
    assert isinstance(found[13][SIZE], Unavailable) and not found[13][SIZE].passing


def test_no_to_one_message_costs_one_message(scripted: Scripted, connect: Connect) -> None:
    """Yahoo's server errors: that message is to be tried again later, the others are known."""
    server = scripted()
    for _ in range(10):
        server.box().add(message())

    def answer(session: Session, line: bytes) -> bytes | None:
        if any(mail.uid == 4 for mail in server.box().chosen(line.split()[2].decode())):
            return b"{tag} NO [UNAVAILABLE] UID FETCH Server error while fetching messages\r\n"
        return None

    server.script(rb"UID FETCH", answer)
    found = connect(server).select("INBOX").fetch(range(1, 11), [SIZE], body_limit=1)
    assert len(found) == 10 and isinstance(found[4][SIZE], Unavailable) and found[4][SIZE].passing
    assert isinstance(found[5][SIZE], int)


def test_a_server_that_refuses_everything_is_left_alone(scripted: Scripted, connect: Connect) -> None:
    """After some tries it is the account's failure, not each message's."""
    server = scripted()
    for _ in range(200):
        server.box().add(message())
    server.script(rb"UID FETCH", b"{tag} NO [UNAVAILABLE] down\r\n")
    with pytest.raises(TransientError):
        connect(server).select("INBOX").fetch(range(1, 201), [SIZE], body_limit=1)
    assert len(server.sent(b"UID FETCH")) < 100


def test_a_message_gone_meanwhile(scripted: Scripted, connect: Connect) -> None:
    """NO to a FETCH of what another client removed (RFC 2180 section 4.1.2): it is absent, no error."""
    server = scripted()
    server.script(rb"UID FETCH", b"{tag} NO some of the messages no longer exist\r\n")
    assert connect(server).select("INBOX").fetch([5], [SIZE], body_limit=1) == {}


def test_a_literal_that_was_not_sent(scripted: Scripted, connect: Connect) -> None:
    """iCloud answers without the item: to be tried again, never taken for an empty header."""
    server = scripted()
    server.script(rb"UID FETCH", b"* 1 FETCH (UID 1)\r\n{tag} OK\r\n")
    mailbox = connect(server).select("INBOX")
    found = mailbox.fetch([1], [SUBJECT, SIZE, BODY], body_limit=1)[1]
    assert all(isinstance(value, Unavailable) for value in found.values())
    assert found[SUBJECT].passing and found[SIZE].passing
    with pytest.raises(TransientError):
        mailbox.raw(1, limit=1000)


def test_unsolicited_answers(scripted: Scripted, connect: Connect) -> None:
    """News of other messages, of this one's flags, in any order: each to its UID."""
    server = scripted()
    server.script(
        rb"UID FETCH",
        b"* 9 FETCH (FLAGS (NonJunk) UID 51833)\r\n* 0 FETCH (FLAGS ())\r\n* 3 EXPUNGE\r\n"
        b"* 2 FETCH (UID 7 RFC822.SIZE 70)\r\n* 1 FETCH (RFC822.SIZE 50 UID 5)\r\n"
        b"* 1 FETCH (UID 5 FLAGS (\\Seen))\r\n{tag} OK\r\n",
    )
    found = connect(server).select("INBOX").fetch([5, 7], [SIZE], body_limit=1)
    assert {uid: facts[SIZE] for uid, facts in found.items()} == {5: 50, 7: 70}


def test_partial_answers(scripted: Scripted, connect: Connect) -> None:
    """Yahoo's MESSAGELIMIT: what did not come is asked for."""
    server = scripted()
    for _ in range(4):
        server.box().add(message())
    partial = b"* 1 FETCH (UID 1 RFC822.SIZE 1)\r\n{tag} OK [MESSAGELIMIT 1 2] partial\r\n"
    server.script(rb"UID FETCH", partial, times=1)
    assert sorted(connect(server).select("INBOX").fetch([1, 2, 3, 4], [SIZE], body_limit=1)) == [1, 2, 3, 4]


def test_headers_that_are_too_much(scripted: Scripted, connect: Connect) -> None:
    """A message with a header beyond every limit is read as far as it goes; the others are not held up."""
    server = scripted()
    box: Box = server.box()
    for n in range(5):
        box.add(b"Subject: %d\r\n\r\n" % n)
    box.add(b"Subject: huge\r\nX-Bomb: " + b"x" * 2_000_000 + b"\r\n\r\n")
    connection = connect(server, limits=Limits(literal=1_000_000, octets=3_000_000))
    found = connection.select("INBOX").fetch(range(1, 7), [ALL_HEADERS], body_limit=1)
    assert [found[uid][ALL_HEADERS].get("subject") for uid in (1, 6)] == [(b"0",), (b"huge",)]
    assert len(server.sent(b"LOGIN")) == 2


def test_a_header_field_that_can_be_none(scripted: Scripted, connect: Connect) -> None:
    """A blank or a colon would change the command."""
    mailbox = connect(scripted()).select("INBOX")
    for name in ("a b", "a:b", "a)\r\nX", ""):
        with pytest.raises(PermanentError):
            mailbox.fetch([1], [header_fact(name)], body_limit=1)


# -- streams --------------------------------------------------------------------------------------


class Stream:
    """What was handed on, piece by piece."""

    def __init__(
        self,
        mailbox: Mailbox,
        uids: Iterable[int],
        facts: Iterable[Fact] = (SIZE,),
        skim: Skim | None = None,
    ) -> None:
        self.pieces: list[dict[int, Known]] = []
        mailbox.stream(uids, facts, self._take, skim=skim)

    def _take(self, told: Sequence[Arrived]) -> None:
        self.pieces.append({arrived.uid: arrived.facts() for arrived in told})

    @property
    def known(self) -> dict[int, Known]:
        """Of all messages; each came once."""
        found = {uid: known for piece in self.pieces for uid, known in piece.items()}
        assert len(found) == sum(map(len, self.pieces))
        return found


def many(server: ScriptedServer, count: int) -> ScriptedServer:
    for n in range(count):
        server.box().add(b"Subject: %d\r\n\r\n" % n)
    return server


def test_a_stream_is_one_command(scripted: Scripted, connect: Connect) -> None:
    """More than a thousand messages: asked for at once, handed on in pieces, the facts of each its own."""
    server = many(scripted(), 1200)
    stream = Stream(connect(server).select("INBOX"), range(1, 1201), [SUBJECT])
    assert {uid: known[SUBJECT] for uid, known in stream.known.items()} == {
        uid: (b"%d" % (uid - 1),) for uid in range(1, 1201)
    }
    assert [len(piece) for piece in stream.pieces] == [500, 500, 200]
    assert len(server.sent(b"UID FETCH")) == 1


def subjects(uids: Iterable[int]) -> bytes:
    """What most servers answer who is asked for these messages' subjects."""
    told = b"* %d FETCH (UID %d BODY[HEADER.FIELDS (SUBJECT)] {18}\r\nSubject: %05d\r\n\r\n)\r\n"
    return b"".join(told % (uid, uid, uid) for uid in uids) + b"{tag} OK\r\n"


def test_what_is_skimmed_is_not_handed_on(scripted: Scripted, connect: Connect) -> None:
    """Header blocks are shown first, and what needs no more comes no further; it is of use all the same."""
    server = scripted()
    server.script(rb"UID FETCH", subjects(range(1, 2401)))
    shown: dict[int, bytes] = {}

    def skim(uids: Sequence[int], blocks: Sequence[bytes]) -> set[int]:
        shown.update(zip(uids, blocks, strict=True))
        return {uid for uid in uids if uid % 100}

    limits = Limits(untagged=1300, octets=150_000)
    mailbox = connect(server, limits=limits).select("INBOX")
    known = Stream(mailbox, range(1, 2401), [SUBJECT], skim).known
    assert shown == {uid: b"Subject: %05d\r\n\r\n" % uid for uid in shown} and len(shown) > 2300
    unseen = set(range(1, 2401)) - shown.keys()  # an answer that came in two pieces is read by itself
    assert set(known) == unseen | set(range(100, 2401, 100))
    assert len(server.sent(b"UID FETCH")) == 1


def test_what_is_said_twice_is_skimmed_once(scripted: Scripted, connect: Connect) -> None:
    """A message that is told again, or was not asked for, is nobody's any more."""
    server = scripted()
    server.script(rb"UID FETCH", subjects([5, 5, 6, 9, 6, 7]))

    def skim(uids: Sequence[int], blocks: Sequence[bytes]) -> set[int]:
        return {6} & set(uids)

    known = Stream(connect(server).select("INBOX"), [5, 6, 7], [SUBJECT], skim).known
    assert {5, 7} <= known.keys() <= {5, 6, 7}


def test_limits_hold_for_each_piece_of_a_stream(scripted: Scripted, connect: Connect) -> None:
    """What is of use renews the budget; what was not asked for uses it up."""
    server = many(scripted(), 1200)
    limits = Limits(untagged=700, octets=60_000)
    assert len(Stream(connect(server, limits=limits).select("INBOX"), range(1, 1201)).known) == 1200
    server.script(rb"UID FETCH", b"* 1 FETCH (UID 9999 RFC822.SIZE 1)\r\n" * 2000)
    with pytest.raises(TooMuch):
        Stream(connect(server, limits=limits).select("INBOX"), range(1, 1201))


def test_a_stream_that_drips_ends_by_the_clock(scripted: Scripted, connect: Connect) -> None:
    """Now and then an answer of use does not hold a thread for ever: so many are due in so much time."""
    server = many(scripted(), 600)

    def drip(session: Session, line: bytes) -> bytes:
        for uid in range(1, 601):
            session.send(b"* %d FETCH (UID %d RFC822.SIZE 1)\r\n" % (uid, uid))
            time.sleep(0.02)
        return b"{tag} OK\r\n"

    server.script(rb"UID FETCH", drip)
    mailbox = connect(server, limits=Limits(seconds=1)).select("INBOX")
    start = time.monotonic()
    with pytest.raises(ConnectionLost, match="within 1 s"):
        Stream(mailbox, range(1, 601))
    assert time.monotonic() - start < 10


def test_a_server_that_cuts_off(scripted: Scripted, connect: Connect) -> None:
    """It answers for a thousand and says OK: the others are asked for, and less at once from then on."""
    server = many(scripted(), 2500)

    def answer(session: Session, line: bytes) -> bytes:
        mails = server.box().chosen(line.split()[2].decode())[:1000]
        shown = [b"* %d FETCH (UID %d RFC822.SIZE 7)\r\n" % (m.uid, m.uid) for m in mails]
        return b"".join(shown) + b"{tag} OK\r\n"

    server.script(rb"UID FETCH", answer)
    mailbox = connect(server).select("INBOX")
    assert sorted(Stream(mailbox, range(1, 2501)).known) == list(range(1, 2501))
    assert len(server.sent(b"UID FETCH")) == 4
    assert sorted(Stream(mailbox, range(1, 2501)).known) == list(range(1, 2501))
    assert len(server.sent(b"UID FETCH")) == 9


def test_messages_that_are_gone_are_no_cut(scripted: Scripted, connect: Connect) -> None:
    """What is not there any more is not asked for again, and the next command asks for as much as before."""
    server = many(scripted(), 700)
    mailbox = connect(server).select("INBOX")
    assert len(Stream(mailbox, range(1, 1001)).known) == 700
    assert len(Stream(mailbox, range(1, 1001)).known) == 700
    assert len(server.sent(b"UID FETCH")) == 2


def test_a_limit_that_is_announced(scripted: Scripted, connect: Connect) -> None:
    """RFC 9738: no command asks for more."""
    server = many(scripted(capability=f"{FULL} MESSAGELIMIT=100"), 250)
    assert len(Stream(connect(server).select("INBOX"), range(1, 251)).known) == 250
    assert [line.split()[2] for line in server.sent(b"UID FETCH")] == [b"1:100", b"101:200", b"201:250"]


def test_gaps_are_spanned_where_nothing_is(scripted: Scripted, connect: Connect) -> None:
    """UIDs far apart are one range if no other message lies between; what was not asked for is ignored."""
    server = scripted()
    for uid in (3, 7, 20, 21, 40):
        server.box().add(message(uid), uid=uid)
    mailbox = connect(server).select("INBOX")
    assert mailbox.uids() == [3, 7, 20, 21, 40]
    server.box().add(message(8), uid=8)  # seen late
    assert sorted(Stream(mailbox, [3, 7, 20, 40]).known) == [3, 7, 20, 40]
    assert server.sent(b"UID FETCH")[0].split()[2] == b"3:20,40"


def test_many_ranges_take_more_lines(scripted: Scripted, connect: Connect) -> None:
    """No line of more than 8,000 bytes for its UIDs, and nobody is forgotten."""
    server = many(scripted(), 6000)
    mailbox = connect(server).select("INBOX")
    mailbox.uids()
    wanted = range(1, 6001, 2)
    assert sorted(Stream(mailbox, wanted).known) == list(wanted)
    lines = server.sent(b"UID FETCH")
    assert 1 < len(lines) < 4 and max(map(len, lines)) < 8100


def test_answers_in_several_responses(scripted: Scripted, connect: Connect) -> None:
    """A message is handed on when all is there, or at the end with what is."""
    server = scripted()
    server.script(
        rb"UID FETCH",
        b"* 1 FETCH (UID 5 FLAGS (a))\r\n* 2 FETCH (UID 6 FLAGS (b))\r\n"
        b"* 1 FETCH (RFC822.SIZE 50 UID 5)\r\n* 1 FETCH (UID 5 FLAGS (late))\r\n{tag} OK\r\n",
    )
    known = Stream(connect(server).select("INBOX"), [5, 6], [FLAGS, SIZE]).known
    assert known[5] == {FLAGS: {"a"}, SIZE: 50}
    assert known[6][FLAGS] == {"b"} and known[6][SIZE].passing


def test_a_refusal_in_the_middle_of_a_stream(scripted: Scripted, connect: Connect) -> None:
    """One message that the server fails on among 1,500: the others come, each once, in few commands."""
    server = many(scripted(), 1500)

    def answer(session: Session, line: bytes) -> bytes | None:
        mails = server.box().chosen(line.split()[2].decode())
        if all(mail.uid != 700 for mail in mails):
            return None
        shown = [b"* %d FETCH (UID %d RFC822.SIZE 7)\r\n" % (m.uid, m.uid) for m in mails if m.uid < 600]
        return b"".join(shown) + b"{tag} NO [UNAVAILABLE] Server error\r\n"

    server.script(rb"UID FETCH", answer)
    known = Stream(connect(server).select("INBOX"), range(1, 1501)).known
    assert sorted(known) == list(range(1, 1501)) and known[700][SIZE].passing
    assert len(server.sent(b"UID FETCH")) < 30


def test_a_header_that_is_too_much_in_a_stream(scripted: Scripted, connect: Connect) -> None:
    """It is read as far as it goes; what came before it is not asked for again."""
    server = many(scripted(), 600)
    server.box().add(b"Subject: huge\r\nX-Bomb: " + b"x" * 2_000_000 + b"\r\n\r\n")
    many(server, 600)
    mailbox = connect(server, limits=Limits(literal=1_000_000, octets=3_000_000)).select("INBOX")
    known = Stream(mailbox, range(1, 1202), [ALL_HEADERS]).known
    assert [known[uid][ALL_HEADERS].get("subject") for uid in (1, 601, 1201)] == [
        (b"0",), (b"huge",), (b"599",)
    ]  # fmt: skip
    assert len(known) == 1201
    first = server.sent(b"UID FETCH")[1]
    assert first.split()[2].startswith(b"601:")


def test_an_error_in_the_middle_of_a_stream(scripted: Scripted, connect: Connect) -> None:
    """What is raised by whoever takes the answers comes through, and nobody reads the rest by mistake."""
    server = many(scripted(), 1200)
    connection = connect(server)
    mailbox = connection.select("INBOX")

    def take(told: object) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError):
        mailbox.stream(range(1, 1201), [SIZE], take)
    assert not connection.alive


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        (b" 2-Mar-2026 10:00:00 +0100", datetime(2026, 3, 2, 10, tzinfo=timezone(timedelta(hours=1)))),
        (b"02-mar-2026 10.00.00 -0530",
         datetime(2026, 3, 2, 10, tzinfo=timezone(-timedelta(hours=5, minutes=30)))),
        (b"02-Mar-2026 10:00:60 +0000", datetime(2026, 3, 2, 10, 0, 59, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_internal_dates(text: bytes, moment: datetime) -> None:
    """As servers write them."""
    assert internal_date(text) == moment


@pytest.mark.parametrize("text", [None, b"", b"32-Mar-2026 10:00:00 +0000", b"1-Foo-2026 10:00:00 +0000"])
def test_dates_that_are_none(text: bytes | None) -> None:
    """Unreadable, never another exception."""
    with pytest.raises(Unreadable):
        internal_date(text)


# -- identities -----------------------------------------------------------------------------------


@pytest.mark.parametrize("storage", ["sdbox", "maildir"])
def test_identity_survives_copy_and_move(storage: str, dovecot: Dovecot, connect: Connect) -> None:
    """Dovecot's GUID goes with the message, and finds it again."""
    with Dovecot(Layout(storage=storage, users=2)) as server:
        server.append("u0", [message(1), message(2)])
        connection = connect(server, "u0")
        mailbox = connection.select("INBOX")
        identities = mailbox.identities([1, 2, 3])
        assert sorted(identities) == [1, 2]
        assert identities[1].identity.startswith("guid:") and identities[1].identity != identities[2].identity
        assert (identities[1].subject, identities[1].sender) == ("message 1", "ann@example.test")
        mailbox.copy([1], "Archive")
        mailbox.move([2], "Archive")
        archive = connection.select("Archive")
        assert [archive.find(identities[uid].identity) for uid in (1, 2)] == [[1], [2]]
        assert archive.find(identities[1].identity, low=2) == []
        assert mailbox.find(identities[2].identity) == []


@pytest.mark.parametrize(
    ("capability", "item", "identity"),
    [
        ("IMAP4rev1 OBJECTID X-GM-EXT-1", b"EMAILID (M6d99ac3275bb4e)", "emailid:M6d99ac3275bb4e"),
        ("IMAP4rev1 X-GM-EXT-1", b"X-GM-MSGID 1278455344230334865", "gmsgid:1278455344230334865"),
    ],
)
def test_servers_own_identities(
    capability: str, item: bytes, identity: str, scripted: Scripted, connect: Connect
) -> None:
    """OBJECTID before Gmail's; SEARCH finds them."""
    server = scripted(capability=capability)
    server.script(
        rb"UID FETCH",
        b"* 1 FETCH (UID 1 FLAGS () RFC822.SIZE 9 "
        + item
        + b" BODY[HEADER.FIELDS (X)] {2}\r\n\r\n)\r\n{tag} OK\r\n",
    )
    mailbox = connect(server).select("INBOX")
    assert mailbox.identities([1])[1].identity == identity
    name, value = item.replace(b"(", b"").replace(b")", b"").split()
    server.script(b"UID SEARCH UID 3:\\* " + name + b" " + value, b"* SEARCH 4 8\r\n{tag} OK\r\n")
    assert mailbox.find(identity, low=3) == [4, 8]


def test_hashed_identities(scripted: Scripted, connect: Connect) -> None:
    """Elsewhere a hash of what COPY keeps: the same for copies, different for different mail."""
    server = scripted(capability="IMAP4rev1")
    raw = message(5)
    server.box().add(raw)
    server.box().add(message(6))
    server.box("Other").add(raw)
    connection = connect(server)
    mailbox = connection.select("INBOX")
    known = mailbox.identities([1, 2])
    assert known[1].identity.startswith("sha256:") and known[1].identity != known[2].identity
    assert connection.select("Other").find(known[1].identity) == [1]
    assert connection.select("Other").find(known[2].identity) == []
    assert known[1].message_id and known[1].subject == "message 5" and known[1].size == len(raw)


def test_raw_messages(dovecot: Dovecot, user: str, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every octet, also of one that is fetched in pieces; one beyond the limit is refused."""
    from mailrules.adapters.imap import body

    dovecot.append(user, MULTIPART)
    mailbox = connect(dovecot, user).select("INBOX")
    assert mailbox.raw(1, limit=10_000) == MULTIPART
    monkeypatch.setattr(body, "MOST_PIECE", 100)
    assert mailbox.raw(1, limit=10_000) == MULTIPART
    with pytest.raises(PermanentError):
        mailbox.raw(1, limit=100)
