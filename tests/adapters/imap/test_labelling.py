"""adapters/imap/labelling.py, against a server that does what Gmail does and what it should not do."""

from __future__ import annotations

from tests.adapters.imap.conftest import Connect
from tests.lab.dovecot import message
from tests.lab.scripted import FULL, ScriptedServer

GMAIL = FULL + " X-GM-EXT-1"


def filled(server: ScriptedServer) -> ScriptedServer:
    server.box().add(message(1))
    return server


def test_elsewhere(connect: Connect) -> None:
    """A server without X-GM-EXT-1 makes it a failure that says so, and nothing is sent."""
    with filled(ScriptedServer()) as server:
        outcome = connect(server).select("INBOX").add_labels([1], ["Travel"])[1]
        assert outcome.state == "failed" and "not a Gmail server" in outcome.detail["error"]
        assert not any(b"LABELS" in command for command in server.commands)


def test_on_the_wire(connect: Connect) -> None:
    """Labels travel in modified UTF-7, quoted; Gmail's own as atoms. The answer is believed."""
    with filled(ScriptedServer(capability=GMAIL)) as server:
        server.script(
            rb"UID STORE",
            b'* 1 FETCH (UID 1 X-GM-LABELS ("\\\\Inbox" "Gr&APwA3w-e" "a \\"b\\""))\r\n{tag} OK\r\n',
        )
        mailbox = connect(server).select("INBOX")
        assert mailbox.add_labels([1], ["Grüße", 'a "b"', "\\Inbox"])[1].state == "done"
        assert rb'UID STORE 1 +X-GM-LABELS ("Gr&APwA3w-e" "a \"b\"" \Inbox)' in server.commands


def test_ok_is_not_believed(connect: Connect) -> None:
    """OK without the label there is a failure; a NO is one in the server's words, or a later try."""
    with filled(ScriptedServer(capability=GMAIL)) as server:
        server.script(rb"UID FETCH", b"* 1 FETCH (UID 1 X-GM-LABELS ())\r\n{tag} OK\r\n")
        server.script(rb"UID STORE", b"{tag} OK\r\n", times=1)
        server.script(rb"UID STORE", b"{tag} NO [CANNOT] Label name is not allowed\r\n", times=1)
        server.script(rb"UID STORE", b"{tag} NO [UNAVAILABLE] later\r\n")
        mailbox = connect(server).select("INBOX")
        outcomes = [mailbox.add_labels([1], ["Travel"])[1] for _ in range(3)]
        assert [outcome.state for outcome in outcomes] == ["failed", "failed", "later"]
        assert "did not keep" in outcomes[0].detail["error"] and "not allowed" in outcomes[1].detail["error"]


def test_what_gmail_leaves_out(connect: Connect) -> None:
    """The label of the selected mailbox is never listed: it is there all the same."""
    with filled(ScriptedServer(capability=GMAIL)) as server:
        server.box("Travel").add(message(2))
        server.script(rb"UID FETCH", b"* 1 FETCH (UID 1 X-GM-LABELS ())\r\n{tag} OK\r\n")
        server.script(rb"UID STORE", b"{tag} OK\r\n")
        connection = connect(server)
        assert connection.select("Travel").add_labels([1], ["travel"])[1].state == "done"
        assert connection.select("INBOX").add_labels([1], ["\\Inbox"])[1].state == "done"


def test_out_of_the_inbox(connect: Connect) -> None:
    """Without `\\Inbox` the message is gone from INBOX, which is what was asked for; another one is gone."""
    with filled(ScriptedServer(capability=GMAIL)) as server:
        server.script(rb"UID FETCH", b"{tag} OK\r\n")
        server.script(rb"UID STORE", b"* 1 EXPUNGE\r\n{tag} OK\r\n")
        mailbox = connect(server).select("INBOX")
        assert mailbox.remove_labels([1], ["\\Inbox"])[1].state == "done"
        assert mailbox.remove_labels([1], ["Travel"])[1].state == "gone"
