"""Every action through the worker: journaled, once, in order, leaving last."""

from __future__ import annotations

from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

from tests.lab.dovecot import Dovecot, Layout, message
from tests.lab.program import Program, account


def written(directory: Path, name: str, text: str) -> Path:
    path = directory / name
    path.write_text(text)
    path.chmod(0o755)
    return path


def count(server: Dovecot, user: str, mailbox: str) -> int:
    with server.session(user) as client:
        if client.select(f'"{mailbox}"', readonly=True)[0] != "OK":
            return 0
        return len(client.uid("SEARCH", "ALL")[1][0].split())


def flags(server: Dovecot, user: str, mailbox: str) -> str:
    with server.session(user, mailbox) as client:
        return str(client.uid("FETCH", "1:*", "(FLAGS)")[1])


def run_on(program: Program, server: Dovecot, user: str, *mails: bytes, status: int | None = 0) -> None:
    program.run("run", "--once")
    server.append(user, list(mails))
    program.run("run", "--once", status=status)


def config(server: Dovecot, user: str, rules: str, sink: Any = None) -> str:
    more = {}
    if sink is not None:
        more["smtp"] = f"{{host: 127.0.0.1, port: {sink.port}, security: none, username: ~}}"
    return "accounts:\n" + account(server, user, **more) + "rules:\n" + rules


def test_forward_and_redirect_send_once(dovecot: Dovecot, user: str, smtp_sink: Any, tmp_path: Path) -> None:
    """A forward carries the original, a redirect is the original; neither is sent twice, whatever is run."""
    rules = (
        "  - name: send\n    when: {subject: invoice}\n    then:\n      - forward: books@example.org\n"
        "      - redirect: archive@example.org\n      - move: Sent on\n"
    )
    with Program(tmp_path, config(dovecot, user, rules, smtp_sink)) as program:
        run_on(program, dovecot, user, message(1, subject="invoice 1", body="Pay."))
        assert sorted(to for mail in smtp_sink.messages for to in mail.rcpt_tos) == [
            "archive@example.org", "books@example.org",
        ]  # fmt: skip
        forwarded = next(m for m in smtp_sink.messages if m.rcpt_tos == ["books@example.org"])
        parsed = message_from_bytes(forwarded.content)
        assert parsed["From"] == f"{user}@example.test" and parsed["Auto-Submitted"] == "auto-generated"
        assert b"Pay." in forwarded.content and "message/rfc822" in forwarded.content.decode()
        assert count(dovecot, user, "Sent on") == 1
        with dovecot.session(user, "Sent on") as client:
            client.uid("COPY", "1:*", "INBOX")
        program.run("apply", "--yes")
        assert len(smtp_sink.messages) == 2, "once per message, rule and target, ever"
        assert {e["state"] for e in program.log()} == {"done"}


def test_a_refused_forward_keeps_the_message(
    dovecot: Dovecot, user: str, smtp_sink: Any, tmp_path: Path
) -> None:
    """A 4yz is tried again later, a 5yz fails; in both cases the message stays where it is."""
    rules = "  - {name: send, when: always, then: [{forward: books@example.org}, {move: Gone}]}\n"
    with Program(tmp_path, config(dovecot, user, rules, smtp_sink)) as program:
        program.run("run", "--once")
        smtp_sink.plan("rcpt", "451 4.3.0 try later")
        dovecot.append(user, message(1))
        program.run("run", "--once", status=75)
        smtp_sink.plan("rcpt", "550 5.1.1 nobody here")
        dovecot.append(user, message(2))
        program.run("run", "--once", status=1)
        states = [(e["action"], e["state"]) for e in program.log()]
        assert sorted(states) == [
            ("forward", "failed"), ("forward", "later"), ("move", "planned"), ("move", "planned"),
        ]  # fmt: skip
        assert count(dovecot, user, "INBOX") == 2
        for entry in program.log("--action", "forward"):
            program.run("retry", str(entry["id"]))
        program.run("run", "--once")
        assert count(dovecot, user, "Gone") == 2 and len(smtp_sink.messages) == 2


def test_a_script_reads_the_message_and_answers(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """A script gets the message on stdin; what it may ask for is done before the message leaves."""
    written(
        tmp_path, "sort.sh",
        '#!/bin/sh\ncat > "$0.$MAILRULES_UID.eml"\n'
        'echo \'{"flag": "$Sorted"}\'\necho \'{"move": "Team/A"}\'\n',
    )  # fmt: skip
    rules = (
        "  - name: sort\n    when: always\n    then:\n      - flag: flagged\n      - script:\n"
        "          run: [./sort.sh]\n          allow: {move: ['Team/*'], flag: [$Sorted]}\n"
    )
    with Program(tmp_path, config(dovecot, user, rules)) as program:
        run_on(program, dovecot, user, message(1, body="for the script"))
        assert [(e["action"], e["state"]) for e in sorted(program.log(), key=lambda e: e["id"])] == [
            ("flag", "done"), ("script", "done"), ("flag", "done"), ("move", "done"),
        ]  # fmt: skip
        assert "$Sorted" in flags(dovecot, user, "Team/A") and "\\Flagged" in flags(dovecot, user, "Team/A")
    (seen,) = tmp_path.glob("sort.sh.*.eml")
    assert "for the script" in seen.read_text()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ('{"move": "Private"}', "allow"),
        ('{"delete": "permanently"}', "allow"),
        ("not json", "JSON"),
        ('{"move": "Team/A"}\n{"move": "Team/B"}', "twice"),
    ],
)
def test_a_script_that_asks_for_too_much_fails(
    dovecot: Dovecot, user: str, tmp_path: Path, answer: str, why: str
) -> None:
    """An answer that is not allowed makes the script `failed`, and nothing of it is done."""
    written(tmp_path, "ask.sh", f"#!/bin/sh\ncat <<'END'\n{answer}\nEND\n")
    rules = (
        "  - name: ask\n    when: always\n    then:\n      - script:\n          run: [./ask.sh]\n"
        "          allow: {move: ['Team/*']}\n"
    )
    with Program(tmp_path, config(dovecot, user, rules)) as program:
        run_on(program, dovecot, user, message(1), status=1)
        (entry,) = program.log()
        assert entry["state"] == "failed" and why in str(entry["detail"])
        assert count(dovecot, user, "INBOX") == 1


def test_a_script_asks_for_later(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """Exit status 75 is tried again later, and the message stays."""
    written(tmp_path, "busy.sh", "#!/bin/sh\nexit 75\n")
    rules = "  - {name: s, when: always, then: [{script: [./busy.sh]}, {move: X}]}\n"
    with Program(tmp_path, config(dovecot, user, rules)) as program:
        run_on(program, dovecot, user, message(1), status=75)
        assert sorted((e["action"], e["state"]) for e in program.log()) == [
            ("move", "planned"), ("script", "later"),
        ]  # fmt: skip


def test_special_use_and_deleting(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """archive, trash and junk go where the server says; delete removes exactly one message."""
    rules = (
        "  - {name: a, when: {subject: a1}, then: [archive]}\n"
        "  - {name: t, when: {subject: t1}, then: [trash]}\n"
        "  - {name: j, when: {subject: j1}, then: [junk]}\n"
        "  - {name: d, when: {subject: d1}, then: [{delete: permanently}]}\n"
        "  - {name: k, when: {subject: k1}, then: [keep, {log: 'seen {{ message.subject }}'}]}\n"
    )
    with Program(tmp_path, config(dovecot, user, rules)) as program:
        mails = [message(n, subject=f"{letter}1") for n, letter in enumerate("atjdk")]
        program.run("run", "--once")
        with dovecot.session(user) as client:
            client.append("INBOX", "(\\Deleted)", "", message(9, subject="somebody else's"))
        dovecot.append(user, mails)
        program.run("run", "--once")
        assert [count(dovecot, user, m) for m in ("Archive", "Trash", "Junk", "INBOX")] == [1, 1, 1, 2]
        assert "\\Deleted" in flags(dovecot, user, "INBOX"), "what others marked is left alone"
        assert {e["state"] for e in program.log()} == {"done"}
        assert any(e["arguments"] == {"text": "seen k1"} for e in program.log("--action", "log"))


def test_where_there_is_no_special_use_mailbox(lab_ca: Any, tmp_path: Path) -> None:
    """archive is never guessed: without \\Archive the rule fails, says so, and the message stays."""
    with Dovecot(Layout(special_use=False), ca=lab_ca) as server:
        user = server.new_user()
        rules = "  - {name: a, when: always, then: [archive]}\n"
        with Program(tmp_path, config(server, user, rules)) as program:
            run_on(program, server, user, message(1), status=None)
            (entry,) = program.log()
            assert entry["state"] == "failed" and "special_use" in str(entry["detail"])
            assert count(server, user, "INBOX") == 1


def test_the_separator_is_the_servers_business(lab_ca: Any, tmp_path: Path) -> None:
    """`/` in the file works on a server that separates with `.` below `INBOX.`."""
    with Dovecot(Layout(separator=".", prefix="INBOX."), ca=lab_ca) as server:
        user = server.new_user()
        rules = "  - {name: a, when: always, then: [{move: Work/2026}]}\n"
        with Program(tmp_path, config(server, user, rules)) as program:
            run_on(program, server, user, message(1))
            assert count(server, user, "INBOX.Work.2026") == 1


def test_trusted_search_is_a_prefilter(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """With trust_search the server's SEARCH leaves messages out, and the outcome is the same."""
    rules = "  - {name: a, when: {subject: needle, body: hay}, then: [{move: Found}]}\n"
    text = "accounts:\n" + account(dovecot, user, trust_search="true") + "rules:\n" + rules
    with Program(tmp_path, text) as program:
        mails = [message(n, subject=f"needle {n}" if n % 3 == 0 else f"{n}", body="hay") for n in range(9)]
        run_on(program, dovecot, user, *mails)
        assert count(dovecot, user, "Found") == 3
        assert "SEARCH is trusted" in program.run("run", "--once").stderr or len(program.log()) == 3
