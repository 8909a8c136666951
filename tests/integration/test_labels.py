"""Labels through the worker, on a server with Gmail's extensions."""

from __future__ import annotations

import imaplib
import json
from pathlib import Path

from tests.lab.dovecot import Dovecot, message
from tests.lab.gmail import PASSWORD, USER, Hoodiecrow
from tests.lab.program import Program, account

RULES = r"""
rules:
  - name: trips
    when: {subject: trip}
    then: [{label: ["Reisen/Züge", '\Starred']}]
  - name: seen by later rules
    when: {gmail_label: Reisen/Züge}
    then: [{unlabel: '\Starred'}, {label: Second}]
  - name: out
    when: {gmail_label: Second}
    then: [{unlabel: '\Inbox'}]
  - name: never
    when: always
    then: [{flag: flagged}]
"""


def test_labels_on_gmail(hoodiecrow: Hoodiecrow, tmp_path: Path) -> None:
    """Labels are put on and taken off in order; later rules see them; out of the inbox no rule follows."""
    where = f"host: 127.0.0.1, port: {hoodiecrow.port}, security: none, username: {USER}"
    rules = f"accounts:\n  g: {{{where}, password: {{env: GMAIL}}}}\n" + RULES
    with Program(tmp_path, rules, environment={"GMAIL": PASSWORD}) as program:
        program.run("run", "--once")
        with imaplib.IMAP4("127.0.0.1", hoodiecrow.port) as client:
            client.login(USER, PASSWORD)
            client.append("INBOX", None, None, message(1, subject="a trip"))
        (planned, _) = program.json("plan", "--since", "1d", status=None)
        assert [(a["action"], a["arguments"]["labels"]) for a in planned["actions"]] == [
            ("label", ["Reisen/Züge", "\\Starred"]), ("unlabel", ["\\Starred"]), ("label", ["Second"]),
            ("unlabel", ["\\Inbox"]),
        ]  # fmt: skip
        program.run("run", "--once")
        assert [e["state"] for e in program.log()] == ["done"] * 4
        assert "unlabel \\Inbox" in program.run("log").stdout
        with imaplib.IMAP4("127.0.0.1", hoodiecrow.port) as client:
            client.login(USER, PASSWORD)
            client.select("INBOX")
            told = str(client.uid("FETCH", "1:*", "(X-GM-LABELS)"))
            assert "Reisen/Z&APw-ge" in told and "Second" in told
            assert "Starred" not in told and "Inbox" not in told


def test_labels_elsewhere(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """Where the server has no labels it fails and says so; `check --online` knows it before."""
    rules = "rules:\n  - {name: l, when: always, then: [{label: Travel}, {move: Away}]}\n"
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + rules) as program:
        assert "label and unlabel can't be done" in program.run("check", "--online", status=None).stdout
        program.run("run", "--once")
        dovecot.append(user, message(1))
        program.run("run", "--once", status=1)
        label, move = sorted(program.log(), key=lambda e: e["id"])
        assert label["state"] == "failed" and "not a Gmail server" in label["detail"]["error"]
        assert move["state"] == "planned"


def test_a_copy_on_gmail_is_not_put_into_the_trash(hoodiecrow: Hoodiecrow, tmp_path: Path) -> None:
    """There a copy is a label, and the trash would take the message itself: undo leaves it, and says why."""
    where = f"host: 127.0.0.1, port: {hoodiecrow.port}, security: none, username: {USER}"
    rules = f"accounts:\n  g: {{{where}, password: {{env: GMAIL}}}}\n"
    rules += "rules:\n  - {name: kept, when: {subject: trip}, then: [{copy: Keep}]}\n"
    with Program(tmp_path, rules, environment={"GMAIL": PASSWORD}) as program:
        program.run("run", "--once")
        with imaplib.IMAP4("127.0.0.1", hoodiecrow.port) as client:
            client.login(USER, PASSWORD)
            client.append("INBOX", None, None, message(1, subject="a trip"))
        program.run("run", "--once")
        (copy,) = program.log()
        told, _ = map(json.loads, program.run("undo", str(copy["id"]), "--yes", "--json").stdout.splitlines())
        assert told["undo"] is None and "label Keep" in told["because"]
