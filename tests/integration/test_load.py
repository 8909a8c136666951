"""Real mail under load: three accounts, two watched mailboxes each, over TLS, while things break."""

from __future__ import annotations

import os
import random
import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.dovecot import PASSWORD, Dovecot
from tests.lab.program import Program

COUNT = int(os.environ.get("MAILRULES_LOAD", "240"))
RATE = 20.0
RULES = """
rules:
  - name: lists
    when: {is_bulk: true}
    then:
      - flag: $List
      - move: Lists
  - name: money
    when: {any: [{subject: {regex: '(?i)free|money|invoice'}}, {body: "unsubscribe"}]}
    then: [{move: Money}]
  - name: large
    when: {larger_than: 10KB}
    then: [{flag: $Large}]
  - name: attached
    when: {has_attachment: true}
    then: [{copy: Attached}]
"""
KEY = b"X-Lab-Number"


def corpus() -> list[bytes]:
    folder = os.environ.get("MAILRULES_CORPUS")
    if not folder:
        pytest.skip("MAILRULES_CORPUS names no folder of real mails")
    paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    chosen = random.Random(20261123).sample(paths, min(COUNT, len(paths)))
    return [path.read_bytes() for path in chosen]


def numbered(raw: bytes, number: int) -> bytes:
    """A mail as an IMAP server takes it, with a header of ours to know it by."""
    # Line ends as they travel: where they are mixed, servers and we may see different messages.
    body = re.sub(rb"\r\n?|\n", b"\r\n", raw.replace(b"\0", b""))
    return KEY + b": %d\r\n" % number + body.lstrip(b"\r\n")


def numbers(server: Dovecot, user: str, mailbox: str) -> Counter[int]:
    with server.session(user) as client:
        if client.select(f'"{mailbox}"', readonly=True)[0] != "OK":
            return Counter()
        _, answer = client.uid("FETCH", "1:*", f"(BODY.PEEK[HEADER.FIELDS ({KEY.decode()})])")
        found: Counter[int] = Counter()
        for part in answer:
            if isinstance(part, tuple) and (match := re.search(rb":\s*(\d+)", part[1])):
                found[int(match[1])] += 1
        return found


@pytest.fixture
def users(dovecot: Dovecot) -> Iterator[list[str]]:
    names = [dovecot.new_user() for _ in range(3)]
    for name in names:
        with dovecot.session(name) as client:
            for mailbox in ("Second", "Lists", "Money", "Attached"):
                client.create(mailbox)
    yield names


@pytest.mark.corpus
@pytest.mark.timeout(900)
def test_every_message_is_judged_once_whatever_breaks(
    dovecot: Dovecot, users: list[str], tmp_path: Path
) -> None:
    """Cuts, a restarted server and a killed worker in the middle: every real mail judged once, unread."""
    mails = corpus()
    accounts = "accounts:\n" + "".join(
        f"  {user}:\n    host: localhost\n    port: {dovecot.imaps_port}\n    username: {user}\n"
        f"    password: {{env: LAB_PASSWORD}}\n    mailboxes: [INBOX, Second]\n"
        for user in users
    )
    trust = {"SSL_CERT_FILE": str(dovecot.ca.ca_file), "LAB_PASSWORD": PASSWORD}
    with Program(tmp_path, accounts + RULES, environment=trust) as program:
        program.run("run", "--once")
        program.start()
        place = {n: (users[n % 3], ("INBOX", "Second")[(n // 3) % 2]) for n in range(len(mails))}
        sessions = {user: dovecot.session(user) for user in users}

        def deliver() -> None:
            began = time.monotonic()
            for number, raw in enumerate(mails):
                user, mailbox = place[number]
                for attempt in range(50):
                    try:
                        status, _ = sessions[user].append(f'"{mailbox}"', "", "", numbered(raw, number))
                        assert status == "OK"
                        break
                    except (OSError, AssertionError, sessions[user].error):
                        time.sleep(0.2)  # the server is being restarted; was it taken before that?
                        sessions[user] = dovecot.session(user)
                        if number in numbers(dovecot, user, mailbox):
                            break
                        assert attempt < 49
                time.sleep(max(0.0, began + (number + 1) / RATE - time.monotonic()))

        sender = threading.Thread(target=deliver)
        sender.start()
        third = len(mails) / RATE / 4
        time.sleep(third)
        dovecot.kill()
        dovecot.start()
        time.sleep(third)
        program.kill()
        program.start()
        time.sleep(third)
        assert program.stop() == 0
        program.start()
        sender.join()
        for session in sessions.values():
            session.logout()

        explained = expectation(program, mails, tmp_path)
        wanted = {n: explained[n]["move"] or place[n][1] for n in place}

        def settled() -> bool:
            for user in users:
                for mailbox in ("INBOX", "Second"):
                    here = numbers(dovecot, user, mailbox)
                    if any(wanted[n] != mailbox for n in here):
                        return False
            return True

        program.wait_for(settled, timeout=120)
        assert program.stop() == 0
        entries = program.log()

    assert {e["state"] for e in entries} == {"done"}, [e for e in entries if e["state"] != "done"][:3]
    everywhere: dict[str, Counter[int]] = defaultdict(Counter)
    for user in users:
        for mailbox in ("INBOX", "Second", "Lists", "Money", "Attached"):
            everywhere[mailbox] += numbers(dovecot, user, mailbox)
        with dovecot.session(user) as client:
            for mailbox in ("INBOX", "Second", "Lists", "Money", "Attached"):
                client.select(f'"{mailbox}"', readonly=True)
                assert client.uid("SEARCH", "SEEN")[1] == [b""], "reading must not set \\Seen"
    for number in place:
        where = [mailbox for mailbox, found in everywhere.items() for _ in range(found[number])]
        expected = [wanted[number], *filter(None, [explained[number]["copy"]])]
        assert sorted(where) == sorted(expected), f"mail {number} is in {where}, not {expected}"


def expectation(program: Program, mails: list[bytes], folder: Path) -> list[dict[str, str | None]]:
    """What `explain` says of each mail: the mailboxes it is moved and copied to."""
    paths = []
    for number, raw in enumerate(mails):
        path = folder / f"{number}.eml"
        path.write_bytes(numbered(raw, number))
        paths.append(str(path))
    explained = []
    for start in range(0, len(paths), 200):
        explained += program.json("explain", *paths[start : start + 200], timeout=300)
    return [
        {
            verb: next((a["arguments"]["mailbox"] for a in one["actions"] if a["action"] == verb), None)
            for verb in ("move", "copy")
        }
        for one in explained
    ]
