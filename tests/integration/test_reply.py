"""Replies through the worker, to an SMTP server: whom RFC 3834 forbids, nobody; a person, once."""

from __future__ import annotations

from email import message_from_bytes
from pathlib import Path
from typing import Any

from tests.core.answering_cases import ALLOWED, FORBIDDEN
from tests.lab.dovecot import Dovecot
from tests.lab.program import Program, account

RULES = """
rules:
  - name: away
    when: always
    then:
      - reply: {text: "I am away, {{ message.from.name }}.", once_every: 7d}
      - flag: $Seen
"""


def config(server: Dovecot, user: str, sink: Any, **more: Any) -> str:
    smtp = f"{{host: 127.0.0.1, port: {sink.port}, security: none, username: ~, from: me@our.example}}"
    return "accounts:\n" + account(server, user, smtp=smtp, **more) + RULES


def mail(headers: str) -> bytes:
    return (headers + "Message-ID: <x@acme.example>\n\nHello\n").replace("\n", "\r\n").encode()


def person(name: str, number: int = 0) -> bytes:
    address = f"{name}@acme.example"
    fields = f"Return-Path: <{address}>\nFrom: {name} <{address}>\nTo: me@our.example\nSubject: {number}\n"
    return mail(fields)


def test_nobody_that_rfc_3834_forbids(dovecot: Dovecot, user: str, smtp_sink: Any, tmp_path: Path) -> None:
    """None of the mail that must not be answered is; each skipped reply says why, other actions are done."""
    assert len(FORBIDDEN) >= 25
    with Program(tmp_path, config(dovecot, user, smtp_sink)) as program:
        program.run("run", "--once")
        dovecot.append(user, [mail(headers) for _, headers, _ in FORBIDDEN])
        program.run("run", "--once")
        assert smtp_sink.messages == []
        replies = program.log("--action", "reply")
        assert len(replies) == len(FORBIDDEN) and {e["state"] for e in replies} == {"skipped"}
        why = {e["uid"]: e["detail"]["because"] for e in replies}
        for uid, (_, _, words) in enumerate(FORBIDDEN, 1):
            assert words in why[uid]
        assert [e["state"] for e in program.log("--action", "flag")] == ["done"] * len(FORBIDDEN)
        dovecot.append(user, person("ann"))
        (planned,) = [e for e in program.json("plan", status=None) if "uid" in e][-1:]
        assert planned["actions"][0]["arguments"]["to"] == ["ann@acme.example"]
        dovecot.append(user, person("ann"))
        counted = program.json("plan")[-1]["summary"]["effects"]
        assert counted["reply"] == 1, "a plan answers a sender once"


def test_everybody_else_exactly_once(dovecot: Dovecot, user: str, smtp_sink: Any, tmp_path: Path) -> None:
    """Each kind of mail that may be answered is, once, with a null return path, whatever is run again."""
    letters = []
    for number, (_, headers) in enumerate(ALLOWED):
        named = headers.replace("ann@", f"ann{number}@") if "ann@" in headers else headers
        letters.append(mail(named))
    with Program(tmp_path, config(dovecot, user, smtp_sink)) as program:
        program.run("run", "--once")
        dovecot.append(user, letters)
        for _ in range(2):
            program.run("run", "--once")
        program.run("apply", "--yes")
        sent = [to for received in smtp_sink.messages for to in received.rcpt_tos]
        assert len(sent) == len(set(sent)) == len(ALLOWED)
        for received in smtp_sink.messages:
            parsed = message_from_bytes(received.content)
            assert received.mail_from in ("", "<>", None)
            assert parsed["Auto-Submitted"] == "auto-replied" and parsed["From"] == "me@our.example"
            assert parsed["In-Reply-To"] == "<x@acme.example>"


def test_once_in_seven_days_over_mailboxes_and_restarts(
    dovecot: Dovecot, user: str, smtp_sink: Any, tmp_path: Path
) -> None:
    """A sender who writes to two watched mailboxes, and again after a restart, has one answer."""
    with dovecot.session(user) as client:
        client.create("Team")
    with Program(tmp_path, config(dovecot, user, smtp_sink, mailboxes=("INBOX", "Team"))) as program:
        program.run("run", "--once")
        program.start()
        program.wait_for("connected")
        dovecot.append(user, [person("ann", 1), person("ann", 2)])
        dovecot.append(user, [person("ann", 3), person("ann", 4)], "Team")
        program.wait_for(lambda: len(program.log("--action", "reply")) == 4)
        program.stop()
        shown = [e for e in program.json("plan") if "uid" in e]
        assert [a for e in shown for a in e["actions"] if a["action"] == "reply"] == [], "plan knows it, too"
        dovecot.append(user, [person("ann", 5), person("bob")])
        program.run("run", "--once")
        assert sorted(to for m in smtp_sink.messages for to in m.rcpt_tos) == [
            "ann@acme.example", "bob@acme.example",
        ]  # fmt: skip
        states = [e["state"] for e in program.log("--action", "reply")]
        assert sorted(states) == ["done", "done", "skipped", "skipped", "skipped", "skipped"]
        assert "once_every" in str(program.log("--state", "skipped")[0]["detail"]["because"])


def test_explain_says_why_not(dovecot: Dovecot, user: str, smtp_sink: Any, tmp_path: Path) -> None:
    """`explain FILE` shows the reply to a person, and why another one would not be sent."""
    with Program(tmp_path, config(dovecot, user, smtp_sink)) as program:
        (tmp_path / "list.eml").write_bytes(mail(next(h for n, h, _ in FORBIDDEN if n == "List-Id")))
        (tmp_path / "ann.eml").write_bytes(person("ann"))
        shown = program.run("explain", str(tmp_path / "list.eml"), "--account", user).stdout
        assert "not answered: it came from a list" in shown
        (told,) = program.json("explain", str(tmp_path / "ann.eml"), "--account", user)
        assert [a["action"] for a in told["actions"]] == ["reply", "flag"]
