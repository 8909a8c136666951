"""`mailrules log`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer

from mailrules.adapters.store import Store
from mailrules.cli.app import main
from mailrules.cli.log import since
from tests.adapters.store.journal_words import decided, flag, record
from tests.json_contract import objects

Capture = pytest.CaptureFixture[str]


def shown(capsys: Capture, *arguments: str) -> list[int]:
    assert main(["log", "--json", *arguments]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return [entry["id"] for entry in objects("log", captured.out)]


def test_json_is_the_contract(state: Path, capsys: Capture) -> None:
    """Every object as its schema says, and nothing else on stdout."""
    assert shown(capsys, "--state", "./state") == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        (["--state", "failed"], [4]),
        (["--state", "failed", "--state", "held"], [3, 4]),
        (["--rule", "forwarding"], [5]),
        (["--account", "home"], []),
        (["--mailbox", "INBOX", "--action", "flag"], [1, 4]),
        (["--message-id", "u@example.org"], [5]),
        (["--since", "2026-03-01T09:00:00.2Z"], []),
        (["--since", "2026-03-01"], [1, 2, 3, 4, 5]),
        (["-n", "2"], [4, 5]),
    ],
)
def test_filters(state: Path, capsys: Capture, arguments: list[str], ids: list[int]) -> None:
    """Every filter of the contract."""
    assert shown(capsys, "--state", str(state), *arguments) == ids


def test_words_for_people(state: Path, capsys: Capture) -> None:
    """One line each: when, which, its state, rule, action, where, the subject, and why it is not done."""
    assert main(["log", "--state", str(state)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "2026-03-01 09:00:00      2 planned  filing: move to Work/2026 · work/INBOX · Minutes"
    assert lines[3] == (
        "2026-03-01 09:00:00      4 failed   filing: flag $Todo · work/INBOX · Failed one\\x1b[31m"
        " · the mailbox is full"
    )


def test_an_empty_log_says_so(state: Path, capsys: Capture) -> None:
    """Nothing that fits is said, beside the output."""
    assert main(["log", "--state", str(state), "--rule", "none"]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "nothing in the log that fits.\n")


def test_a_rule_that_nobody_knows(state: Path, capsys: Capture) -> None:
    """It is said, with the name that is near; a rule that only the log has, or the file, is fine."""
    rules = "rules: [{name: sorting, when: always, then: [keep]}]\n"
    Path("rules.yaml").write_text(
        "accounts: {a: {host: imap.example.org, username: b, password: {env: P}}}\n" + rules
    )
    log = ["log", "--state", str(state), "--rule"]
    assert main([*log, "filling"]) == 0
    said = capsys.readouterr()
    assert said.err == (
        "there is no rule 'filling', neither in the file nor in the log. Did you mean 'filing'?\n"
    )
    assert main([*log, "forwarding", "--rule", "nosuch", "--json"]) == 0
    said = capsys.readouterr()
    assert said.err == "there is no rule 'nosuch', neither in the file nor in the log.\n"
    assert said.out.count("\n") == 1
    assert main([*log, "sorting"]) == 0
    assert capsys.readouterr().err == "nothing in the log that fits.\n"
    assert main([*log, "forwarding"]) == 0
    assert capsys.readouterr().err == ""
    Path("rules.yaml").write_text("rules: [\n")
    assert main([*log, "nosuch"]) == 0
    assert capsys.readouterr().err == "nothing in the log that fits.\n"


def test_no_state_says_where_it_looked(alone: Path, capsys: Capture) -> None:
    """And what makes one."""
    assert main(["log"]) == 1
    said = capsys.readouterr().err
    assert f"no state in {alone.parent}/home/mailrules ($XDG_STATE_HOME), and no worker listens at" in said
    assert "`mailrules run` starts one" in said


def test_the_file_says_where_the_state_is(state: Path, capsys: Capture) -> None:
    """`settings.state`, relative to the file; a wrong rule in it keeps nobody from reading the log."""
    Path("rules.yaml").write_text("settings: {state: state}\nrules: [{frm: wrong}]\n")
    assert shown(capsys) == [1, 2, 3, 4, 5]
    assert shown(capsys, "--config", "rules.yaml") == [1, 2, 3, 4, 5]


def test_a_file_that_is_not_there(alone: Path, capsys: Capture) -> None:
    """A configuration that was named must be there."""
    assert main(["log", "--config", "none.yaml"]) == 78
    assert "none.yaml: there is no such file" in capsys.readouterr().err


def test_a_state_that_is_none(state: Path, capsys: Capture) -> None:
    """A word that is neither a state nor a directory is wrong usage, and the states are listed."""
    assert main(["log", "--state", "finished"]) == 2
    assert "planned, held, running" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("text", "back"), [("2h", timedelta(hours=2)), ("30m", timedelta(minutes=30)), ("7d", timedelta(days=7))]
)
def test_since_is_a_span(text: str, back: timedelta) -> None:
    """Counted from now."""
    assert abs(datetime.now(UTC) - since(text) - back) < timedelta(seconds=5)


def test_since_is_a_time(alone: Path) -> None:
    """A day or a moment; without a zone it is here."""
    assert since("2026-03-01T10:00:00+01:00") == datetime(2026, 3, 1, 9, tzinfo=UTC)
    assert since("2026-03-01") == datetime(2026, 3, 1).astimezone()
    for wrong in ("yesterday", "99999999999d", "10000000000000w", ""):
        with pytest.raises(typer.BadParameter):
            since(wrong)


def test_follow(state: Path) -> None:
    """The last ten, then each change as it comes, until Ctrl-C."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mailrules", "log", "--json", "--follow", "--state", str(state)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        assert [json.loads(process.stdout.readline())["id"] for _ in range(5)] == [1, 2, 3, 4, 5]
        with Store.open(state) as store:
            (row,) = record(store, decided(20, flag()))
            assert json.loads(process.stdout.readline())["id"] == row.id
            store.advance([row.id], frm="planned", to="done", at=row.created_at)
            assert json.loads(process.stdout.readline())["state"] == "done"
        process.send_signal(2)
        _, said = process.communicate(timeout=10)
        assert (process.returncode, said) == (130, "")
    finally:
        process.kill()
        process.wait()


def test_verbose_says_more(state: Path, capsys: Capture) -> None:
    """UID, Message-ID and all details."""
    assert main(["log", "--state", str(state), "--message-id", "u@example.org", "-v"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"run \d+ uid 14 <u@example.org>", out)
    assert "{" not in out, "words, not a dict of Python's"
