"""Saving through the worker: attachments and whole messages become files, once."""

from __future__ import annotations

import os
from email.message import EmailMessage
from pathlib import Path

from tests.lab.dovecot import Dovecot
from tests.lab.program import Program, account

RULES = """
rules:
  - name: invoices
    when: always
    then:
      - save: {to: "in/{{ message.from.domain }}", name: "*.pdf"}
      - save: {to: all, what: message}
      - move: Saved
"""


def letter(name: str, contents: bytes) -> bytes:
    message = EmailMessage()
    message["From"], message["To"] = "Ann <ann@acme.example>", "me@our.example"
    message["Subject"], message["Message-ID"] = "Invoice", f"<{os.urandom(6).hex()}@acme.example>"
    message.set_content("Here.")
    message.add_attachment(contents, maintype="application", subtype="pdf", filename=name)
    message.add_attachment(b"x", maintype="image", subtype="png", filename="logo.png")
    return message.as_bytes().replace(b"\n", b"\r\n")


def test_files(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """Attachments that fit, beside the file of rules; hostile names stay inside; once a message."""
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + RULES) as program:
        program.run("run", "--once")
        first = letter("Rechnung März.pdf", b"1")
        dovecot.append(user, [first, letter("Rechnung März.pdf", b"2"), letter("../../../up.pdf", b"3")])
        program.run("run", "--once")
        files = tmp_path / "in" / "acme.example"
        assert sorted((p.name, p.read_bytes() in (b"1", b"2", b"3")) for p in files.iterdir()) == [
            ("Rechnung März-2.pdf", True), ("Rechnung März.pdf", True), ("up.pdf", True),
        ]  # fmt: skip
        assert {p.read_bytes() for p in files.iterdir()} == {b"1", b"2", b"3"}
        assert sorted(os.listdir(tmp_path / "all")) == ["Invoice-2.eml", "Invoice-3.eml", "Invoice.eml"]
        assert first in [p.read_bytes() for p in (tmp_path / "all").iterdir()]
        told = program.log("--action", "save")
        assert {e["state"] for e in told} == {"done"} and len(told) == 6
        assert told[0]["detail"]["files"] and told[0]["arguments"]["to"].startswith(str(tmp_path))
        (files / "up.pdf").unlink()
        with dovecot.session(user, "Saved") as client:
            client.uid("COPY", "1:*", "INBOX")
        program.run("apply", "--yes")
        assert len(list(files.iterdir())) == 2, "once per message, rule and target, ever"


def test_a_place_that_can_not_be_written(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """It fails, says why, and the message stays."""
    (tmp_path / "all").write_text("a file")
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + RULES) as program:
        program.run("run", "--once")
        dovecot.append(user, letter("a.pdf", b"1"))
        program.run("run", "--once", status=1)
        assert sorted(e["state"] for e in program.log()) == ["done", "failed", "planned"]
        (failed,) = program.log("--state", "failed")
        assert "can't save to" in failed["detail"]["error"]
