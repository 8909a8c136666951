"""Logging in, mailboxes, IDLE."""

from __future__ import annotations

import select
import time
from collections.abc import Callable

import pytest

from mailrules.adapters.imap import idling
from mailrules.adapters.imap.connection import Connection, ConnectionLost, LoginRefused, NoSuchMailbox
from mailrules.adapters.imap.refusals import Refused
from mailrules.core.errors import PermanentError, TransientError
from tests.adapters.imap.conftest import Connect
from tests.lab.dovecot import Dovecot, message
from tests.lab.proxy import FaultProxy
from tests.lab.scripted import CUT, HANG, Box, ScriptedServer, Session

Scripted = Callable[..., ScriptedServer]


# -- login ----------------------------------------------------------------------------------------


def test_capabilities_are_those_after_login(scripted: Scripted, connect: Connect) -> None:
    """Gmail and Exchange show MOVE only to those who have logged in."""
    server = scripted(before="IMAP4rev1", capability='IMAP4rev1 MOVE "APPENDLIMIT=26214400"')
    assert connect(server).capabilities == {"IMAP4REV1", "MOVE", "APPENDLIMIT=26214400"}


def test_id_is_sent_before_select(scripted: Scripted, connect: Connect) -> None:
    """163.com lets nobody select who has not said who they are; a refusal of ID is no harm."""
    server = scripted()
    server.script(rb"ID ", b"{tag} BAD what\r\n")
    connect(server).select("INBOX")
    words = [line.split()[0] for line in server.commands]
    assert words.index(b"ID") < words.index(b"SELECT")


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"NO [AUTHENTICATIONFAILED] Invalid credentials", "AUTHENTICATIONFAILED"),
        (b"NO [EXPIRED] x", "EXPIRED"),
        (b"NO [AUTHORIZATIONFAILED] x", "AUTHORIZATIONFAILED"),
        (b"NO [PRIVACYREQUIRED] x", "PRIVACYREQUIRED"),
        (b"NO [CONTACTADMIN] Account_suspended", "CONTACTADMIN"),
        (b"NO LOGIN failed.", ""),
    ],
)
def test_refused_logins(answer: bytes, code: str, scripted: Scripted, connect: Connect) -> None:
    """A lasting refusal carries its code, and never the password, even if the server repeats it."""
    server = scripted(password="s3cret")
    server.script(rb"LOGIN", b"{tag} " + answer + b" for u0/s3cret\x1b[0m\r\n")
    with pytest.raises(LoginRefused) as caught:
        connect(server, password=lambda: "s3cret")
    assert caught.value.code == code
    assert "s3cret" not in str(caught.value) and "***" in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "answer",
    [
        b"NO [ALERT] Too many simultaneous connections. (Failure)",
        b"NO [AUTHENTICATIONFAILED] Authentication failed. (Too many simultaneous connections.)",
        b"NO [UNAVAILABLE] Maximum number of connections from user+IP exceeded",
        b"NO [UNAVAILABLE] x", b"NO [INUSE] x", b"NO [LIMIT] x", b"NO [SERVERBUG] x",
        b"BAD User is authenticated but not connected.",
        b"NO Server Unavailable. 15",
    ],
)  # fmt: skip
def test_passing_login_failures(answer: bytes, scripted: Scripted, connect: Connect) -> None:
    """Too many connections are not a wrong password (Gmail, Mailbox.org, Dovecot, Exchange)."""
    server = scripted()
    server.script(rb"LOGIN", b"{tag} " + answer + b"\r\n")
    with pytest.raises(TransientError):
        connect(server)


def test_throttling_says_how_long(scripted: Scripted, connect: Connect) -> None:
    """Exchange names its backoff in milliseconds."""
    server = scripted()
    server.script(
        rb"SELECT", b"{tag} BAD Request is throttled. Suggested Backoff Time: 299961 milliseconds\r\n"
    )
    with pytest.raises(TransientError) as caught:
        connect(server).select("INBOX")
    assert caught.value.retry_after == pytest.approx(299.961)


@pytest.mark.parametrize("password", ['with "quotes" and \\', "blank blank", "pässword"])
def test_any_password_can_be_sent(password: str, scripted: Scripted, connect: Connect) -> None:
    """Quoted where LOGIN can, by AUTHENTICATE PLAIN where it can't."""
    server = scripted(before="IMAP4rev1 AUTH=PLAIN", password=password)
    assert connect(server, 'DOM\\us er"', password=lambda: password).alive


def test_a_password_with_a_line_break_is_refused(scripted: Scripted, connect: Connect) -> None:
    """It would be a second command."""
    server = scripted()
    with pytest.raises(PermanentError, match="line breaks"):
        connect(server, password=lambda: "x\r\nA1 DELETE INBOX")
    assert b"DELETE" not in server.received


def test_alerts_are_kept(scripted: Scripted, connect: Connect) -> None:
    """Each once, fit to be shown."""
    server = scripted()
    server.script(rb"SELECT", b"* OK [ALERT] quota\x07 at 90 %\r\n" * 3, then_model=True)
    connection = connect(server)
    connection.select("INBOX")
    assert connection.alerts == ["quota\ufffd at 90 %"]


def test_an_odd_line_is_passed_over(scripted: Scripted, connect: Connect) -> None:
    """A line that no grammar knows ends nothing."""
    server = scripted()
    odd = b"* 9.3736e+06 EXISTS\r\n* [what] ever\r\nnonsense\r\n* OK [UNSEEN 25]\r\n"
    for command in (rb"CAPABILITY", rb"SELECT", rb"NOOP", rb"LIST"):
        server.script(command, odd, then_model=True)
    connection = connect(server)
    assert connection.select("INBOX").uidvalidity == 11
    assert connection.mailboxes()


# -- mailboxes ------------------------------------------------------------------------------------


def test_special_use_on_dovecot(dovecot: Dovecot, user: str, connect: Connect) -> None:
    """RFC 6154; what the server does not say comes from the account's settings."""
    connection = connect(dovecot, user, special_use={"\\Archive": "Elsewhere", "\\All": "All"})
    found = connection.special_use()
    assert found["\\Trash"] == "Trash" and found["\\Archive"] == "Archive" and found["\\All"] == "All"


@pytest.mark.parametrize("refusal", [b"{tag} BAD what\r\n", b"{tag} OK\r\n"])
def test_plain_list_where_more_is_not_understood(
    refusal: bytes, scripted: Scripted, connect: Connect
) -> None:
    """Proton says BAD, Strato nothing: LIST is asked again the plain way, and only so from then on."""
    server = scripted(capability="IMAP4rev1 LIST-EXTENDED SPECIAL-USE NAMESPACE")
    server.box("Old", attributes=("\\archive",))
    server.script(rb"LIST .*RETURN", refusal)
    connection = connect(server)
    assert connection.special_use() == {"\\Archive": "Old"}
    connection.mailboxes()
    assert len([line for line in server.commands if b"RETURN" in line]) == 1


def test_gmail_archives_into_all_mail(scripted: Scripted, connect: Connect) -> None:
    """Localised as it may be, and what can't be selected is not used."""
    server = scripted(capability="IMAP4rev1 X-GM-EXT-1 SPECIAL-USE")
    server.box("[Gmail]", attributes=("\\HasChildren", "\\Noselect", "\\Trash"))
    server.box("[Gmail]/Alle Nachrichten", attributes=("\\All",))
    assert connect(server).special_use() == {
        "\\All": "[Gmail]/Alle Nachrichten", "\\Archive": "[Gmail]/Alle Nachrichten",
    }  # fmt: skip


def test_list_as_servers_write_it(scripted: Scripted, connect: Connect) -> None:
    """Literals, NIL, lower case, odd names; one that can't be read costs no other."""
    server = scripted()
    server.script(
        rb'LIST "" "\*"',
        b'* LIST (\\Noinferiors) NIL inbox\r\n* LIST () "/" {7}\r\na "q" b\r\n'
        b'* LIST (\\NonExistent) "/" "gone"\r\n* LIST () "/" bad\tname (\r\n'
        b'* LIST () "/" "per%cent"\r\n* LIST () "/" &BBAEMQQyACYEMwQ0BDU-\r\n{tag} OK\r\n',
    )
    connection = connect(server)
    found = {info.name: info for info in connection.mailboxes()}
    assert sorted(found) == ["INBOX", 'a "q" b', "gone", "per%cent", "Абв&где"]
    assert not found["gone"].selectable
    with pytest.raises(NoSuchMailbox):
        connection.select("gone")


def test_select_uses_the_bytes_that_list_gave(scripted: Scripted, connect: Connect) -> None:
    """Yandex encodes in a way of its own: SELECT repeats it."""
    server = scripted()
    server.box("&BBAEMQQyACYEMwQ0BDU-").add(message())
    connection = connect(server)
    assert connection.select("Абв&где").exists == 1


def test_globs(scripted: Scripted, connect: Connect) -> None:
    """INBOX in any case, other names exactly."""
    server = scripted()
    for name in ("Team/a", "Team/b", "team/c"):
        server.box(name)
    names = [info.name for info in connect(server).mailboxes(["Team/*", "inb*"])]
    assert names == ["INBOX", "Team/a", "Team/b"]


def test_dots_and_prefix(dotted_dovecot: Dovecot, connect: Connect) -> None:
    """On a server with `.` and `INBOX.` the file's names are the same as everywhere."""
    user = dotted_dovecot.new_user()
    connection = connect(dotted_dovecot, user)
    connection.create("Lists/Python/Ü")
    assert "Lists/Python/Ü" in {info.name for info in connection.mailboxes()}
    assert connection.special_use()["\\Trash"] == "Trash"
    mailbox = connection.select("Lists/Python/Ü")
    assert mailbox.name == "Lists/Python/Ü" and mailbox.exists == 0
    assert connection.select("INBOX/Lists/Python/Ü").uidvalidity == mailbox.uidvalidity
    with pytest.raises(PermanentError, match=r"'\.' separates"):
        connection.select("v1.2")
    with dotted_dovecot.session(user) as session:
        listed = b" ".join(session.list('""', '"*"')[1])
    assert b"INBOX.Lists.Python.&ANw-" in listed


def test_create_subscribes(dovecot: Dovecot, user: str, connect: Connect) -> None:
    """A new mailbox is subscribed; creating it twice is fine."""
    connection = connect(dovecot, user)
    connection.create("A/B")
    connection.create("A/B")
    with dovecot.session(user) as session:
        assert b"A/B" in b" ".join(session.lsub()[1])


def test_status_and_append(dovecot: Dovecot, user: str, connect: Connect) -> None:
    """Numbers of a mailbox; the UID of what was put there."""
    connection = connect(dovecot, user)
    assert connection.append("Archive", b"Subject: x\r\n\r\nno line end", ["\\Seen"]) is not None
    status = connection.status("Archive")
    assert (status.messages, status.uidnext) == (1, 2)
    assert connection.select("Archive").uidvalidity == status.uidvalidity
    with pytest.raises(NoSuchMailbox):
        connection.status("Nowhere")
    with pytest.raises(NoSuchMailbox):
        connection.append("Nowhere", b"x")


def test_status_with_an_empty_list(scripted: Scripted, connect: Connect) -> None:
    """163.com answers nothing: the mailbox is selected instead, and the one before again."""
    server = scripted()
    server.box("Other").add(message())
    server.script(rb"STATUS", b'* STATUS "Other" ()\r\n{tag} OK\r\n')
    connection = connect(server)
    before = connection.select("INBOX")
    assert connection.status("Other").messages == 1
    assert connection.selected("INBOX") is before


def test_select_what_is_not_there(dovecot: Dovecot, user: str, connect: Connect) -> None:
    """An error that names the mailbox."""
    with pytest.raises(NoSuchMailbox, match="'Nowhere' does not exist"):
        connect(dovecot, user).select("Nowhere")


def test_select_refused_without_a_code(scripted: Scripted, connect: Connect) -> None:
    """A mailbox that is listed is not missing, whatever the server's words."""
    server = scripted()
    server.script(rb"SELECT", b"{tag} NO SELECT Unsafe Login. Please contact kefu@188.com for help\r\n")
    with pytest.raises(Refused, match="Unsafe Login") as caught:
        connect(server).select("INBOX")
    assert not isinstance(caught.value, NoSuchMailbox)


def test_select_tells_what_it_must(dovecot: Dovecot, user: str, connect: Connect) -> None:
    """UIDVALIDITY, UIDNEXT, EXISTS, PERMANENTFLAGS, READ-ONLY."""
    dovecot.append(user, message())
    connection = connect(dovecot, user)
    mailbox = connection.select("inbox")
    assert (mailbox.name, mailbox.exists, mailbox.uidnext, mailbox.read_only) == ("INBOX", 1, 2, False)
    assert "\\*" in mailbox.permanent_flags
    assert connection.selected("INBOX") is mailbox
    assert connection.select("INBOX", read_only=True).read_only
    assert connection.selected("INBOX") is None  # an examined one is not for changes


@pytest.mark.parametrize("value", [b"0", b"18446744073709551615"])
def test_odd_uidvalidities(value: bytes, scripted: Scripted, connect: Connect) -> None:
    """Zero and 64 bits are numbers like others."""
    server = scripted()
    server.box(uidvalidity=int(value))
    assert connect(server).select("INBOX").uidvalidity == int(value)


def test_no_uidvalidity(scripted: Scripted, connect: Connect) -> None:
    """Without one nothing can be remembered of a mailbox: it is refused in words."""
    server = scripted()
    server.script(rb"SELECT", b"* 0 EXISTS\r\n{tag} OK [READ-WRITE] done\r\n")
    with pytest.raises(PermanentError, match="UIDVALIDITY"):
        connect(server).select("INBOX")


def test_no_uidnext_no_permanentflags(scripted: Scripted, connect: Connect) -> None:
    """What is absent is unknown, and all flags may be kept (RFC 3501 section 7.1)."""
    server = scripted()
    server.script(rb"SELECT", b"* FLAGS (\\Seen)\r\n* 0 EXISTS\r\n* OK [UIDVALIDITY 3]\r\n{tag} OK done\r\n")
    mailbox = connect(server).select("INBOX")
    assert mailbox.uidnext is None and mailbox.permanent_flags == {"\\Seen", "\\*"}


def test_a_new_uidvalidity_in_mid_session_ends_it(scripted: Scripted, connect: Connect) -> None:
    """No command with a stale UID follows."""
    server = scripted()
    server.box().add(message())
    server.script(rb"UID SEARCH", b"* OK [UIDVALIDITY 99] numbered anew\r\n", then_model=True)
    mailbox = connect(server).select("INBOX")
    with pytest.raises(TransientError, match="numbered anew"):
        mailbox.uids()
    with pytest.raises(TransientError):
        mailbox.add_flags([1], ["\\Seen"])
    assert not server.sent(b"UID STORE")


def test_a_new_uidvalidity_at_reselect_ends_it(scripted: Scripted, connect: Connect) -> None:
    """A mailbox that was replaced while another was selected is not the same."""
    server = scripted()
    server.box("Other")
    connection = connect(server)
    mailbox = connection.select("INBOX")
    connection.select("Other")
    server.box(uidvalidity=77)
    with pytest.raises(TransientError, match="numbered anew"):
        mailbox.add_flags([1], ["\\Seen"])
    assert not server.sent(b"UID STORE")


# -- IDLE -----------------------------------------------------------------------------------------


def readable(connection: Connection, seconds: float = 3) -> bool:
    return bool(select.select([connection.fileno()], [], [], seconds)[0])


def test_idle_on_dovecot(dovecot: Dovecot, user: str, connect: Connect) -> None:
    """New mail makes the socket readable; DONE ends it, and commands work again."""
    connection = connect(dovecot, user)
    mailbox = connection.select("INBOX")
    assert mailbox.uids() == []
    assert not connection.idle()
    dovecot.deliver(user, message())
    assert readable(connection)
    assert connection.idle_events() == {"INBOX"}
    assert connection.done() is True
    assert mailbox.uids() == [1]
    assert not connection.idle() and connection.done() is False


def test_still_here_is_not_mail(scripted: Scripted, connect: Connect) -> None:
    """Dovecot's sign of life, flags and a repeated count wake nobody up for a sweep."""
    server = scripted()
    server.box().add(message())
    connection = connect(server)
    connection.select("INBOX").uids()
    assert not connection.idle()
    server.tell(b"* OK Still here\r\n* 1 FETCH (FLAGS (\\Seen))\r\n* 1 EXISTS\r\n* 0 RECENT\r\n")
    assert readable(connection) and not connection.idle_events()


@pytest.mark.parametrize(
    "answer",
    [
        b"+ idling\r\n* 5 EXISTS\r\n",  # in one piece: no selector would fire again
        b"* 5 EXISTS\r\n+ idling\r\n",
        b"* 5 EXISTS\r\n* 1 RECENT\r\n+\r\n",
        b"+ entering idle mode\r\n* OK Still here\r\n* 5 EXISTS\r\n",
    ],
)
def test_mail_around_the_plus_is_seen_at_once(answer: bytes, scripted: Scripted, connect: Connect) -> None:
    """EXISTS before, with or after the `+`, which may stand alone."""
    server = scripted(idle_answer=answer)
    connection = connect(server)
    connection.select("INBOX")
    assert connection.idle() == {"INBOX"}
    assert connection.done() is True


@pytest.mark.parametrize("place", range(1, len(b"* 15 EXISTS\r\n")))
def test_half_lines(place: int, scripted: Scripted, connect: Connect) -> None:
    """A line split at any byte is news when it is whole, and not before."""
    server = scripted()
    connection = connect(server)
    connection.select("INBOX")
    assert not connection.idle()
    line = b"* 15 EXISTS\r\n"
    server.tell(line[:place])
    assert readable(connection)
    assert not connection.idle_events()
    server.tell(line[place:])
    assert readable(connection)
    assert connection.idle_events() == {"INBOX"}


@pytest.mark.parametrize("end", ["eof", "rst", "bye"])
def test_the_end_during_idle(
    end: str, dovecot: Dovecot, user: str, connect: Connect, proxy: FaultProxy
) -> None:
    """EOF, reset and BYE are told at once, and for ever."""
    connection = connect(proxy, user)
    connection.select("INBOX")
    connection.idle()
    if end == "bye":
        dovecot.bye(user)
    else:
        proxy.cut(rst=end == "rst")
    assert readable(connection)
    for _ in range(2):
        with pytest.raises(ConnectionLost):
            connection.idle_events()
            readable(connection)
            connection.idle_events()


def test_idle_refused_after_all(scripted: Scripted, connect: Connect) -> None:
    """Announced, then BAD: asked once, and then it is polled."""
    server = scripted()
    server.script(rb"IDLE", b"{tag} BAD IDLE not supported\r\n")
    connection = connect(server)
    connection.select("INBOX")
    assert connection.supports_idle
    assert not connection.idle() and not connection.supports_idle
    assert not connection.idle() and connection.done() is False
    assert len(server.sent(b"IDLE")) == 1


def test_idle_is_not_asked_where_it_is_not_offered(scripted: Scripted, connect: Connect) -> None:
    """Yahoo has none."""
    server = scripted(capability="IMAP4rev1")
    connection = connect(server)
    assert not connection.supports_idle and not connection.idle() and not server.sent(b"IDLE")


def test_mail_that_came_with_another_answer(scripted: Scripted, connect: Connect) -> None:
    """EXISTS in the answer to a FETCH is news; IDLE would never repeat it."""
    server = scripted()
    server.box().add(message())
    connection = connect(server)
    mailbox = connection.select("INBOX")
    mailbox.uids()
    server.script(rb"UID FETCH", b"* 2 EXISTS\r\n", times=1, then_model=True)
    mailbox.dates([1])
    assert connection.idle() == {"INBOX"}
    assert not server.sent(b"IDLE")


def test_commands_end_idle(scripted: Scripted, connect: Connect) -> None:
    """A command during IDLE says DONE first."""
    server = scripted()
    connection = connect(server)
    mailbox = connection.select("INBOX")
    connection.idle()
    mailbox.uids()
    assert server.commands[-2:] == [b"DONE", b"UID SEARCH ALL"]


def test_a_frozen_server_is_found_by_done(
    scripted: Scripted, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer to DONE: the connection is given up."""
    monkeypatch.setattr(idling, "IDLE_ANSWER", 0.5)
    server = scripted()

    def freeze(session: Session, line: bytes) -> bytes:
        session.send(b"+ idling\r\n")
        time.sleep(5)
        return b""

    server.script(rb"IDLE", freeze)
    connection = connect(server)
    connection.select("INBOX")
    connection.idle()
    with pytest.raises(ConnectionLost, match="no complete answer"):
        connection.done()


def test_a_server_that_ends_idle_by_itself(scripted: Scripted, connect: Connect) -> None:
    """A tagged answer before DONE: reconnect, do not ask again in a loop."""
    server = scripted()
    server.script(rb"IDLE", b"+ idling\r\n{tag} OK bored\r\n")
    connection = connect(server)
    connection.select("INBOX")
    with pytest.raises(ConnectionLost):
        connection.idle()


def test_idle_cut_and_hang(scripted: Scripted, connect: Connect) -> None:
    """No `+`: a passing error, soon."""
    for script in (CUT, HANG):
        server = scripted()
        server.script(rb"IDLE", script)
        connection = connect(server, timeout=0.3)
        connection.select("INBOX")
        with pytest.raises(ConnectionLost):
            connection.idle()


def test_statuses_come_in_one_round_trip(scripted: Scripted, connect: Connect) -> None:
    """Several mailboxes are asked about in one piece; one that is not there is left out."""
    server = scripted()
    for n, name in enumerate(("A", "B")):
        server.boxes[name] = Box(name, uidvalidity=20 + n)
    connection = connect(server)
    found = connection.statuses(["A", "missing", "B"])
    assert {name: status.uidvalidity for name, status in found.items()} == {"A": 20, "B": 21}
    assert found["A"] == connection.status("A")
    assert connection.statuses([]) == {}
    with pytest.raises(NoSuchMailbox):
        connection.status("missing")


def test_a_name_that_can_not_be_does_not_cost_the_others(scripted: Scripted, connect: Connect) -> None:
    """Of several mailboxes, one that this server can't have is left out like one that is missing."""
    server = scripted()
    server.boxes["A"] = Box("A", uidvalidity=20)
    connection = connect(server)
    assert list(connection.statuses(["Lists//x", "Lists/a\rb", "A"])) == ["A"]


def test_very_many_statuses_do_not_jam(scripted: Scripted, connect: Connect) -> None:
    """Questions go in pieces whose answers fit on the way, so that neither side waits for the other."""
    server = scripted()
    names = [f"{n} " + "x" * 900 for n in range(6_000)]
    server.boxes.update((name, Box(name)) for name in names)
    connection = connect(server, timeout=5)
    assert len(connection.statuses(names)) == len(names)
