"""Assigning through the worker: fair over mailboxes, restarts and crashes, shown without being used up."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.lab.dovecot import Dovecot, message
from tests.lab.program import Program, account

RULES = "rules:\n  - name: triage\n    when: always\n    then: [{assign: {to: [alice, bob, carol], %s}}]\n"


def config(server: Dovecot, user: str, more: str, mailboxes: tuple[str, ...] = ("INBOX",)) -> str:
    return "accounts:\n" + account(server, user, mailboxes=mailboxes) + RULES % more


def carrying(server: Dovecot, user: str, mailbox: str, keyword: str) -> int:
    with server.session(user, mailbox) as client:
        return len(client.uid("SEARCH", "KEYWORD", keyword)[1][0].split())


def count(server: Dovecot, user: str, mailbox: str) -> int:
    with server.session(user) as client:
        if client.select(f'"{mailbox}"', readonly=True)[0] != "OK":
            return 0
        return len(client.uid("SEARCH", "ALL")[1][0].split())


def test_round_robin(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """In turn over two mailboxes and restarts; plan shows whose turn it is and leaves it there."""
    with dovecot.session(user) as client:
        client.create("Team")
    rules = config(dovecot, user, "by: round_robin, with: keyword", ("INBOX", "Team"))
    with Program(tmp_path, rules) as program:
        program.run("run", "--once")
        dovecot.append(user, [message(n) for n in range(4)])
        dovecot.append(user, [message(n) for n in range(4, 7)], "Team")
        program.run("run", "--once")
        dovecot.append(user, [message(7), message(8)])
        for _ in range(2):
            planned = [e for e in program.json("plan") if e.get("uid", 0) > 4 and e["mailbox"] == "INBOX"]
            arguments = [e["actions"][0]["arguments"] for e in planned]
            assert [a["to"] for a in arguments] == ["bob", "carol"]
            assert arguments[0]["flags"] == ["$Assigned_bob"]
        shown = program.run("explain", "--uid", "5", "--account", user).stdout
        assert "assign to bob" in shown
        program.run("run", "--once")
        told = program.log("--action", "assign")
        assert Counter(e["arguments"]["to"] for e in told) == {"alice": 3, "bob": 3, "carol": 3}
        assert {e["state"] for e in told} == {"done"}
        both = [carrying(dovecot, user, m, "$Assigned_alice") for m in ("INBOX", "Team")]
        assert sum(both) == 3
        program.run("apply", "--yes", status=None)
        assert sum(carrying(dovecot, user, m, "$Assigned_alice") for m in ("INBOX", "Team")) == 3
        run = program.log("--action", "assign")[0]
        program.run("undo", str(run["id"]), "--yes")
        left = sum(
            carrying(dovecot, user, m, f"$Assigned_{who}")
            for m in ("INBOX", "Team") for who in ("alice", "bob", "carol")
        )  # fmt: skip
        assert left == 8


def test_least_loaded_by_mailbox(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """Whoever has the fewest in their mailbox, also when people work their mail off by hand."""
    with Program(tmp_path, config(dovecot, user, "by: least_loaded, with: mailbox")) as program:
        program.run("run", "--once")
        dovecot.append(user, [message(n) for n in range(6)])
        program.run("run", "--once")
        assert [count(dovecot, user, f"Assigned/{who}") for who in ("alice", "bob", "carol")] == [2, 2, 2]
        with dovecot.session(user, "Assigned/bob") as client:
            client.uid("STORE", "1:*", "+FLAGS", "(\\Deleted)")
            client.expunge()
        dovecot.append(user, [message(n) for n in range(6, 8)])
        program.run("run", "--once")
        assert count(dovecot, user, "Assigned/bob") == 2 and count(dovecot, user, "INBOX") == 0


def test_undo_by_mailbox(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """Taken back, the messages are where they were, and left alone there until `apply`."""
    with Program(tmp_path, config(dovecot, user, "by: round_robin, with: mailbox")) as program:
        program.run("run", "--once")
        dovecot.append(user, [message(n) for n in range(3)])
        program.run("run", "--once")
        first = {e["message_id"]: e["arguments"]["to"] for e in program.log("--action", "assign")}
        program.run("undo", "--run", str(program.log()[0]["run"]), "--yes")
        program.run("run", "--once")
        assert count(dovecot, user, "INBOX") == 3
        assert [count(dovecot, user, f"Assigned/{who}") for who in ("alice", "bob", "carol")] == [0] * 3
        program.run("apply", "--yes", "--over-brakes")
        assert [count(dovecot, user, f"Assigned/{who}") for who in ("alice", "bob", "carol")] == [1] * 3
        assert set(first.values()) == {"alice", "bob", "carol"}


def test_least_loaded_by_keyword(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """A keyword that somebody took off, or a message that is gone, is no load any more."""
    with Program(tmp_path, config(dovecot, user, "by: least_loaded, with: keyword")) as program:
        program.run("run", "--once")
        dovecot.append(user, [message(n) for n in range(6)])
        program.run("run", "--once")
        with dovecot.session(user, "INBOX") as client:
            client.uid("STORE", "1:*", "-FLAGS", "($Assigned_carol)")
        dovecot.append(user, [message(n) for n in range(6, 8)])
        program.run("run", "--once")
        last = [e["arguments"]["to"] for e in program.log("--action", "assign") if e["uid"] > 6]
        assert last == ["carol", "carol"]


def test_a_script_may_assign(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """An answer assigns to somebody whom `allow` names, and to nobody else."""
    script = tmp_path / "ask.sh"
    script.write_text(
        '#!/bin/sh\ngrep -q \'Subject: bob\' && who=bob || who=mallory\necho "{\\"assign\\": \\"$who\\"}"\n'
    )
    script.chmod(0o755)
    rules = (
        "rules:\n  - name: ask\n    when: always\n    then:\n      - script:\n          run: [./ask.sh]\n"
        "          allow: {assign: [alice, bob]}\n"
    )
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + rules) as program:
        program.run("run", "--once")
        dovecot.append(user, [message(1, subject="bob"), message(2, subject="eve")])
        program.run("run", "--once", status=1)
        assert carrying(dovecot, user, "INBOX", "$Assigned_bob") == 1
        (failed,) = program.log("--state", "failed")
        assert "'mallory' is not in its `allow`" in failed["detail"]["error"]


def test_killed(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """A worker that is killed while it assigns leaves everybody with their share."""
    with Program(tmp_path, config(dovecot, user, "by: round_robin, with: mailbox")) as program:
        program.run("run", "--once")
        dovecot.append(user, [message(n) for n in range(30)])
        for _ in range(3):
            program.start()
            program.wait_for(lambda: program.state.exists() and "connected" in program.said())
            program.kill()
        program.run("run", "--once")
        assert [count(dovecot, user, f"Assigned/{who}") for who in ("alice", "bob", "carol")] == [10] * 3
