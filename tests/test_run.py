"""A pass over one mailbox: windows, and what does not wait for them."""

from __future__ import annotations

from pathlib import Path

from tests.integration.test_trust import scripted
from tests.lab.dovecot import message
from tests.lab.scripted import CUT, ScriptedServer, Session

RULES = "  - {name: new, when: {subject: fresh}, then: [{move: There}]}\n"


def arrives(server: ScriptedServer, pattern: bytes) -> None:
    """New mail comes while the server answers the first command that matches."""
    before: list[bytes] = []

    def answer(session: Session, line: bytes) -> None:
        if not before:
            before.append(line)
            mail = server.box().add(message(subject="fresh"))
            session.send(b"* %d EXISTS\r\n" % mail.uid)

    server.script(pattern, answer)


def test_new_mail_does_not_wait_for_a_backlog(tmp_path: Path) -> None:
    """Mail that comes between windows is judged and moved before the next one, and the rest after it."""
    with ScriptedServer() as server:
        program = scripted(server, tmp_path, RULES)
        program.run("run", "--once")
        for n in range(6000):
            server.box().add(message(n))
        arrives(server, rb"UID FETCH 501:")
        program.run("run", "--once")
        asked = [line.split()[2] for line in server.sent(b"UID FETCH") if b"HEADER.FIELDS (SUBJECT)" in line]
        assert asked == [b"1:500", b"501:5500", b"6001", b"5501:6000"]
        assert len(server.box("There").mails) == 1
        (account,) = program.json("status")[0]["accounts"]
        assert account["lag"] == 0


def test_what_is_cut_off_forgets_no_backlog(tmp_path: Path) -> None:
    """Cut off after the new mail was done: what is older and was not judged yet is found again."""
    with ScriptedServer() as server:
        program = scripted(server, tmp_path, RULES)
        program.run("run", "--once")
        for n in range(6000):
            server.box().add(message(n, subject="fresh" if n == 5600 else "old"))
        arrives(server, rb"UID FETCH 501:")
        server.script(rb"UID FETCH 5501:", CUT, times=1)
        program.run("run", "--once", status=75)
        assert len(server.box("There").mails) == 1
        program.run("run", "--once")
        assert len(server.box("There").mails) == 2


def test_a_destination_that_can_not_be_holds_up_nobody(tmp_path: Path) -> None:
    """It fails its own message, also where several destinations are asked about at once."""
    rules = (
        "  - {name: wrong, when: {subject: wrong}, then: [{move: Lists/a.b}]}\n"
        "  - {name: right, when: {subject: right}, then: [{move: There}]}\n"
    )
    with ScriptedServer(delimiter=".") as server:
        program = scripted(server, tmp_path, rules)
        program.run("run", "--once")
        for n, subject in enumerate(("wrong", "right")):
            server.box().add(message(n, subject=subject))
        program.run("run", "--once", status=1)
        assert {e["rule"]: e["state"] for e in program.log()} == {"wrong": "failed", "right": "done"}
        assert len(server.box("There").mails) == 1
