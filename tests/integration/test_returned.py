"""Once: what we put somewhere, what comes back, what a person drops in, and what is sent a single time."""

from __future__ import annotations

from pathlib import Path

from tests.integration.test_trust import count, create
from tests.lab.dovecot import Dovecot, message
from tests.lab.program import Program, account
from tests.lab.smtp import SmtpSink


def by_hand(server: Dovecot, user: str, what: str, source: str, target: str) -> None:
    """Another client moves or copies everything there."""
    with server.session(user) as client:
        client.select(f'"{source}"')
        assert client.uid(what, "1:*", f'"{target}"')[0] == "OK"


def rules_of(program: Program) -> list[str]:
    return [f"{entry['rule']} {entry['action']} {entry['state']}" for entry in program.log()]


def test_what_a_person_brings_back_stays(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """No rule touches what one of ours took away and a person brought back, but those that say so; neither
    does it stop them. Other mail that is dropped in beside it is new.
    """
    create(dovecot, user, "Elsewhere")
    rules = (
        "rules:\n  - {name: mark, when: always, then: [{flag: $M}], stop: true}\n"
        "  - {name: again, when: always, then: [{flag: $Again}], on_return: apply}\n"
    )
    moving = rules.replace("stop: true", "stop: false").replace("$M}]", "$M}, {move: There}]")
    text = "accounts:\n" + account(dovecot, user)
    with Program(tmp_path, text + moving) as program:
        program.run("run", "--once")
        dovecot.append(user, message(1))
        dovecot.append(user, message(2, subject="dropped"), "Elsewhere")
        program.run("run", "--once")
        assert rules_of(program) == ["mark flag done", "mark move done"]
        program.config.write_text(text + rules)
        for n in range(2):
            by_hand(dovecot, user, "MOVE", "There", "INBOX")
            program.run("run", "--once")
            assert rules_of(program)[2:] == ["again flag done"] * (n + 1), "once each time it comes back"
            assert count(dovecot, user, "INBOX") == 1
            by_hand(dovecot, user, "MOVE", "INBOX", "There")
        by_hand(dovecot, user, "MOVE", "Elsewhere", "INBOX")
        program.run("run", "--once")
        assert rules_of(program)[4:] == ["mark flag done"], "what we never touched is new"


def test_a_rule_may_insist(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """With `on_return: apply` a rule moves it again each time; without, it moves it once."""
    rules = "rules:\n  - {name: a, when: always, then: [{move: There}]%s}\n"
    text = "accounts:\n" + account(dovecot, user)
    with Program(tmp_path, text + rules % "") as program:
        program.run("run", "--once")
        dovecot.append(user, message(1))
        program.run("run", "--once")
        by_hand(dovecot, user, "MOVE", "There", "INBOX")
        program.run("run", "--once")
        assert (count(dovecot, user, "INBOX"), len(program.log())) == (1, 1)
        by_hand(dovecot, user, "MOVE", "INBOX", "There")
        program.config.write_text(text + rules % ", on_return: apply")
        for n in range(2, 4):
            by_hand(dovecot, user, "MOVE", "There", "INBOX")
            program.run("run", "--once")
            assert (count(dovecot, user, "INBOX"), len(program.log())) == (0, n)


def test_what_undo_puts_back_stays(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """After an undo the message is where it was, and no rule takes it away again; `apply` does."""
    rules = "rules:\n  - {name: a, when: always, then: [{move: There}]}\n"
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + rules) as program:
        program.run("run", "--once")
        dovecot.append(user, message(1))
        program.run("run", "--once")
        program.run("undo", "--yes", str(program.log()[0]["id"]))
        for _ in range(2):
            program.run("run", "--once")
        assert (count(dovecot, user, "INBOX"), count(dovecot, user, "There")) == (1, 0)
        program.run("apply", "--yes")
        assert (count(dovecot, user, "INBOX"), count(dovecot, user, "There")) == (0, 1)


def test_what_we_put_there_is_not_judged_there(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """Neither our move nor our copy is new mail where it arrives; what a person puts there is."""
    create(dovecot, user, "Copies", "Moves", "Hand")
    rules = (
        "rules:\n  - {name: in, mailboxes: [INBOX], when: always, then: [{copy: Copies}, {move: Moves}]}\n"
        "  - {name: out, mailboxes: [Copies, Moves], when: always, then: [{flag: $Out}]}\n"
    )
    boxes = ["INBOX", "Copies", "Moves"]
    with Program(tmp_path, "accounts:\n" + account(dovecot, user, mailboxes=boxes) + rules) as program:
        program.start()
        program.wait_for(f"{user}/Moves: watched from now on")
        dovecot.append(user, message(1))
        program.wait_for(lambda: rules_of(program) == ["in copy done", "in move done"])
        dovecot.append(user, message(2), "Copies")
        dovecot.append(user, message(3), "Hand")
        by_hand(dovecot, user, "MOVE", "Hand", "Moves")
        program.wait_for(lambda: rules_of(program)[2:] == ["out flag done"] * 2)
        assert program.stop() == 0
        program.run("run", "--once")
        assert len(program.log()) == 4
        assert {entry["mailbox"] for entry in program.log("--rule", "out")} == {"Copies", "Moves"}


def test_once_ever_also_in_two_mailboxes(
    dovecot: Dovecot, user: str, smtp_sink: SmtpSink, tmp_path: Path
) -> None:
    """The same message in two watched mailboxes, found by two threads, is sent on and handed over once; so is
    one that comes back; `apply` keeps to that, `apply --again` asks for one more.
    """
    create(dovecot, user, "Second", "Store")
    trace = tmp_path / "trace"
    trace.write_text(f"#!/bin/sh\necho x >> {tmp_path}/traces\n")
    trace.chmod(0o755)
    rules = (
        "rules:\n  - name: on\n    when: always\n    on_return: apply\n"
        "    then:\n      - forward: desk@example.test\n      - script: [./trace]\n"
    )
    smtp = f"{{host: 127.0.0.1, port: {smtp_sink.port}, security: none}}"
    text = account(dovecot, user, mailboxes=["INBOX", "Second"], smtp=smtp)

    def done() -> tuple[int, int]:
        traces = tmp_path / "traces"
        return len(smtp_sink.messages), len(traces.read_text().split()) if traces.exists() else 0

    with Program(tmp_path, "accounts:\n" + text + rules) as program:
        program.start()
        program.wait_for(f"{user}/Second: watched from now on")
        dovecot.append(user, [message(n) for n in range(8)], "Store")
        by_hand(dovecot, user, "COPY", "Store", "Second")
        by_hand(dovecot, user, "COPY", "Store", "INBOX")
        program.wait_for(lambda: done() == (8, 8))
        program.wait_for(lambda: rules_of(program).count("on forward done") == 8)
        assert program.stop() == 0
        by_hand(dovecot, user, "MOVE", "INBOX", "Store")
        by_hand(dovecot, user, "MOVE", "Store", "INBOX")
        program.run("run", "--once")
        program.run("apply", "--yes")
        assert done() == (8, 8)
        program.run("apply", "--yes", "--again", "--mailbox", "Second")
        assert done() == (16, 16)


def test_a_dry_run_is_made_up_for(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """Under `--dry-run` each rule sees what the ones before it would have done, and nothing happens; what was
    judged so is not new any more, and `apply --since` does it.
    """
    rules = (
        "rules:\n  - {name: a, when: always, then: [{flag: $A}]}\n"
        "  - {name: b, when: {keyword: $A}, then: [{move: There}]}\n"
        "  - {name: c, when: always, then: [{flag: $C}]}\n"
    )
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + rules) as program:
        program.run("run", "--once")
        dovecot.append(user, message(1))
        program.run("run", "--once", "--dry-run")
        assert rules_of(program) == ["a flag would", "b move would"]
        program.run("run", "--once")
        assert count(dovecot, user, "INBOX") == 1
        program.run("apply", "--yes", "--since", "1h")
        assert rules_of(program)[2:] == ["a flag done", "b move done"]
        assert count(dovecot, user, "There") == 1
