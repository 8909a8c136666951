"""mailrules check: what is wrong, where, and with which exit status."""

from __future__ import annotations

import base64
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from mailrules.cli.app import main
from mailrules.cli.check import check
from tests.lab.dovecot import PASSWORD, Dovecot

EXAMPLE = Path(__file__).parents[2] / "rules.example.yaml"
GOOD = """accounts:
  work: {host: imap.example.org, username: me@example.org, password: {env: WORK_PASSWORD}}
rules:
  - {name: a, when: always, then: [keep]}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(GOOD)
    return path


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_right(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is right is said to be so, in one line."""
    assert check(file, environ={}) == 0
    assert capsys.readouterr().out == f"{file} is right: 1 account, 1 rule, 0 warnings.\n"


def test_no_secret_is_read(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --online no password is read; -v says where each would come from."""
    assert check(file, verbose=True, environ={}) == 0
    assert (
        "work: me@example.org at imap.example.org:993 (tls), "
        "password from the environment variable WORK_PASSWORD" in capsys.readouterr().out
    )


def test_wrong(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every error stands with its place, and the status says that the file is wrong."""
    file.write_text(GOOD.replace("host", "hots").replace("keep", "kepe"))
    assert check(file) == 78
    assert capsys.readouterr().out.splitlines() == [
        f"{file}:2:10: unknown key 'hots' in an account. Did you mean 'host'?",
        f"{file}:4:36: unknown action 'kepe'. Did you mean 'keep'?",
        f"{file}: 2 errors, 0 warnings.",
    ]


def test_warnings_are_no_failure(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A warning is told, and the status stays 0."""
    file.write_text(GOOD.replace("name: a,", "name: a, mailboxes: [Elsewhere],"))
    assert check(file) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{file}:4:27: warning: no account of this rule watches 'Elsewhere'")
    assert last.endswith("1 warning.")


def test_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json every finding is an object on its own line, the last one sums up."""
    file.write_text(GOOD.replace("host", "hots"))
    assert main(["check", "--json", "--config", str(file)]) == 78
    assert objects(capsys.readouterr().out) == [
        {
            "severity": "error", "file": str(file), "line": 2, "column": 10,
            "message": "unknown key 'hots' in an account. Did you mean 'host'?",
        },
        {"summary": {"file": str(file), "errors": 1, "warnings": 0, "accounts": None, "rules": None}},
    ]  # fmt: skip


def test_escape_sequences_are_shown_not_obeyed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What stands in the file can't move the terminal."""
    file.write_text(GOOD + '"\\x1b[2Jlists": {}\n')
    assert check(file) == 78
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\\x1b[2Jlists" in out


def test_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not there is one clear line and status 78."""
    assert main(["check", "--config", str(tmp_path / "nope.yaml")]) == 78
    assert "nope.yaml:1:1: cannot be read: No such file or directory." in capsys.readouterr().out


def test_example(capsys: pytest.CaptureFixture[str]) -> None:
    """rules.example.yaml passes without a warning and without any secret."""
    assert check(EXAMPLE, environ={}) == 0
    assert "0 warnings" in capsys.readouterr().out


# -- online ----------------------------------------------------------------------------------------------


def online(tmp_path: Path, port: int, user: str, *, rules: str = "", extra: str = "") -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(
        "accounts:\n  lab:\n    host: 127.0.0.1\n    security: none\n"
        f"    port: {port}\n    username: {user}\n    password: {{env: LAB}}\n{extra}"
        f"rules:\n{rules or GOOD.partition('rules:')[2].strip(chr(10))}\n"
    )
    return path


ENVIRON = {"LAB": PASSWORD}


def test_online_names(
    dovecot: Dovecot, user: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Names that are nearly those of mailboxes that are there are pointed out."""
    rules = "  - {name: a, when: always, then: [{copy: Archiv}], mailboxes: [Archvie], schedule: {every: 1d}}"
    path = online(tmp_path, dovecot.imap_port, user, rules=rules)
    assert check(path, online=True, environ=ENVIRON) == 0
    out = capsys.readouterr().out
    assert "rule a looks at 'Archvie', which is not there. Did you mean 'Archive'?" in out
    assert "the mailbox 'Archiv' will be created when it is needed. Did you mean 'Archive'?" in out


def test_online_fine(dovecot: Dovecot, user: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An account that can do all that the rules ask for passes."""
    rules = "  - {name: a, when: always, then: [{flag: $X}, {copy: New}, archive]}"
    path = online(tmp_path, dovecot.imap_port, user, rules=rules)
    assert check(path, online=True, environ=ENVIRON) == 0
    out = capsys.readouterr().out
    assert f"lab: info: logged in to 127.0.0.1 as {user}" in out
    assert "the mailbox 'New' will be created" in out


def test_online_missing_mailboxes(
    dovecot: Dovecot, user: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Watched mailboxes and targets that are not there are told, with the near name."""
    rules = "  - {name: a, when: always, then: [{move: Nowhere}]}"
    path = online(
        tmp_path, dovecot.imap_port, user, rules=rules, extra='    mailboxes: [INBOX, Archiv, "Team/*"]\n'
    )
    path.write_text(path.read_text() + "settings: {create_mailboxes: false}\n")
    assert check(path, as_json=True, online=True, environ=ENVIRON) == 1
    found = {(o["severity"], o["message"]) for o in objects(capsys.readouterr().out) if "account" in o}
    assert ("error", "there is no mailbox 'Archiv'. Did you mean 'Archive'?") in found
    assert ("warning", "no mailbox matches 'Team/*'. Check 'mailboxes'.") in found
    assert (
        "error",
        "there is no mailbox 'Nowhere', and create_mailboxes is false. Create it. Concerned: a.",
    ) in found


def test_online_gmail_elsewhere(
    dovecot: Dovecot, user: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A gmail condition on another server can never be judged: that is told."""
    rules = "  - {name: a, when: {gmail: x}, then: [keep]}"
    path = online(tmp_path, dovecot.imap_port, user, rules=rules)
    assert check(path, online=True, environ=ENVIRON) == 1
    assert "this is not a Gmail server" in capsys.readouterr().out


def test_online_search(
    dovecot: Dovecot, user: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """SEARCH is probed with words of the messages that are there."""
    dovecot.append(user, b"Subject: Quarterly figures\r\n\r\nx\r\n")
    words = base64.b64encode("Begrüßung inside".encode()).decode()
    dovecot.append(user, f"Subject: =?utf-8?b?{words}?=\r\n\r\nx\r\n".encode())
    path = online(tmp_path, dovecot.imap_port, user, extra="    trust_search: true\n")
    assert check(path, online=True, environ=ENVIRON) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if "SEARCH finds" in line]
    assert line.startswith("lab/INBOX: info: SEARCH finds ")
    for how in ("pieces of words", "any case", "encoded words", "words that are not ASCII"):
        assert how in line


def test_online_wrong_password(
    dovecot: Dovecot, user: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A refused login is one line and status 1, without the password."""
    path = online(tmp_path, dovecot.imap_port, user)
    assert check(path, online=True, environ={"LAB": "c4nary-wrong"}) == 1
    out = capsys.readouterr().out
    assert "lab: error: " in out
    assert "c4nary" not in out


def test_online_unreachable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A server that can't be reached now is status 75: it may be there later."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        path = online(tmp_path, taken.getsockname()[1], "me")
        assert check(path, online=True, environ=ENVIRON) == 75
    assert "lab: error: " in capsys.readouterr().out


def test_online_without_password(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A password that is not there is told with its place, before anything is connected."""
    assert check(online(tmp_path, 1, "me"), online=True, environ={}) == 1
    assert "the environment variable LAB is not set" in capsys.readouterr().out
