"""The verbs: what is done, what is said of it, and what is never done."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailrules.adapters.imap.framing import Status
from mailrules.adapters.imap.moving import read_copyuid
from mailrules.adapters.imap.transport import Reply
from mailrules.core.actions.base import Outcome
from mailrules.core.errors import PermanentError, TransientError
from mailrules.core.search import Key
from mailrules.core.uidset import UidSet
from tests.adapters.imap.conftest import Connect
from tests.lab.dovecot import Dovecot, message
from tests.lab.proxy import FaultProxy
from tests.lab.scripted import ScriptedServer, Session

Scripted = Callable[..., ScriptedServer]
ODD_LISTS = [
    "IMAP4rev1 UIDPLUS MOVE",
    "IMAP4rev1 UIDPLUS",
    "IMAP4rev1 MOVE",
    "IMAP4rev1",
]


def states(outcomes: Mapping[int, Outcome]) -> dict[int, str]:
    return {uid: outcome.state for uid, outcome in outcomes.items()}


def filled(server: ScriptedServer, count: int = 3) -> ScriptedServer:
    for number in range(1, count + 1):
        server.box().add(message(number))
    server.box("There")
    return server


def subjects(server: ScriptedServer, name: str) -> list[str]:
    return [mail.fields("subject") for mail in server.box(name).mails]


# -- moving ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", [set(), {"MOVE"}, {"UIDPLUS"}, {"MOVE", "UIDPLUS"}])
def test_move_on_dovecot(hidden: set[str], dovecot: Dovecot, user: str, connect: Connect) -> None:
    """With and without MOVE and UIDPLUS: moved, found again, and the one that was gone is `gone`."""
    dovecot.append(user, [message(n) for n in range(1, 6)])
    connection = connect(dovecot, user)
    connection.capabilities -= hidden
    mailbox = connection.select("INBOX")
    outcomes = mailbox.move([1, 3, 4, 99], "New/Box")
    assert states(outcomes) == {1: "done", 3: "done", 4: "done", 99: "gone"}
    assert mailbox.uids() == [2, 5]
    there = connection.select("New/Box")
    assert [outcomes[uid].detail["to_uid"] for uid in (1, 3, 4)] == there.uids() == [1, 2, 3]
    assert outcomes[1].detail["to_uidvalidity"] == there.uidvalidity
    found = there.identities([1, 2, 3])
    assert [found[uid].subject for uid in (1, 2, 3)] == ["message 1", "message 3", "message 4"]


@pytest.mark.parametrize("capability", ODD_LISTS)
def test_move_without_help_of_the_server(capability: str, scripted: Scripted, connect: Connect) -> None:
    """Whatever is missing, the message ends in the other mailbox once, and its UID there is known."""
    server = filled(scripted(capability=capability))
    outcomes = connect(server).select("INBOX").move([1, 3, 9], "There")
    assert states(outcomes) == {1: "done", 3: "done", 9: "gone"}
    assert [outcomes[uid].detail["to_uid"] for uid in (1, 3)] == [1, 2]
    assert subjects(server, "INBOX") == ["message 2"]
    assert subjects(server, "There") == ["message 1", "message 3"]


def test_many_without_copyuid_in_few_commands(scripted: Scripted, connect: Connect) -> None:
    """Finding out about many costs no command for each."""
    server = filled(scripted(capability="IMAP4rev1"), 300)
    outcomes = connect(server).select("INBOX").move(range(1, 301), "There")
    assert [outcomes[uid].detail["to_uid"] for uid in range(1, 301)] == list(range(1, 301))
    assert len(server.commands) < 30


def test_the_copy_is_told_before_the_original_goes(scripted: Scripted, connect: Connect) -> None:
    """`on_copied` hears of proven copies while both are there."""
    server = filled(scripted(capability="IMAP4rev1 UIDPLUS"))
    seen: list[tuple[dict[int, str], int]] = []

    def on_copied(outcomes: Mapping[int, Outcome]) -> None:
        seen.append((states(outcomes), len(server.box().mails)))

    connect(server).select("INBOX").move([1, 2], "There", on_copied=on_copied)
    assert seen == [({1: "done", 2: "done"}, 3)]


def test_a_copy_that_cannot_be_proven_removes_nothing(scripted: Scripted, connect: Connect) -> None:
    """OK to COPY without a copy: unknown, never repeated by itself, and the original stays unmarked."""
    server = filled(scripted(capability="IMAP4rev1 UIDPLUS"))
    server.script(rb"UID COPY", b"{tag} OK done\r\n")
    outcomes = connect(server).select("INBOX").move([1], "There")
    assert states(outcomes) == {1: "unknown"}
    assert not server.sent(b"UID STORE") and not server.sent(b"UID EXPUNGE")


def test_ok_to_move_is_no_proof(scripted: Scripted, connect: Connect) -> None:
    """OK, and nothing moved: later."""
    server = filled(scripted())
    server.script(rb"UID MOVE", b"{tag} OK done\r\n")
    assert states(connect(server).select("INBOX").move([1, 9], "There")) == {1: "later", 9: "gone"}


@pytest.mark.parametrize(
    "code", ["[COPYUID {} {} {}]\r\n", "* [COPYUID {} {} {}]\r\n", "* OK [COPYUID {} {} {}]\r\n"]
)
def test_copyuid_as_servers_write_it(code: str, scripted: Scripted, connect: Connect) -> None:
    """Exchange leaves out the `* OK`."""
    server = filled(scripted(copyuid=lambda v, old, new: b""))

    def move(session: Session, line: bytes) -> bytes:
        answer = server.sessions[-1].do_uid_move(b"X", ["UID", "MOVE", "1,3", "There"])
        assert b"COPYUID" not in answer
        return (
            code.format(12, "1,3", "1:2").encode()
            + b"* 1 EXPUNGE\r\n* 0 EXISTS\r\n{tag} OK MOVE completed.\r\n"
        )

    server.script(rb"UID MOVE", move)
    outcomes = connect(server).select("INBOX").move([1, 3], "There")
    assert [outcomes[uid].detail for uid in (1, 3)] == [
        {"to_uidvalidity": 12, "to_uid": 1}, {"to_uidvalidity": 12, "to_uid": 2},
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text", [b"[COPYUID 1  ]", b"[COPYUID 1 1:3 1:2]", b"[COPYUID 1 1:4294967295 1:4294967295]",
             b"[COPYUID x 1 1]", b"[COPYUID 1 , ,]", b"[COPYUID 1 77 5]"],
)  # fmt: skip
def test_copyuid_that_says_nothing(text: bytes) -> None:
    """Malformed, unequal, immense, or of messages nobody asked about: no pair."""
    assert read_copyuid(Reply(Status("OK"), [[b"* OK " + text]]), UidSet([1, 2, 3])) == {}


def test_copyuid_keeps_its_order() -> None:
    """The sets correspond place by place, whatever their order."""
    reply = Reply(Status("OK", "COPYUID", b"5 3,1:2 30,12:11"))
    assert read_copyuid(reply, UidSet([1, 2, 3])) == {3: (5, 30), 1: (5, 12), 2: (5, 11)}


def test_move_without_copyuid_is_found_by_identity(scripted: Scripted, connect: Connect) -> None:
    """UIDPLUS without COPYUID (UIDNOTSTICKY): the journal's identities find the copies."""
    server = filled(scripted(copyuid=lambda v, old, new: b""))
    connection = connect(server)
    mailbox = connection.select("INBOX")
    identities = {uid: i.identity for uid, i in mailbox.identities([1, 2]).items()}
    outcomes = mailbox.move([1, 2, 9], "There", identities=identities)
    assert states(outcomes) == {1: "done", 2: "done", 9: "gone"}
    assert [outcomes[uid].detail["to_uid"] for uid in (1, 2)] == [1, 2]


def test_half_a_move_is_finished(scripted: Scripted, connect: Connect) -> None:
    """MOVE that copied, failed, and left the original: verified, then the original is removed."""
    server = filled(scripted())

    def half(session: Session, line: bytes) -> bytes:
        server.box("There").add(server.box().mails[0].raw)
        return b"{tag} NO [SERVERBUG] oops\r\n"

    server.script(rb"UID MOVE", half)
    mailbox = connect(server).select("INBOX")
    identities = {1: mailbox.identities([1])[1].identity}
    outcomes = mailbox.move([1], "There", identities=identities)
    assert states(outcomes) == {1: "done"} and outcomes[1].detail["inferred"]
    assert subjects(server, "INBOX") == ["message 2", "message 3"]
    assert subjects(server, "There") == ["message 1"]


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (b"NO [OVERQUOTA] Quota exceeded", "later"),
        (b"NO Over quota", "later"),
        (b"NO [UNAVAILABLE] x", "later"),
        (b"NO [INUSE] x", "later"),
        (b"NO [SERVERBUG] x", "later"),
        (b"NO [LIMIT] x", "later"),
        (b"NO [NOPERM] x", "failed"),
        (b"NO whatever", "failed"),
    ],
)
def test_refused_moves(answer: bytes, state: str, scripted: Scripted, connect: Connect) -> None:
    """Passing refusals are later, lasting ones failed; what was gone anyway is gone."""
    server = filled(scripted())
    server.script(rb"UID MOVE", b"{tag} " + answer + b"\r\n")
    outcomes = connect(server).select("INBOX").move([1, 9], "There")
    assert states(outcomes) == {1: state, 9: "gone"}
    assert len(server.box().mails) == 3 and answer.split()[-1].decode() in outcomes[1].detail["error"]


def test_throttling_stops_everything(scripted: Scripted, connect: Connect) -> None:
    """The account waits as long as the server says; no message is blamed."""
    server = filled(scripted())
    server.script(
        rb"UID MOVE", b"{tag} BAD Request is throttled. Suggested Backoff Time: 5000 milliseconds\r\n"
    )
    with pytest.raises(TransientError) as caught:
        connect(server).select("INBOX").move([1], "There")
    assert caught.value.retry_after == 5


def test_move_announced_but_broken(scripted: Scripted, connect: Connect) -> None:
    """Yahoo Japan says CANNOT to MOVE: copied and removed, and MOVE is not tried again."""
    server = filled(scripted())
    server.script(rb"UID MOVE", b"{tag} NO [CANNOT] MOVE\r\n")
    mailbox = connect(server).select("INBOX")
    assert states(mailbox.move([1], "There")) == {1: "done"}
    assert states(mailbox.move([2], "There")) == {2: "done"}
    assert len(server.sent(b"UID MOVE")) == 1


def test_over_quota_on_dovecot(dovecot: Dovecot, user: str, connect: Connect) -> None:
    """A full mailbox: later, with time to make room, and the source intact."""
    dovecot.append(user, [message(n) for n in range(4)])
    mailbox = connect(dovecot, user).select("INBOX")
    assert states(mailbox.move([1, 2], "Capped/Box")) == {1: "done", 2: "done"}
    outcomes = mailbox.move([3], "Capped/Box")
    assert states(outcomes) == {3: "later"} and (outcomes[3].retry_after or 0) >= 600
    assert mailbox.uids() == [3, 4]


def test_missing_mailboxes(dovecot: Dovecot, user: str, connect: Connect) -> None:
    """Created when that is allowed, else a failure that names it."""
    dovecot.append(user, [message(1), message(2)])
    allowed = connect(dovecot, user, create_mailboxes=lambda name: name.startswith("Lists/"))
    mailbox = allowed.select("INBOX")
    assert states(mailbox.move([1], "Lists/a")) == {1: "done"}
    outcomes = mailbox.copy([2], "Other/a")
    assert states(outcomes) == {2: "failed"} and "Other/a" in outcomes[2].detail["error"]


def test_names_this_server_cannot_have(dotted_dovecot: Dovecot, connect: Connect) -> None:
    """A failure of the effect, before anything is sent."""
    user = dotted_dovecot.new_user()
    dotted_dovecot.append(user, message())
    mailbox = connect(dotted_dovecot, user).select("INBOX")
    for outcomes in (mailbox.move([1], "v1.2"), mailbox.copy([1], "v1.2")):
        assert states(outcomes) == {1: "failed"} and "separates" in outcomes[1].detail["error"]
    assert states(mailbox.move([1], "Lists/Python")) == {1: "done"}


def test_move_to_itself(scripted: Scripted, connect: Connect) -> None:
    """Nothing is sent: it would only be numbered anew, and judged again."""
    server = filled(scripted())
    assert states(connect(server).select("INBOX").move([1], "inbox")) == {1: "done"}
    assert not server.sent(b"UID MOVE")


def test_examined_mailboxes_are_not_changed(dovecot: Dovecot, user: str, connect: Connect) -> None:
    """Dovecot would perform a MOVE in an EXAMINEd mailbox: we do not ask."""
    dovecot.append(user, message())
    mailbox = connect(dovecot, user).select("INBOX", read_only=True)
    for outcomes in (mailbox.move([1], "Trash"), mailbox.delete([1]), mailbox.add_flags([1], ["\\Seen"])):
        assert states(outcomes) == {1: "failed"}
    assert mailbox.uids() == [1]


def test_many_messages_in_few_commands(scripted: Scripted, connect: Connect) -> None:
    """Ranges, ascending, at most 8,000 bytes a line."""
    server = filled(scripted(), 4000)
    chosen = [uid for uid in range(1, 4001) if uid % 3]
    outcomes = connect(server).select("INBOX").move(reversed(chosen), "There")
    assert set(states(outcomes).values()) == {"done"} and len(outcomes) == len(chosen)
    moves = server.sent(b"UID MOVE")
    assert len(moves) < 8 and max(map(len, moves)) < 8100
    numbers = [int(n) for n in re.findall(rb"\d+", b" ".join(m.split()[2] for m in moves))]
    assert numbers == sorted(numbers)


@pytest.mark.parametrize(
    ("pattern", "direction", "moved"), [(rb"UID MOVE", "c2s", 0), (rb"COPYUID", "s2c", 1)]
)
def test_a_cut_in_a_move(
    pattern: bytes,
    direction: str,
    moved: int,
    dovecot: Dovecot,
    user: str,
    connect: Connect,
    proxy: FaultProxy,
) -> None:
    """Before it was heard, or before it was answered: a passing error; who comes back can find out."""
    dovecot.append(user, message(1))
    connection = connect(proxy, user)
    mailbox = connection.select("INBOX")
    identity = mailbox.identities([1])[1].identity
    proxy.on(pattern, direction, lambda c: c.cut())  # type: ignore[arg-type]
    with pytest.raises(TransientError):
        mailbox.move([1], "Archive")
    again = connect(proxy, user)
    assert len(again.select("Archive").find(identity)) == moved
    assert again.select("INBOX").present([1]) == (set() if moved else {1})


# -- copying --------------------------------------------------------------------------------------


@pytest.mark.parametrize("capability", ODD_LISTS)
def test_copy(capability: str, scripted: Scripted, connect: Connect) -> None:
    """The original stays, the copy's UID is known."""
    server = filled(scripted(capability=capability))
    outcomes = connect(server).select("INBOX").copy([2, 9], "There")
    assert states(outcomes) == {2: "done", 9: "gone"}
    assert outcomes[2].detail["to_uid"] == 1
    assert len(server.box().mails) == 3 and subjects(server, "There") == ["message 2"]


# -- removing -------------------------------------------------------------------------------------


def test_delete_on_dovecot(dovecot: Dovecot, user: str, connect: Connect) -> None:
    """Exactly these; others that are marked \\Deleted stay."""
    dovecot.append(user, [message(n) for n in range(4)])
    mailbox = connect(dovecot, user).select("INBOX")
    mailbox.add_flags([1], ["\\Deleted"])
    assert states(mailbox.delete([2, 3, 99])) == {2: "done", 3: "done", 99: "gone"}
    assert mailbox.uids() == [1, 4]


@pytest.mark.parametrize(
    ("capability", "refusal"),
    [
        ("IMAP4rev1", None),
        ("IMAP4rev1 UIDPLUS", b"{tag} NO UID EXPUNGE\r\n"),  # Proton Bridge 1
        ("IMAP4rev1 UIDPLUS", b"{tag} BAD No mail number specified\r\n"),  # hMailServer
    ],
)
def test_no_plain_expunge_over_others_deleted_mail(
    capability: str, refusal: bytes | None, scripted: Scripted, connect: Connect
) -> None:
    """Alone, ours are expunged; with a foreign \\Deleted there, ours stay marked, and that is said."""
    server = filled(scripted(capability=capability))
    if refusal:
        server.script(rb"UID EXPUNGE", refusal)
    mailbox = connect(server).select("INBOX")
    assert states(mailbox.delete([1])) == {1: "done"}
    assert [mail.uid for mail in server.box().mails] == [2, 3]
    server.box().mails[1].flags.add("\\Deleted")
    outcomes = mailbox.delete([2])
    assert [mail.uid for mail in server.box().mails] == [2, 3]
    assert outcomes[2].state == "done" and outcomes[2].detail["left_deleted"]
    assert len(server.sent(b"EXPUNGE")) == 1


def test_delete_on_gmail(scripted: Scripted, connect: Connect) -> None:
    """By way of Trash: \\Deleted elsewhere only archives."""
    server = filled(scripted(capability="IMAP4rev1 UIDPLUS MOVE X-GM-EXT-1 SPECIAL-USE"))
    trash = server.box("[Gmail]/Papierkorb", attributes=("\\Trash",))
    trash.add(message(70))
    server.script(rb"UID FETCH .*X-GM-MSGID", b"{tag} OK nothing\r\n")
    outcomes = connect(server).select("INBOX").delete([1, 9])
    assert states(outcomes) == {1: "done", 9: "gone"}
    assert len(server.box().mails) == 2 and [mail.uid for mail in trash.mails] == [1]
    assert not server.sent(b"UID STORE 1 ")


# -- flags ----------------------------------------------------------------------------------------


def test_flags_on_dovecot(dovecot: Dovecot, user: str, connect: Connect) -> None:
    """Set, clear, gone; other flags untouched."""
    dovecot.append(user, [message(1), message(2)], flags="(\\Answered)")
    mailbox = connect(dovecot, user).select("INBOX")
    assert states(mailbox.add_flags([1, 2, 9], ["\\Seen", "$Todo"])) == {1: "done", 2: "done", 9: "gone"}
    assert states(mailbox.remove_flags([2, 9], ["\\Seen", "$Absent"])) == {2: "done", 9: "gone"}
    flags = {uid: identity.flags - {"\\Recent"} for uid, identity in mailbox.identities([1, 2]).items()}
    assert flags == {1: {"\\Answered", "\\Seen", "$Todo"}, 2: {"\\Answered", "$Todo"}}


def test_keywords_a_server_does_not_keep(scripted: Scripted, connect: Connect) -> None:
    """A clear failure before anything is sent; system flags still work."""
    server = filled(scripted())
    server.box(permanent=("\\Seen", "\\Deleted", "$MDNSent"))
    mailbox = connect(server).select("INBOX")
    outcomes = mailbox.add_flags([1], ["$Todo"])
    assert states(outcomes) == {1: "failed"} and "does not keep '$Todo'" in outcomes[1].detail["error"]
    assert not server.sent(b"UID STORE")
    assert states(mailbox.add_flags([1], ["\\seen", "$mdnsent"])) == {1: "done"}


def test_ok_to_store_is_no_proof(scripted: Scripted, connect: Connect) -> None:
    """OK, and nothing kept: a failure."""
    server = filled(scripted())
    server.script(rb"UID STORE", b"{tag} OK Store completed\r\n")
    assert states(connect(server).select("INBOX").add_flags([1], ["\\Seen"])) == {1: "failed"}


def test_store_without_an_answer_is_asked_about(scripted: Scripted, connect: Connect) -> None:
    """A server that says nothing where nothing changed: the flag is there, and that is what counts."""
    server = filled(scripted())
    server.box().mails[0].flags.add("\\Seen")
    server.script(rb"UID STORE", b"{tag} OK\r\n")
    assert states(connect(server).select("INBOX").add_flags([1], ["\\Seen"])) == {1: "done"}


def test_store_refused(scripted: Scripted, connect: Connect) -> None:
    """BAD from Exchange is a failure of this effect, in its words."""
    server = filled(scripted())
    server.script(rb"UID STORE", b"{tag} BAD Command Argument Error. 11\r\n")
    outcomes = connect(server).select("INBOX").add_flags([1], ["work"])
    assert states(outcomes) == {1: "failed"} and "Argument Error" in outcomes[1].detail["error"]


def test_rights_on_dovecot(dovecot: Dovecot, user: str, connect: Connect) -> None:
    """Read-only by ACL: every verb is a failure, nothing changes, no exception."""
    other = dovecot.new_user()
    with dovecot.session(user) as session:
        session.create("Team")
        session.setacl("Team", other, "lr")
    dovecot.append(user, message(1), "Team")
    connection = connect(dovecot, other)
    mailbox = connection.select(f"shared/{user}/Team")
    assert mailbox.read_only
    for outcomes in (mailbox.add_flags([1], ["\\Seen"]), mailbox.delete([1]), mailbox.move([1], "Trash")):
        assert states(outcomes) == {1: "failed"}
    dovecot.append(other, message(2))
    into = connection.select("INBOX").copy([1], f"shared/{user}/Team")
    assert states(into) == {1: "failed"} and into[1].detail["code"] == "NOPERM"


@pytest.mark.parametrize(
    "flag", ["", "a b", "(", "\\Foo", "\\", "a\\b", "ä", '"x"', "a]", "x{3}", "*", "\\*"]
)
def test_what_can_be_no_flag(flag: str, scripted: Scripted, connect: Connect) -> None:
    """A failure, and nothing on the wire."""
    server = filled(scripted())
    assert states(connect(server).select("INBOX").add_flags([1], [flag])) == {1: "failed"}
    assert not server.sent(b"UID STORE")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(before=st.text(max_size=8), bad=st.sampled_from("\r\n\0"), after=st.text(max_size=8))
def test_nothing_can_be_injected(
    before: str, bad: str, after: str, scripted: Scripted, connect: Connect
) -> None:
    """CR, LF or NUL in any argument never reach the server: it sees no line that we did not write."""
    server = filled(scripted())
    connection = connect(server)
    mailbox = connection.select("INBOX")
    text = before + bad + after
    seen = len(server.commands)
    for call in (
        lambda: mailbox.add_flags([1], [text]),
        lambda: mailbox.move([1], text),
        lambda: mailbox.copy([1], text),
        lambda: mailbox.search_raw(text, UidSet([1])),
        lambda: mailbox.search(Key("SUBJECT", (text,)), UidSet([1])),
        lambda: connection.select(text),
        lambda: connection.create(text),
        lambda: connection.status(text),
        lambda: connection.append(text, b"x"),
        lambda: connection.append("INBOX", b"x", [text]),
    ):
        try:
            call()
        except (PermanentError, UnicodeError):
            continue
    assert server.commands[seen:] == []
