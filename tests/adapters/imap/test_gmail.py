"""Gmail's ways, against a server that has its extensions."""

from __future__ import annotations

from mailrules.core.message import GMAIL_LABELS, SIZE, STRUCTURE, header_fact
from mailrules.core.search import Key
from mailrules.core.uidset import UidSet
from tests.adapters.imap.conftest import Connect
from tests.lab.dovecot import message
from tests.lab.gmail import USER, Hoodiecrow

ALL = "[Gmail]/Alle Nachrichten"


def test_a_session_with_gmail(hoodiecrow: Hoodiecrow, connect: Connect) -> None:
    """Localised special mailboxes, message ids, labels, archiving and deleting by way of Trash."""
    connection = connect(hoodiecrow, USER)
    special_use = connection.special_use()
    assert special_use["\\Archive"] == special_use["\\All"] == ALL
    for number in (1, 2, 3):
        assert connection.append("INBOX", message(number)) is not None
    mailbox = connection.select("INBOX")
    uids = mailbox.uids()
    assert len(uids) == 3
    facts = mailbox.fetch(uids, [GMAIL_LABELS, SIZE, STRUCTURE, header_fact("Subject")], body_limit=100)
    assert facts[uids[0]][GMAIL_LABELS] == {"\\Inbox"}
    assert facts[uids[1]][header_fact("Subject")] == (b"message 2",)
    identities = mailbox.identities(uids)
    assert all(identity.identity.startswith("gmsgid:") for identity in identities.values())
    assert mailbox.find(identities[uids[1]].identity) == [uids[1]]
    assert mailbox.search(Key("SUBJECT", ("message 2",)), UidSet(uids)) == {uids[1]}

    moved = mailbox.move([uids[0], 999], ALL)
    assert moved[uids[0]].state == "done" and moved[999].state == "gone"
    assert connection.select(ALL).uids() == [moved[uids[0]].detail["to_uid"]]
    assert mailbox.add_flags([uids[1]], ["\\Seen", "$Todo"])[uids[1]].state == "done"
    assert mailbox.delete([uids[2]])[uids[2]].state == "done"
    assert mailbox.uids() == [uids[1]]
    assert connection.select(special_use["\\Trash"]).uids() == []


def test_idle(hoodiecrow: Hoodiecrow, connect: Connect) -> None:
    """New mail is told to who idles."""
    watching, other = connect(hoodiecrow, USER), connect(hoodiecrow, USER)
    mailbox = watching.select("INBOX")
    before = mailbox.uids()
    assert not watching.idle()
    other.append("INBOX", message())
    watching.client.wire.sock.settimeout(5)
    assert watching.client.wire.sock.recv(1, 2)  # MSG_PEEK: wait until something is there
    assert watching.idle_events() and watching.done() is True
    assert len(mailbox.uids()) == len(before) + 1


def test_labels(hoodiecrow: Hoodiecrow, connect: Connect) -> None:
    """Labels are put on and taken off, read back, and are the same when it is done twice."""
    connection = connect(hoodiecrow, USER)
    connection.append("INBOX", message(1))
    mailbox = connection.select("INBOX")
    [uid] = mailbox.uids()

    def labels() -> object:
        return mailbox.fetch([uid], [GMAIL_LABELS], body_limit=100)[uid][GMAIL_LABELS]

    for _ in range(2):
        outcomes = mailbox.add_labels([uid, 999], ["Grüße/2026", "\\Starred"])
        assert outcomes[uid].state == "done" and outcomes[999].state == "gone"
        assert labels() == {"\\Inbox", "\\Starred", "Grüße/2026"}
    for _ in range(2):
        assert mailbox.remove_labels([uid], ["Grüße/2026", "\\Starred"])[uid].state == "done"
        assert labels() == {"\\Inbox"}
    assert mailbox.remove_labels([uid], ["\\Inbox"])[uid].state == "done"
