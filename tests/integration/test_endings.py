"""How the program ends when something is wrong: one clear line and the right exit status."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.lab.ca import LabCA
from tests.lab.dovecot import PASSWORD, Dovecot, Layout, message
from tests.lab.program import Program, account
from tests.lab.proxy import FaultProxy

RULES = "rules:\n  - {name: all, when: always, then: [{move: Archive}]}\n"


def one_line(text: str) -> str:
    lines = text.strip().splitlines()
    assert lines and not any(line.startswith("Traceback") for line in lines), text
    return lines[-1]


def test_a_wrong_password(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """A refused login ends `run --once` with 77 and names the account."""
    config = "accounts:\n" + account(dovecot, user) + RULES
    with Program(tmp_path, config, environment={"LAB_PASSWORD": "wrong"}) as program:
        done = program.run("run", "--once", status=77)
        assert user in one_line(done.stderr) and "wrong" not in done.stderr.replace("went wrong", "")


def test_a_wrong_password_is_not_hammered(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """The worker tries a refused login once more after a minute; `resume` after the password is mended."""
    password = tmp_path / "password"
    password.write_text("wrong\n")
    password.chmod(0o600)
    text = account(dovecot, user, mailboxes=["INBOX", "Sent", "Drafts"]).replace(
        "{env: LAB_PASSWORD}", f"{{file: {password}}}"
    )
    with Program(tmp_path, "accounts:\n" + text + RULES) as program:
        program.start()
        program.wait_for("login refused")
        with pytest.raises(AssertionError):
            program.wait_for(lambda: program.said().count("login refused") > 1, timeout=4)
        assert dovecot.log().count(f"user=<{user}>") <= 1
        password.write_text(PASSWORD + "\n")
        program.run("resume", user, status=None)
        program.wait_for("connected")
        assert program.stop() == 0


@pytest.mark.parametrize("fault", ["expired", "wrong host", "unknown CA"])
def test_a_certificate_that_is_not_right(fault: str, lab_ca: LabCA, tmp_path: Path) -> None:
    """No certificate, no login: the password is never sent."""
    certificate = {
        "expired": lambda: lab_ca.issue("expired", days=-3),
        "wrong host": lambda: lab_ca.issue("wronghost", names=("mail.example.test",)),
        "unknown CA": lambda: LabCA(tmp_path / "other").issue(),
    }[fault]()
    with Dovecot(ca=lab_ca, certificate=certificate) as server:
        user = server.new_user()
        config = (
            f"accounts:\n  work:\n    host: localhost\n    port: {server.imaps_port}\n    username: {user}\n"
            "    password: {env: LAB_PASSWORD}\n" + RULES
        )
        trust = {"SSL_CERT_FILE": str(lab_ca.ca_file)}
        with Program(tmp_path, config, environment=trust) as program:
            done = program.run("run", "--once", status=1)
            assert "certificate" in one_line(done.stderr).lower()
        assert f"user=<{user}>" not in server.log()


def test_a_missing_mailbox(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """A watched mailbox that does not exist fails by name; the others are still done."""
    config = "accounts:\n" + account(dovecot, user, mailboxes=["INBOX", "Nowhere"]) + RULES
    with Program(tmp_path, config) as program:
        done = program.run("run", "--once", status=1)
        assert "'Nowhere'" in done.stderr and "Traceback" not in done.stderr
        assert f"{user}/INBOX" in done.stderr


def test_a_mailbox_over_quota(lab_ca: LabCA, tmp_path: Path) -> None:
    """A move into a full mailbox is tried again later, the message stays, the log says why."""
    extra = (
        "namespace capped {\n prefix = Capped/\n separator = /\n location = maildir:~/Capped\n}\n"
        "plugin {\n quota3 = count:Capped quota:ns=Capped/\n quota3_rule = *:messages=2\n}\n"
    )
    rules = "rules:\n  - {name: all, when: always, then: [{move: Capped/Box}]}\n"
    with Dovecot(Layout(extra=extra), ca=lab_ca) as server:
        user = server.new_user()
        with Program(tmp_path, "accounts:\n" + account(server, user) + rules) as program:
            program.run("run", "--once")
            server.append(user, [message(n) for n in range(4)])
            program.run("run", "--once", status=None)
            entries = program.log()
            states = sorted(e["state"] for e in entries)
            assert "later" in states or "failed" in states
            stuck = next(e for e in entries if e["state"] in ("later", "failed"))
            assert "quota" in str(stuck["detail"]).lower()
            with server.session(user, "INBOX") as client:
                left = len(client.uid("SEARCH", "ALL")[1][0].split())
            with server.session(user, "Capped/Box") as client:
                moved = len(client.uid("SEARCH", "ALL")[1][0].split())
            assert left + moved == 4 and moved <= 2


def test_a_server_that_hangs(tmp_path: Path) -> None:
    """A server that accepts and says nothing ends `run --once` with 75, within the time limit."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        port = listener.getsockname()[1]
        config = (
            f"accounts:\n  dead:\n    host: 127.0.0.1\n    port: {port}\n    security: none\n"
            "    username: me@example.test\n    password: {env: LAB_PASSWORD}\n" + RULES
        )
        with Program(tmp_path, config) as program:
            done = program.run("run", "--once", status=75, timeout=100)
            assert "dead" in one_line(done.stderr)


def test_nobody_listens(tmp_path: Path) -> None:
    """A refused connection is a passing failure: 75."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = (
        f"accounts:\n  dead:\n    host: 127.0.0.1\n    port: {port}\n    security: none\n"
        "    username: me@example.test\n    password: {env: LAB_PASSWORD}\n" + RULES
    )
    with Program(tmp_path, config) as program:
        assert "dead" in one_line(program.run("run", "--once", status=75).stderr)


def test_a_state_directory_that_cannot_be_written(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """An unwritable state directory is 77 and says which."""
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + RULES) as program:
        program.state = blocked / "state"  # below a file nobody can make a directory, not even root
        done = program.run("run", "--once", status=77)
        assert str(blocked) in one_line(done.stderr)


def test_a_second_worker_says_who_holds_the_state(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """Two workers on one state: the second refuses with 77 and names the first."""
    with Program(tmp_path, "accounts:\n" + account(dovecot, user) + RULES) as program:
        program.start()
        program.wait_for("connected")
        done = program.run("run", status=77)
        assert program.worker is not None and str(program.worker.pid) in one_line(done.stderr)
        assert program.stop() == 0


def test_a_wrong_file(tmp_path: Path) -> None:
    """A file that is wrong ends every command that needs it with 78, every error with its place."""
    with Program(
        tmp_path, "accounts: {}\nrules:\n  - name: a\n    when: {frm: x}\n    then: [keep]\n"
    ) as program:
        done = program.run("run", "--once", status=78)
        assert "rules.yaml:4:" in done.stderr and "Did you mean 'from'?" in done.stderr


def test_a_reload_with_a_wrong_file_keeps_the_old_rules(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """`reload` takes all of the new file or nothing."""
    good = "accounts:\n" + account(dovecot, user) + RULES
    with Program(tmp_path, good) as program:
        program.start()
        program.wait_for("connected")
        program.config.write_text(good.replace("when: always", "when: {frm: x}"))
        done = program.run("reload", status=78)
        assert "rules.yaml:" in done.stderr
        dovecot.deliver(user, message(1))
        program.wait_for("all move to=Archive done")
        program.config.write_text(good.replace("move: Archive", "move: Other"))
        program.run("reload")
        dovecot.deliver(user, message(2))
        program.wait_for("all move to=Other done")
        assert program.stop() == 0


def test_one_dead_account_holds_up_no_other(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """While one server hangs, mail on another is acted on at once."""
    other = dovecot.new_user()
    with FaultProxy((dovecot.host, dovecot.imap_port)) as proxy:
        config = "accounts:\n" + account(dovecot, other, port=proxy.port) + account(dovecot, user) + RULES
        proxy.stall()
        with Program(tmp_path, config) as program:
            program.start()
            program.wait_for(f"{user}/INBOX connected")
            program.wait_for(lambda: "watched from now on" in program.said())
            dovecot.deliver(user, message(1))
            program.wait_for(f"{user}/INBOX uid=1 rule=all move to=Archive done", timeout=5)
            proxy.unstall()
            assert program.stop() == 0
