"""mailrules explain: what the rules make of a file, for people and programs."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from mailrules.cli.app import main

RULES = """
accounts:
  work:
    host: imap.example.org
    username: me@example.org
    password: {env: NOT_SET_ANYWHERE}
    trusted_authserv: [mx.example.org]
  home: {host: imap.example.net, username: me@example.net, password: {env: NOT_SET_ANYWHERE}}
rules:
  - name: invoices
    when: {subject: invoice, has_attachment: true}
    unless: {from: "@spam.example"}
    then: [{flag: $Invoice}, {move: "Accounting/{{ received.year }}"}]
  - {name: seen, when: {seen: true}, then: [{flag: flagged}]}
  - {name: server, when: {search: UNSEEN}, then: [{flag: $New}]}
  - {name: home, accounts: [home], when: always, then: [keep]}
  - {name: team, mailboxes: [Team], when: always, then: [keep]}
  - {name: day, when: {received: {on: 2026-03-01}}, then: [{flag: $Day}]}
"""
MAIL = b"""\
From: Al\x1b[31mice <alice@example.com>
Subject: Invoice 42
Message-ID: <a@b>
Date: Mon, 2 Mar 2026 10:00:00 +0000
Content-Type: application/pdf; name=a.pdf

x
"""
PLAIN = b"From: bob@example.com\nSubject: hello\n\nhi\n"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "invoice.eml").write_bytes(MAIL)
    (tmp_path / "plain.eml").write_bytes(PLAIN)
    return tmp_path


def explained(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert main(["explain", "--json", *arguments]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_json_is_that_of_the_contract(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One object a message with the keys of SPEC section 8, in file order of rules and conditions."""
    (one,) = explained(capsys, "invoice.eml")
    assert list(one) == ["file", "account", "mailbox", "message_id", "rules", "actions"]
    assert (one["file"], one["account"], one["mailbox"], one["message_id"]) == (
        "invoice.eml", "work", "INBOX", "<a@b>",
    )  # fmt: skip
    assert one["rules"][0] == {
        "name": "invoices",
        "matched": True,
        "reason": None,
        "conditions": [
            {
                "condition": "subject",
                "argument": "invoice",
                "matched": True,
                "value": "Invoice 42",
                "children": [],
            },
            {
                "condition": "has_attachment",
                "argument": True,
                "matched": True,
                "value": ["a.pdf"],
                "children": [],
            },
            {
                "condition": "not",
                "argument": {"from": "@spam.example"},
                "matched": True,
                "value": None,
                "children": [
                    {
                        "condition": "from",
                        "argument": "@spam.example",
                        "matched": False,
                        "value": "Al\x1b[31mice <alice@example.com>",
                        "children": [],
                    }
                ],
            },
        ],
    }
    assert [(rule["name"], rule["matched"], rule["reason"]) for rule in one["rules"][1:]] == [
        ("seen", None, "left"),
        ("server", None, "left"),
        ("day", None, "left"),
    ]
    assert one["actions"] == [
        {"rule": "invoices", "action": "flag", "arguments": {"flags": ["$Invoice"]}},
        {"rule": "invoices", "action": "move", "arguments": {"mailbox": "Accounting/2026"}},
    ]


def test_facts_are_set_by_options(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Account, mailbox, flags and arrival are those that were said."""
    (one,) = explained(
        capsys, "plain.eml", "--account", "home", "--mailbox", "Team", "--flag", "seen",
        "--received", "2026-03-01T10:00:00+01:00",
    )  # fmt: skip
    matched = {rule["name"]: rule["matched"] for rule in one["rules"]}
    assert matched == {
        "invoices": False, "seen": True, "server": None, "home": True, "team": True, "day": True,
    }  # fmt: skip
    assert (one["account"], one["mailbox"]) == ("home", "Team")


def test_what_only_a_server_knows_is_unknown(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A `search` condition is neither true nor false for a file."""
    (one,) = explained(capsys, "plain.eml")
    server = next(rule for rule in one["rules"] if rule["name"] == "server")
    assert (server["matched"], server["reason"]) == (None, "unknown")


def test_a_scheduled_rule_says_whether_it_matches(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It stands in its place with its conditions; it does nothing, since new mail does not meet it."""
    (files / "rules.yaml").write_text(
        """
rules:
  - {name: old, schedule: {every: 1h}, when: {subject: hello}, then: [trash], stop: true}
  - {name: other, schedule: {cron: "0 3 * * mon"}, when: {subject: else}, then: [trash]}
  - {name: server, schedule: {every: 1d}, when: {search: UNSEEN}, then: [trash]}
  - {name: both, schedule: {every: 1d}, on_new: true, when: {subject: hello}, then: [{mark: read}]}
  - {name: last, when: always, then: [archive]}
  - {name: late, schedule: {every: 1d}, when: always, then: [trash]}
"""
    )
    (one,) = explained(capsys, "plain.eml")
    assert [(rule["name"], rule["matched"], rule["reason"]) for rule in one["rules"]] == [
        ("old", True, None), ("other", False, None), ("server", None, "unknown"), ("both", True, None),
        ("last", True, None), ("late", None, "left"),
    ]  # fmt: skip
    assert one["rules"][0]["conditions"][0]["value"] == "hello"
    assert [(action["rule"], action["action"]) for action in one["actions"]] == [
        ("both", "flag"), ("last", "archive"),
    ]  # fmt: skip
    assert main(["explain", "plain.eml"]) == 0
    out = capsys.readouterr().out
    assert "old  matches; it acts on its schedule (every 1h)" in out
    assert "both  matches\n" in out


def test_several_files_and_standard_input(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file is an object; - is standard input."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(PLAIN)))
    assert [one["file"] for one in explained(capsys, "invoice.eml", "plain.eml", "-")] == [
        "invoice.eml",
        "plain.eml",
        "-",
    ]


def test_a_file_that_is_not_there(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is named, the others are explained, and the status says that something failed."""
    assert main(["explain", "nowhere.eml", "plain.eml"]) == 1
    out, err = capsys.readouterr()
    assert "nowhere.eml: No such file or directory" in err and "plain.eml" in out


def test_for_people(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A tree of rules and conditions with the values that were compared, then what would be done."""
    assert main(["explain", "invoice.eml"]) == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "invoice.eml  as in work/INBOX"
    assert "  ✓ invoices  matches" in lines
    assert "    ├ ✓ subject: invoice   Invoice 42" in lines
    assert '      └ ✗ from: @spam.example   "Al\\u001b[31mice <alice@example.com>"' in lines
    assert "  → flag $Invoice  (invoices)" in lines
    assert "  → move to Accounting/2026  (invoices)" in lines


def test_nothing_of_a_mail_reaches_the_terminal(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Escape sequences, bidirectional controls and line ends of a message are shown, not obeyed."""
    (files / "evil.eml").write_bytes(
        "Subject: a\u202eb\x1b]0;x\x07 =?utf-8?q?=0Ac?=\nFrom: \x9b31m <a@b>\nMessage-ID: \x1b\n\n".encode()
    )
    assert main(["explain", "evil.eml"]) == 0
    assert main(["explain", "evil.eml", "--json"]) == 0
    out = capsys.readouterr().out
    assert not set(out) & set("\x1b\x07\x9b\u202e\r")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name a message"),
        (["plain.eml", "--account", "nobody"], "there is no account 'nobody'"),
        (["plain.eml", "--received", "yesterday"], "is not a time"),
    ],
)
def test_usage(files: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong options are refused with status 2 and a next step."""
    assert main(["explain", *arguments]) == 2
    assert words in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_no_account_is_needed(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rules alone are enough to explain files."""
    (files / "rules.yaml").write_text("rules:\n  - {name: a, when: {subject: hello}, then: [keep]}\n")
    (one,) = explained(capsys, "plain.eml")
    assert (one["account"], one["rules"][0]["matched"]) == (None, True)
