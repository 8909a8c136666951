"""NOTIFY with FETCH items: the server sends what new messages are asked for before it is asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailrules import clock
from mailrules.adapters.imap import foretold
from mailrules.adapters.imap.connection import Connection
from mailrules.adapters.imap.facts import Arrived
from mailrules.adapters.imap.foretold import Foretold
from mailrules.core.message import FLAGS, Fact, header_fact
from tests.adapters.imap.conftest import Connect
from tests.adapters.imap.test_done import writes
from tests.adapters.imap.test_watch import await_news, put
from tests.lab.dovecot import Dovecot, message
from tests.lab.model import Mail, fetch_item
from tests.lab.proxy import FaultProxy
from tests.lab.scripted import FULL, ScriptedServer, Session

Scripted = Callable[..., ScriptedServer]
SUBJECT, SENDER = header_fact("subject"), header_fact("from")
NAMES = ("INBOX", "Work")
CAN = FULL + " NOTIFY OBJECTID"


def read(
    connection: Connection, name: str, facts: Sequence[Fact] = (SUBJECT,), *, identities: bool = True
) -> dict[int, tuple[str, bool]]:
    """A sweep: what a mailbox has, as UID -> subject, and whether it came with an identity."""
    mailbox = connection.selected(name) or connection.select(name)
    found: dict[int, tuple[str, bool]] = {}

    def take(those: Sequence[Arrived]) -> None:
        for arrived in those:
            known = arrived.facts()
            assert set(facts) <= known.keys()
            identity = arrived.identity()
            assert identity is None or identity.subject == known[SUBJECT][0].decode()
            found[arrived.uid] = (known[SUBJECT][0].decode(), identity is not None)

    mailbox.stream(mailbox.uids(), facts, take, identities=identities)
    return found


def subjects(found: dict[int, tuple[str, bool]]) -> list[str]:
    return [subject for _, (subject, _) in sorted(found.items())]


def wait(connection: Connection) -> None:
    """IDLE, with nothing left to be looked at."""
    for _ in range(5):
        news = connection.idle()
        if not news:
            return
        connection.done()
        for name in news:
            read(connection, name)
    raise AssertionError("there are always news")


def fetches(sent: Sequence[bytes]) -> int:
    return sum(piece.upper().count(b"UID FETCH") for piece in sent)


def asked(sent: Sequence[bytes]) -> list[bytes]:
    """The lines that ask for items in events."""
    return [line for line in b"".join(sent).split(b"\r\n") if b"MessageNew (UID " in line]


# -- with a real server -----------------------------------------------------------------------------
@pytest.fixture
def watching(dovecot: Dovecot, user: str, connect: Connect, proxy: FaultProxy) -> Connection:
    """INBOX has one message, which was read as new mail is; Work is watched, too; IDLE."""
    connection = connect(proxy, user)
    connection.create("Work")
    connection.mailboxes()
    assert connection.watch(NAMES)
    dovecot.append(user, message(0))
    read(connection, "Work")
    read(connection, "INBOX")
    wait(connection)
    return connection


def test_headers_come_with_the_event(
    dovecot: Dovecot, user: str, watching: Connection, proxy: FaultProxy
) -> None:
    """New mail, by APPEND, LMTP, COPY or MOVE, is read without a FETCH; it is who it would be by FETCH."""
    sent = writes(proxy)
    number = 0

    def copy(verb: str) -> None:
        with dovecot.session(user, "Work") as client:
            client.append("Work", "", "", message(number))
            client.noop()
            assert client.uid(verb, "*", "INBOX")[0] == "OK"

    for come in (
        lambda: put(dovecot, user, "INBOX", number),  # noqa: B023
        lambda: dovecot.deliver(user, message(number)),  # noqa: B023
        lambda: copy("COPY"),
        lambda: copy("MOVE"),
    ):
        number += 1
        come()
        while "INBOX" not in await_news(watching):
            pass
        watching.done()
        mailbox = watching.selected("INBOX")
        assert mailbox is not None
        highest = mailbox.uids()[-1]
        found: list[Arrived] = []
        mailbox.stream([highest], (SUBJECT,), found.extend, identities=True)
        (arrived,) = found
        assert fetches(sent) == 0, sent
        assert mailbox.identities([highest])[highest] == arrived.identity()
        assert fetches(sent) == 1
        sent.clear()
        while (news := watching.idle()) == {"Work"}:  # the copy's original
            watching.done()
            read(watching, "Work")
            read(watching, "INBOX")
        assert not news
        sent.clear()


def test_a_mailbox_selected_while_headers_are_asked_for(
    dovecot: Dovecot, user: str, watching: Connection, proxy: FaultProxy
) -> None:
    """Dovecot 2.3 would die of new mail there: it is asked for the usual before each SELECT, and survives."""
    sent = writes(proxy)
    total = {"INBOX": 1, "Work": 0}
    for name in ("Work", "Work", "INBOX", "Work", "INBOX", "INBOX"):
        put(dovecot, user, name, 7)
        total[name] += 1
        while name not in (news := await_news(watching)):
            assert not news
        watching.done()
        assert len(read(watching, name)) == total[name]
        wait(watching)
    lines = b"".join(sent).split(b"\r\n")
    selects = [place for place, line in enumerate(lines) if b" SELECT " in line]
    assert selects
    events = ["items" if b"MessageNew (UID" in line else "usual" for line in lines if b" NOTIFY SET " in line]
    assert "items" in events
    for place in selects[1:]:
        before = [line for line in lines[:place] if b" NOTIFY SET " in line]
        assert b"MessageNew (UID" not in before[-1]
    assert " Panic: " not in dovecot.log()


def test_many_at_once(
    dovecot: Dovecot, user: str, watching: Connection, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept is used, whatever else is asked for; more than may be kept is asked for."""
    monkeypatch.setattr(foretold, "MOST", 7)
    sent = writes(proxy)
    with dovecot.session(user) as client:
        for number in range(1, 31):
            client.append("INBOX", "", "", message(number))
    assert await_news(watching) == {"INBOX"}
    watching.done()
    mailbox = watching.selected("INBOX")
    assert mailbox is not None
    new = mailbox.uids()[1:]
    found: dict[int, bool] = {}

    def take(those: Sequence[Arrived]) -> None:
        assert not found.keys() & {arrived.uid for arrived in those}
        found.update({arrived.uid: arrived.identity() is not None for arrived in those})

    mailbox.stream(new, (SUBJECT,), take)
    assert sorted(found) == new and fetches(sent) == 1
    assert [uid for uid, known in found.items() if known] == new[:7]
    assert b"%d:%d (UID BODY.PEEK" % (new[7], new[-1]) in b"".join(sent)


def test_flags_that_have_changed_since(
    dovecot: Dovecot, user: str, watching: Connection, proxy: FaultProxy
) -> None:
    """Nothing is judged by flags that a message had when it came, if the server told of others since."""
    put(dovecot, user, "INBOX", 1)
    assert await_news(watching) == {"INBOX"}
    sent = writes(proxy)
    with dovecot.session(user, "INBOX") as client:
        client.uid("STORE", "2", "+FLAGS", "(\\Seen)")
    watching.noop()
    mailbox = watching.selected("INBOX")
    assert mailbox is not None
    found: list[Arrived] = []
    mailbox.stream(
        [uid for uid in mailbox.uids() if uid == 2], (SUBJECT, FLAGS), found.extend, identities=True
    )
    (arrived,) = found
    assert "\\seen" in {flag.lower() for flag in arrived.facts()[FLAGS]} and fetches(sent) == 1


def test_other_facts_are_asked_for(
    dovecot: Dovecot, user: str, watching: Connection, proxy: FaultProxy
) -> None:
    """When rules ask for something else, what was sent is of no use; from then on the other is sent."""
    other = (SUBJECT, header_fact("x-other"))
    sent = writes(proxy)
    for number, wanted in ((1, 1), (2, 0), (3, 0)):
        put(dovecot, user, "INBOX", number)
        assert await_news(watching) == {"INBOX"}
        watching.done()
        mailbox = watching.selected("INBOX")
        assert mailbox is not None
        mailbox.stream([mailbox.uids()[-1]], other, lambda those: None, identities=True)
        assert fetches(sent) == wanted, number
        assert not watching.idle()
        assert len(asked(sent)) == wanted
        sent.clear()


def test_mail_that_no_rule_matches(dovecot: Dovecot, user: str, connect: Connect, proxy: FaultProxy) -> None:
    """What new mail is asked for is learned, too, where a look at the header is all that it takes."""
    connection = connect(proxy, user)
    connection.create("Work")
    assert connection.watch(NAMES)
    read(connection, "Work")
    read(connection, "INBOX")
    wait(connection)
    sent = writes(proxy)
    for number in range(3):
        put(dovecot, user, "INBOX", number)
        assert await_news(connection) == {"INBOX"}
        connection.done()
        mailbox = connection.selected("INBOX")
        assert mailbox is not None
        looked: list[int] = []

        def skim(uids: Sequence[int], blocks: Sequence[bytes]) -> Sequence[int]:
            looked.extend(uids)  # noqa: B023
            return uids

        def take(those: Sequence[Arrived]) -> None:
            looked.extend(arrived.uid for arrived in those)  # noqa: B023

        new = mailbox.uids()[-1:]
        mailbox.stream(new, (SUBJECT,), take, identities=True, skim=skim)
        assert looked == new and fetches(sent) == (number == 0) * 2, (
            "the first: what an identity is here, too"
        )
        assert not connection.idle()
        sent.clear()


def test_it_is_not_deaf_when_it_watches_one_alone(
    dovecot: Dovecot, user: str, watching: Connection, proxy: FaultProxy
) -> None:
    """Where the mailboxes are watched apart after all, new mail in the one is told of as ever."""
    watching.done()
    watching.do_without_notify()
    assert not watching.watch(NAMES)
    for name in ("Work", "INBOX", "Work"):
        before = len(read(watching, name))
        assert not watching.idle()
        put(dovecot, user, name, 9)
        assert await_news(watching) == {name}
        watching.done()
        assert len(read(watching, name)) == before + 1


# -- with a scripted one ----------------------------------------------------------------------------
@pytest.fixture
def server(scripted: Scripted) -> ScriptedServer:
    server = scripted(capability=CAN, garble=spelled)
    server.box("Work")
    server.box().add(message(0))
    return server


def spelled(data: bytes) -> bytes:
    """The names of headers as they were asked for."""
    return data.replace(b") ]", b")]")


def begun(server: ScriptedServer, connection: Connection) -> Connection:
    connection.mailboxes()
    assert connection.watch(NAMES)
    read(connection, "Work")
    read(connection, "INBOX")
    wait(connection)
    return connection


def items(server: ScriptedServer) -> list[str]:
    """What the client asks for in events."""
    told = re.search(rb"MessageNew \(UID (.*)\) MessageExpunge FlagChange", server.sent(b"NOTIFY")[-1])
    assert told is not None
    return re.findall(r"[^ \[]+(?:\[[^\]]*\])?", told[1].decode())


def event(server: ScriptedServer, mail: Mail, *, uid: int | None = None) -> bytes:
    values = [fetch_item(mail, item) for item in items(server)]
    values.insert(0, b"UID %d" % (uid or mail.uid))
    return b"* %d FETCH (%b)\r\n" % (len(server.box().mails), b" ".join(values))


def told(server: ScriptedServer, connection: Connection, *said: bytes, more: int = 0) -> int:
    """Say all this and an EXISTS (of `more` messages than there are); gives how many FETCHes reading what is
    new then takes."""
    server.tell(b"".join(said) + b"* %d EXISTS\r\n" % (len(server.box().mails) + more))
    assert await_news(connection) == {"INBOX"}
    connection.done()
    before = len(server.sent(b"UID FETCH"))
    mailbox = connection.selected("INBOX")
    assert mailbox is not None
    mails = {mail.uid: mail for mail in server.box().mails[-1:] if mail.uid > 1}
    found: dict[int, Arrived] = {}
    uids = [uid for uid in mailbox.uids() if uid in mails]
    mailbox.stream(uids, (SUBJECT,), lambda those: found.update({a.uid: a for a in those}), identities=True)
    assert found.keys() == mails.keys()
    for uid, arrived in found.items():
        identity = arrived.identity()
        assert identity is not None and identity.identity == f"emailid:M{uid}"
        assert f"Subject: {identity.subject}\r\n".encode() in mails[uid].raw
    return len(server.sent(b"UID FETCH")) - before


def test_what_is_as_it_is_to_be(server: ScriptedServer, connect: Connect) -> None:
    """A whole answer, once or twice, spares the FETCH."""
    connection = begun(server, connect(server))
    for number in range(1, 4):
        mail = server.box().add(message(number))
        assert told(server, connection, *[event(server, mail)] * (1 + number % 2)) == 0
        wait(connection)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda e: b"",
        lambda e: e.replace(b"EMAILID (M2) ", b""),
        lambda e: e.replace(b"FLAGS () ", b""),
        lambda e: e.replace(b"BODY[HEADER.FIELDS", b"BODY[1.HEADER.FIELDS"),
        lambda e: e.replace(b"UID 2 ", b""),
        lambda e: e.replace(b"UID 2 ", b"UID 9 "),
        lambda e: e.replace(b"UID 2 ", b"UID 0 "),
        lambda e: e.replace(b"UID 2 ", b"UID x "),
        lambda e: e.replace(b"UID 2 ", b"UID (2) "),
        lambda e: e.replace(b"UID 2 ", b"UID 1 "),
        lambda e: e[: e.index(b"BODY[")] + b"BODY[HEADER] NIL)\r\n",
        lambda e: e + b"* 2 FETCH (UID 2 FLAGS (\\Seen))\r\n",
        lambda e: e + b"* 2 FETCH (FLAGS (\\Seen))\r\n",
        lambda e: e + b"* 2 FETCH (((\r\n",
        lambda e: e + b"* 2 FETCH (UID 2 MODSEQ (7))\r\n",
    ],
)
def test_what_is_not(spoil: Callable[[bytes], bytes], server: ScriptedServer, connect: Connect) -> None:
    """Less than was asked for, another UID or none, and what is out of date: the message is asked for."""
    connection = begun(server, connect(server))
    mail = server.box().add(message(1))
    said = spoil(event(server, mail))
    assert said != event(server, mail)
    assert told(server, connection, said) == 1


def test_one_that_no_sweep_finds(server: ScriptedServer, connect: Connect) -> None:
    """A message that the server tells of and does not list is none; nor is it kept for a later one."""
    connection = begun(server, connect(server))
    ghost = Mail(2, message(66, subject="ghost"))
    assert told(server, connection, event(server, ghost), more=1) == 0
    wait(connection)
    server.box().add(message(1))
    assert told(server, connection, more=1) == 1


def test_another_mailbox(server: ScriptedServer, connect: Connect) -> None:
    """What was sent of a mailbox answers for no other one, whatever its UIDs."""
    connection = begun(server, connect(server))
    server.tell(event(server, Mail(1, message(66, subject="another")), uid=7) + b"* 7 EXISTS\r\n")
    assert await_news(connection) == {"INBOX"}
    connection.done()
    server.box("Work").add(message(1), uid=7)
    assert subjects(read(connection, "Work")) == ["message 1"]
    assert server.sent(b"NOTIFY")[-1].count(b"UID") == 0, "and before SELECT it was asked for the usual"


@pytest.mark.parametrize("answer", [b"NO [BADEVENT (MessageNew)] no", b"BAD Invalid fetch-att list"])
def test_refused(answer: bytes, server: ScriptedServer, connect: Connect) -> None:
    """A server that does not send items is asked once, and watched without them."""
    server.script(rb"NOTIFY .*MessageNew \(UID", b"{tag} " + answer + b"\r\n")
    connection = begun(server, connect(server))
    assert connection.supports_notify
    for number in range(1, 3):
        server.box().add(message(number))
        assert told(server, connection) == 1
        wait(connection)
    assert sum(b"MessageNew (UID" in line for line in server.sent(b"NOTIFY")) == 1


def test_in_the_middle_of_another_answer(server: ScriptedServer, connect: Connect) -> None:
    """An event is no part of the answer to a FETCH for another header of the same message."""
    connection = begun(server, connect(server))
    connection.done()
    mailbox = connection.selected("INBOX")
    assert mailbox is not None
    server.box().add(message(1))
    uids = mailbox.uids()

    def and_an_event(session: Session, line: bytes) -> bytes:
        return event(server, Mail(2, message(66, subject="event")))

    server.script(rb"UID FETCH", and_an_event, then_model=True)
    found: list[Arrived] = []
    mailbox.stream(uids[-1:], (SUBJECT, header_fact("x-other")), found.extend)
    assert [arrived.facts()[SUBJECT] for arrived in found] == [(b"message 1",)]


def test_where_the_header_has_another_name(server: ScriptedServer, connect: Connect) -> None:
    """A server that does not repeat what it was asked for is not asked to send it."""
    server.garble = lambda data: spelled(data).replace(b"FIELDS (", b"FIELDS (X-ODD ")
    begun(server, connect(server))
    assert not any(b"MessageNew (UID" in line for line in server.sent(b"NOTIFY"))


def test_too_many_mailboxes_for_the_line(server: ScriptedServer, connect: Connect) -> None:
    """Items that would make the line too long are not asked for; the mailboxes are watched."""
    names = [f"{'x' * 60} {number}" for number in range(118)]
    connection = connect(server)
    for name in names:
        server.box(name)
    assert connection.watch(["INBOX", *names])
    read(connection, "INBOX")
    many = [header_fact(f"x-{'y' * 20}-{number}") for number in range(30)]
    mailbox = connection.selected("INBOX")
    assert mailbox is not None
    mailbox.stream([1], (SUBJECT, *many), lambda those: None, identities=True)
    connection.idle()
    assert connection.supports_notify
    assert len(server.sent(b"NOTIFY")) == 1 and b"MessageNew (UID" not in server.sent(b"NOTIFY")[0]


# -- what is kept -----------------------------------------------------------------------------------
WHAT = (b"FLAGS", b"BODY.PEEK[HEADER.FIELDS (SUBJECT)]")


def whole(uid: int, block: bytes = b"Subject: a\r\n\r\n") -> list[bytes]:
    return [b"* 1 FETCH (UID %d FLAGS () BODY[HEADER.FIELDS (SUBJECT)] " % uid, block, b")"]


def test_no_more_octets_than_may_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """However large what comes is, and however often, no more is held than the bound; and room comes back."""
    monkeypatch.setattr(foretold, "MOST_OCTETS", 1000)
    kept = Foretold()
    kept.begin(WHAT)
    for uid in range(1, 9):
        kept.told(whole(uid, b"x" * 400), above=0)
        kept.told(whole(uid, b"x" * 400), above=0)
    kept.told(whole(9, b"x" * 1001), above=0)
    assert [uid for uid, _ in kept.take(range(1, 20), WHAT)] == [1, 2]
    kept.told(whole(3, b"x" * 900), above=0)
    assert [uid for uid, _ in kept.take(range(1, 20), WHAT)] == [3] and not kept.some


def test_what_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a minute flags may be others: it does not count."""
    kept = Foretold()
    kept.begin(WHAT)
    kept.told(whole(1), above=0)
    now = clock.timer()
    monkeypatch.setattr(clock, "timer", lambda: now + foretold.KEPT + 1)
    assert kept.take([1], WHAT) == []


def test_what_a_sweep_has_seen() -> None:
    """A message below the last look's highest UID is no new one: it was our own FETCH that told."""
    kept = Foretold()
    kept.begin(WHAT)
    kept.told(whole(5), above=5)
    assert not kept.some


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=3))
def test_anything_may_be_told(said: list[bytes]) -> None:
    """No FETCH response breaks it."""
    kept = Foretold()
    kept.begin(WHAT)
    kept.told(whole(1), above=0)
    kept.told([b"* 1 FETCH " + said[0], *said[1:]], above=0)
    assert {uid for uid, _ in kept.take([1, 2], WHAT)} <= {1}
