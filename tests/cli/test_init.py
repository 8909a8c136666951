"""`mailrules init`: from an address to a file that works; nothing is overwritten, and no password shown."""

from __future__ import annotations

import os
import re
import stat
import sys
from pathlib import Path

import pexpect
import pytest
from keyring.backends import fail

from mailrules import config
from mailrules.adapters import secret
from mailrules.adapters.autoconfig import Endpoint
from mailrules.adapters.secret import Secret
from mailrules.cli.app import main
from mailrules.cli.conversation import keep
from mailrules.setup import discovery
from mailrules.setup.first_look import SCHEMA
from mailrules.setup.starter import Start
from tests.cli.test_login import dovecot_with_oauth
from tests.json_contract import objects
from tests.lab.dovecot import PASSWORD, Dovecot
from tests.lab.oauth import OAuthProvider

Capture = pytest.CaptureFixture[str]
ROOT = Path(__file__).parents[2]
__all__ = ["dovecot_with_oauth"]


@pytest.fixture(autouse=True)
def no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever runs the tests may have one."""
    monkeypatch.setattr(secret, "keyring_works", lambda: False)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    monkeypatch.setenv("LAB_PASSWORD", PASSWORD)


def flags(dovecot: Dovecot, user: str) -> list[str]:
    return [
        "init", "--address", f"{user}@example.test", "--username", user, "--host", dovecot.host,
        "--port", str(dovecot.imap_port), "--security", "none",
    ]  # fmt: skip


def test_in_a_pipe(alone: Path, dovecot: Dovecot, user: str, capsys: Capture) -> None:
    """With flags it asks nothing, logs in, and writes what fits: `plan` works at once."""
    dovecot.append(user, [b"List-Id: <weekly.garden.example>\r\nSubject: Beans\r\n\r\nx\r\n"] * 3)
    assert main([*flags(dovecot, user), "--password-env", "LAB_PASSWORD", "--json"]) == 0
    captured = capsys.readouterr()
    (told,) = objects("init", captured.out)
    assert told["messages"] == 3
    assert told["rules"] == ["newsletters", "notices", "invoices"]
    assert {"name": "Archive", "special_use": "\\Archive"} in told["mailboxes"]
    assert told["next"] == "mailrules plan"
    found = config.load(Path("rules.yaml"))
    assert found.accounts["example"].password.where == "the environment variable LAB_PASSWORD"
    assert all(rule.dry_run for rule in found.rules)
    text = Path("rules.yaml").read_text()
    assert text.startswith(f"# yaml-language-server: $schema=./{SCHEMA}\n")
    assert "Among your newest 3 messages: 3 with a List-Id." in text
    assert "Among your newest 3 messages: 0 with one of these words in the subject, attachment or" in text
    assert '"title": "mailrules"' in Path(SCHEMA).read_text()
    assert PASSWORD not in text.split()
    assert main(["plan", "--json"]) == 0
    assert '"newsletters": 3' in capsys.readouterr().out


@pytest.mark.parametrize("source", ["file", "command"])
def test_where_the_password_is(
    source: str, alone: Path, dovecot: Dovecot, user: str, capsys: Capture
) -> None:
    """A file beside ours is named relative to it; a command is split as a shell would."""
    Path("pw").write_text(PASSWORD)
    Path("pw").chmod(0o600)
    said = ["--password-file", "pw"] if source == "file" else ["--password-command", "cat 'pw'"]
    assert main([*flags(dovecot, user), *said, "--output", "o.yaml"]) == 0
    told = capsys.readouterr().out
    assert "Next: mailrules plan --config o.yaml" in told and f"Wrote {SCHEMA}:" in told
    expected = {"file": "password: {file: pw}", "command": 'password: {command: ["cat", "pw"]}'}
    assert expected[source] in Path("o.yaml").read_text()
    assert main(["check", "--online", "--config", "o.yaml"]) == 0


def test_nothing_is_overwritten(alone: Path, dovecot: Dovecot, user: str, capsys: Capture) -> None:
    """Not even with --yes; --overwrite puts the old file aside. A schema of somebody else's stays, too."""
    Path("rules.yaml").write_text("mine\n")
    Path(SCHEMA).write_text("{}")
    arguments = [*flags(dovecot, user), "--password-env", "LAB_PASSWORD", "--yes"]
    assert main(arguments) == 1
    assert "there is a rules.yaml already" in capsys.readouterr().err
    assert Path("rules.yaml").read_text() == "mine\n"
    assert main([*arguments, "--overwrite"]) == 0
    assert SCHEMA not in capsys.readouterr().out
    assert Path("rules.yaml.old").read_text() == "mine\n"
    assert Path(SCHEMA).read_text() == "{}"
    assert "yaml-language-server" not in Path("rules.yaml").read_text()


def test_a_refused_login_writes_nothing(alone: Path, dovecot: Dovecot, user: str, capsys: Capture) -> None:
    """The server's words and what to do are said; no file is left."""
    assert main([*flags(dovecot, user), "--password-env", "HOME"]) == 1
    captured = capsys.readouterr()
    assert "refuses the login" in captured.err
    assert not Path("rules.yaml").exists()


def test_a_server_that_is_away_is_tried_later(alone: Path, capsys: Capture) -> None:
    """75; --no-login writes the file all the same."""
    arguments = [
        "init", "--address", "me@example.org", "--host", "127.0.0.1", "--port", "9", "--security", "none",
        "--password-env", "LAB_PASSWORD",
    ]  # fmt: skip
    assert main(arguments) == 75
    assert not Path("rules.yaml").exists()
    assert main([*arguments, "--no-login", "--json"]) == 0
    (told,) = objects("init", capsys.readouterr().out)
    assert (told["logged_in"], told["messages"]) == (False, None)


def test_oauth(alone: Path, capsys: Capture) -> None:
    """Without tokens there is no login to try: the next step is to get some."""
    assert main(["init", "--address", "me@outlook.com", "--client-id", "12-ab"]) == 0
    captured = capsys.readouterr()
    assert "Next: mailrules login outlook" in captured.out
    assert "OAuth" in captured.err
    account = config.load(Path("rules.yaml")).accounts["outlook"]
    assert (account.auth, account.oauth.client_id) == ("oauth", "12-ab")
    assert account.password.writable


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--address"),
        (["--address", "nobody"], "not a mail address"),
        (["--address", "me@gmail.com"], "--password-file"),
        (["--address", "me@gmail.com", "--provider", "gmial"], "'gmial' is not known"),
        (["--address", "me@x.example", "--host", "imap.x.example", "--security", "none"], "in the clear"),
        (["--address", "me@x.example", "--host", "x", "--security", "ssl"], "tls, starttls or none"),
        (["--address", "me@x.example", "--host", "x", "--port", "99999"], "out of range"),
        (["--address", "me@gmail.com", "--account", "a/b"], "--account"),
        (["--address", "me@gmail.com", "--output", "no/where.yaml"], "no directory"),
        (["--address", "me@gmail.com", "--password-env", "A", "--password-file", "b"], "exactly one"),
        (["--address", "me@gmail.com", "--password-command", "'"], "--password-command"),
    ],
)
def test_what_is_missing_is_said(arguments: list[str], words: str, alone: Path, capsys: Capture) -> None:
    """With the flag that helps, at once, and without a question."""
    assert main(["init", *arguments]) == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert list(alone.iterdir()) == []


def test_what_only_dns_says_is_not_trusted_blindly(
    alone: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """A script must say the host itself; one below the own domain is fine."""
    found = discovery.Servers(Endpoint("imap.evil.example", 993, "tls"), "me", "the DNS of x.example")
    monkeypatch.setattr(discovery, "discover", lambda address: found)
    assert main(["init", "--address", "me@x.example", "--password-env", "LAB_PASSWORD"]) == 1
    assert "--host imap.evil.example" in capsys.readouterr().err
    monkeypatch.setattr(discovery, "discover", lambda address: None)
    assert main(["init", "--address", "me@x.example", "--password-env", "LAB_PASSWORD"]) == 1
    assert "nobody knows the mail servers" in capsys.readouterr().err


def test_in_a_terminal(alone: Path, dovecot: Dovecot, user: str) -> None:
    """It asks for what it can't find out; a mistyped password may be mended, and is never shown."""
    arguments = [a for a in flags(dovecot, user) if a not in ("--address", f"{user}@example.test")]
    terminal = pexpect.spawn(
        sys.executable, ["-m", "mailrules", *arguments], encoding="utf-8", timeout=20, dimensions=(24, 80)
    )
    terminal.expect("Your mail address: ")
    terminal.sendline(f"{user}@example.test")
    terminal.expect("Password for .*: ")
    terminal.sendline("wrong-one")
    terminal.expect("refuses the login")
    terminal.expect(rf"User name \[{user}\]: ")
    terminal.sendline("")
    terminal.expect("Password for .*: ")
    terminal.sendline(PASSWORD)
    terminal.expect("Next: mailrules plan")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    kept = Path("example.password")
    assert kept.read_text() == PASSWORD + "\n"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert "password: {file: example.password}" in Path("rules.yaml").read_text()
    assert main(["check", "--online"]) == 0


def test_in_a_terminal_an_older_file_is_asked_about(alone: Path, dovecot: Dovecot, user: str) -> None:
    """A no leaves everything as it was."""
    Path("rules.yaml").write_text("mine\n")
    terminal = pexpect.spawn(
        sys.executable, ["-m", "mailrules", *flags(dovecot, user)], encoding="utf-8", timeout=20
    )
    terminal.expect(re.escape("Put it aside as rules.yaml.old?"))
    terminal.sendline("n")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 1
    assert [path.name for path in alone.iterdir()] == ["rules.yaml"]


def test_oauth_in_a_terminal(alone: Path, dovecot_with_oauth: Dovecot) -> None:
    """It asks for a client id, has the person agree, and goes on as for a password."""
    with OAuthProvider(dovecot_with_oauth.new_user()) as provider:
        Path("lab.py").write_text(
            f"""
import sys
from dataclasses import replace
from mailrules.config import providers
from mailrules.setup import discovery
from mailrules.__main__ import main
from mailrules.adapters.autoconfig import Endpoint
server = providers.OAuthServer(
    "{provider.url}/authorize", "{provider.url}/token", "{provider.url}/device", "mail", "the lab")
providers.PROVIDERS["outlook"] = replace(
    providers.PROVIDERS["outlook"], host="127.0.0.1", port={dovecot_with_oauth.imap_port}, security="none",
    oauth=server)
sys.exit(main())
"""
        )
        terminal = pexpect.spawn(
            sys.executable,
            ["lab.py", "init", "--address", "me@outlook.com", "--username", provider.user],
            encoding="utf-8", timeout=20, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        terminal.expect("Client id: ")
        terminal.sendline("12-ab")
        terminal.expect("enter the code WDJB-MJHT")
        terminal.expect("The tokens are kept in outlook.token")
        terminal.expect("Logged in. 6 mailboxes")
        terminal.expect("Next: mailrules plan")
        terminal.expect(pexpect.EOF)
        terminal.close()
        assert terminal.exitstatus == 0
    assert Path("outlook.token").stat().st_mode & 0o077 == 0
    assert "oauth: {client_id: 12-ab}" in Path("rules.yaml").read_text().replace('"', "")


def test_a_keyring_that_takes_nothing_is_no_dead_end(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was typed goes into a file then."""
    monkeypatch.setattr("keyring.core._keyring_backend", fail.Keyring())
    start = Start(
        account="a", address="me@a.example", username="me", password=("keyring", "mailrules"),
        imap=Endpoint("a.example", 993, "tls"),
    )  # fmt: skip
    keyring = Secret("keyring", ("mailrules",), username="me")
    kept = keep(keyring, "typed-in-vain", start, Path("rules.yaml"))
    assert (kept.source, kept.read()) == ("file", "typed-in-vain")
