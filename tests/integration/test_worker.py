"""The worker, end to end: `mailrules run` against a real Dovecot."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.lab.dovecot import Dovecot, message
from tests.lab.program import Program, account
from tests.lab.proxy import FaultProxy

RULES = """
rules:
  - name: invoices
    when: {subject: invoice}
    then:
      - flag: $Invoice
      - move: Accounting/{{ received.year }}
  - name: lists
    when: {is_bulk: true}
    then: [{move: Lists}]
  - name: large
    when: {larger_than: 20KB}
    then: [{flag: $Large}]
"""


def subjects(server: Dovecot, user: str, mailbox: str) -> Counter[str]:
    """The messages of a mailbox, counted by Message-ID."""
    with server.session(user) as client:
        if client.select(f'"{mailbox}"', readonly=True)[0] != "OK":
            return Counter()
        _, answer = client.uid("FETCH", "1:*", "(BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
        return Counter(part[1].decode(errors="replace").strip() for part in answer if isinstance(part, tuple))


def flags(server: Dovecot, user: str, mailbox: str) -> list[str]:
    with server.session(user, mailbox) as client:
        return [line.decode() for line in client.uid("FETCH", "1:*", "(FLAGS)")[1] if line]


def count(server: Dovecot, user: str, mailbox: str) -> int:
    with server.session(user) as client:
        answer = client.status(f'"{mailbox}"', "(MESSAGES)")
        return int(answer[1][0].split()[-1].rstrip(b")")) if answer[0] == "OK" else 0


@pytest.fixture
def config(dovecot: Dovecot, user: str) -> str:
    return "accounts:\n" + account(dovecot, user) + RULES


def test_new_mail_is_filed_within_a_second(dovecot: Dovecot, user: str, config: str, tmp_path: Path) -> None:
    """Mail that comes while the worker watches is flagged and moved, unread, and the log says so."""
    dovecot.append(user, message(1, subject="old invoice"))
    with Program(tmp_path, config) as program:
        program.start()
        program.wait_for(program.watching)
        began = time.monotonic()
        dovecot.deliver(user, message(2, subject="Your Invoice 42"))
        program.wait_for(lambda: count(dovecot, user, f"Accounting/{time.gmtime().tm_year}") == 1)
        # Dovecot itself waits 500 ms before it tells an idling client; the rest is ours.
        assert time.monotonic() - began < 2.0
        assert program.stop() == 0
        entries = program.log()
    assert [(e["rule"], e["action"], e["state"]) for e in entries] == [
        ("invoices", "flag", "done"),
        ("invoices", "move", "done"),
    ]
    assert count(dovecot, user, "INBOX") == 1, "what was there before is left alone"
    (moved,) = flags(dovecot, user, f"Accounting/{time.gmtime().tm_year}")
    assert "$Invoice" in moved and "\\Seen" not in moved


def test_what_mailrules_moves_is_not_judged_again(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """A message moved into another watched mailbox is left alone there."""
    with dovecot.session(user) as client:
        client.create("Second")
    rules = """
rules:
  - name: on
    mailboxes: [INBOX]
    when: always
    then: [{move: Second}]
  - name: back
    mailboxes: [Second]
    when: always
    then: [{move: INBOX}]
"""
    with Program(
        tmp_path, "accounts:\n" + account(dovecot, user, mailboxes=["INBOX", "Second"]) + rules
    ) as program:
        program.run("run", "--once")
        dovecot.append(user, message(1))
        for _ in range(3):
            program.run("run", "--once")
        assert (count(dovecot, user, "INBOX"), count(dovecot, user, "Second")) == (0, 1)
        # A person's own mail dropped there is judged.
        dovecot.append(user, message(2), "Second")
        program.run("run", "--once")
        assert (count(dovecot, user, "INBOX"), count(dovecot, user, "Second")) == (1, 1)


def test_what_a_person_moves_back_is_left_alone(
    dovecot: Dovecot, user: str, config: str, tmp_path: Path
) -> None:
    """A message that mailrules moved away and a person brought back stays where the person put it."""
    with Program(tmp_path, config) as program:
        program.run("run", "--once")
        dovecot.append(user, message(1, subject="invoice"))
        program.run("run", "--once")
        target = f"Accounting/{time.gmtime().tm_year}"
        assert count(dovecot, user, target) == 1
        with dovecot.session(user, target) as client:
            assert client.uid("MOVE", "1:*", "INBOX")[0] == "OK"
        program.run("run", "--once")
        assert (count(dovecot, user, "INBOX"), count(dovecot, user, target)) == (1, 0)
        assert len(program.log("--action", "move")) == 1


def test_once_says_that_it_sets_a_baseline(dovecot: Dovecot, user: str, config: str, tmp_path: Path) -> None:
    """`run --once` on a new state leaves old mail alone and says that `apply` does the rest."""
    dovecot.append(user, [message(n, subject="invoice") for n in range(3)])
    with Program(tmp_path, config) as program:
        said = program.run("run", "--once").stderr
        assert "3" in said and "apply" in said
        assert count(dovecot, user, "INBOX") == 3
        plan = program.json("plan")
        assert plan[-1]["summary"] == {
            "messages": 3, "matched": 3, "rules": {"invoices": 3}, "effects": {"flag": 3, "move": 3},
        }  # fmt: skip
        applied = program.json("apply", "--yes")
        assert applied[-1]["summary"] == plan[-1]["summary"]
        assert count(dovecot, user, "INBOX") == 0
        assert {e["state"] for e in program.log()} == {"done"}


@pytest.mark.timeout(300)
def test_nothing_is_lost_or_doubled_while_everything_breaks(dovecot: Dovecot, tmp_path: Path) -> None:
    """Connections are cut and the worker is killed and restarted under load: every message once."""
    users = [dovecot.new_user() for _ in range(2)]
    with FaultProxy((dovecot.host, dovecot.imap_port)) as proxy:
        accounts = "".join(account(dovecot, user, port=proxy.port) for user in users)
        with Program(tmp_path, "accounts:\n" + accounts + RULES) as program:
            program.run("run", "--once")
            program.start()
            program.wait_for("connected")
            total = 120
            chance = random.Random(7)

            def deliver() -> None:
                for number in range(total):
                    subject = chance.choice(["invoice", "hello", "news"])
                    more = {"list_id": "<news.example.test>"} if subject == "news" else {}
                    dovecot.deliver(users[number % 2], message(number, subject=f"{subject} {number}", **more))
                    time.sleep(0.04)

            sender = threading.Thread(target=deliver)
            sender.start()
            time.sleep(1)
            proxy.cut()
            time.sleep(1)
            program.kill()
            program.start()
            time.sleep(1.5)
            proxy.cut(rst=True)
            sender.join()
            year = f"Accounting/{time.gmtime().tm_year}"

            def settled() -> bool:
                inbox = Counter[str]()
                for user in users:
                    inbox += subjects(dovecot, user, "INBOX")
                return sum(inbox.values()) == expected_left

            expected_left = _expected(total)["hello"]
            program.wait_for(settled, timeout=60)
            assert program.stop() == 0
            entries = program.log()
    moves = [e for e in entries if e["action"] == "move"]
    assert {e["state"] for e in entries} <= {"done"}
    assert len(moves) == len({(e["account"], e["message_id"]) for e in moves}), "a message was moved twice"
    everywhere = Counter[str]()
    for user in users:
        for mailbox in ("INBOX", year, "Lists"):
            everywhere += subjects(dovecot, user, mailbox)
    assert sum(everywhere.values()) == total and max(everywhere.values()) == 1
    assert Counter(e["rule"] for e in moves) == {
        "invoices": _expected(total)["invoice"], "lists": _expected(total)["news"],
    }  # fmt: skip


def _expected(total: int) -> Counter[str]:
    chance = random.Random(7)
    return Counter(chance.choice(["invoice", "hello", "news"]) for _ in range(total))


def test_what_to_look_at_is_logged_once(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """A server that nobody reaches: the first line has the next step, each further try is a short one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    rules = "accounts:\n" + account(dovecot, user, port=port) + "rules: []\n"
    with Program(tmp_path, rules) as program:
        program.start()
        program.wait_for(lambda: program.said().count("; trying again in") > 2)
        first, *others = [line for line in program.said().splitlines() if "trying again in" in line]
    words = f"127.0.0.1:{port}: can't connect: Connection refused"
    step = "Check `host`, `port` and `security`: 993 is tls, 143 is starttls"
    assert f"{words}. {step}; trying again" in first
    assert all(f"{words}; trying again" in line for line in others)
