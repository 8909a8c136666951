"""mailrules test: runs the tests of a file, says what failed and why."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mailrules import config
from mailrules.cli.app import main
from mailrules.core.actions import TABLE as ACTIONS
from mailrules.core.conditions import TABLE as CONDITIONS
from mailrules.explaining.testing import run
from tests.json_contract import objects
from tests.lab.dovecot import PASSWORD, Dovecot

RULES = Path(__file__).parents[1] / "rules"
FILE = """\
accounts:
  work: {host: imap.example.org, username: me@example.org, password: {env: NOBODY_ASKS}}
rules:
  - {name: filed, when: {subject: invoice, has_attachment: true}, then: [move: Filed]}
  - {name: rest, when: {subject: other}, then: [keep]}
tests:
  - {name: invoices go, message: {subject: Invoice, attachments: [a.pdf]}, expect: {actions: [move: Filed]}}
  - {name: others stay, message: {subject: Invoice}, expect: {rules: [filed]}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize("name", ["conditions", "actions"])
def test_the_rules_of_the_language(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The language does what SPEC sections 3 to 5 say: every condition and action, in tests of its own."""
    assert main(["test", "--config", str(RULES / f"{name}.yaml")]) == 0, capsys.readouterr().out


def test_there_are_forty() -> None:
    """They are more than forty, and every condition and action of the language is in them."""
    words = set(re.findall(r"[a-z_]+", "".join(path.read_text() for path in RULES.glob("*.yaml"))))
    assert not {*CONDITIONS, *ACTIONS} - words
    found = [config.load(RULES / f"{name}.yaml") for name in ("conditions", "actions")]
    assert sum(len(one.tests) for one in found) >= 40
    for one in found:
        assert all(result.passed for result in run(one, one.tests))


def test_a_failure_is_explained(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A test that fails shows its place, what was expected, and the conditions with what they compared."""
    assert main(["test", "--config", str(file)]) == 1
    out = capsys.readouterr().out
    assert f"{file}:8:5" in out
    assert "expected rules: filed" in out
    assert "but these did:  none" in out
    assert "has_attachment: true   []" in out
    assert "rest" not in out.partition("2 tests")[0]
    assert "2 tests: 1 passed, 1 failed.\nNo test matches 1 rule: rest.\n" in out


def test_by_name(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names and wildcards choose; a name that is not there is a usage error."""
    assert main(["test", "--config", str(file), "invoices*"]) == 0
    assert "1 test: 1 passed, 0 failed." in capsys.readouterr().out
    assert main(["test", "--config", str(file), "nothing"]) == 2
    assert "there is no test 'nothing'" in capsys.readouterr().err


def test_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json there is one object for each test, then a summary, as docs/json says."""
    assert main(["test", "--config", str(file), "--json"]) == 1
    passed, failed, summary = objects("test", capsys.readouterr().out)
    assert (passed["passed"], passed["explanation"]) == (True, None)
    assert failed["expected"] == {"rules": ["filed"], "actions": None}
    assert [rule["name"] for rule in failed["explanation"]] == ["filed", "rest"]
    assert summary == {"summary": {"tests": 2, "passed": 1, "failed": 1, "untouched": ["rest"]}}


def test_none(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file without tests is told how one looks."""
    file.write_text(FILE.partition("tests:")[0])
    assert main(["test", "--config", str(file)]) == 0
    out = capsys.readouterr().out
    assert f"There are no tests in {file}: nothing was tested." in out
    assert "expect: {rules: [invoices]" in out
    assert "\\n" not in out
    assert main(["test", "--config", str(file), "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["summary"]["tests"] == 0
    assert captured.err == f"There are no tests in {file}: nothing was tested.\n"


def test_a_sample_that_is_missing(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A test whose file can't be read fails, and says so."""
    file.write_text(FILE + "  - {name: gone, file: none.eml, expect: {rules: []}}\n")
    assert main(["test", "--config", str(file), "gone"]) == 1
    assert "'none.eml' can't be read" in capsys.readouterr().out


MAIL = b"From: Bob <bob@acme.example>\r\nSubject: Your invoice\r\n\r\nhello\r\n"


def test_capture_of_a_file(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A test is printed that can be pasted, and beside it what of the message was kept, and why."""
    mail = tmp_path / "mail.eml"
    mail.write_bytes(MAIL)
    assert main(["test", "--config", str(file), "--capture", str(mail)]) == 0
    out, err = capsys.readouterr()
    assert "kept as it is: 'invoice', for rule 'filed': subject" in err
    assert "acme" not in out
    file.write_text(FILE.partition("tests:")[0] + out)
    assert main(["test", "--config", str(file)]) == 0
    assert "captured mail.eml" in capsys.readouterr().out
    assert main(["test", "--config", str(file), "--capture", str(mail), "--json"]) == 0
    [found] = objects("test", capsys.readouterr().out)
    assert found["test"]["name"] == "captured mail.eml (2)"
    assert [one["text"] for one in found["kept"]] == ["invoice"]


def test_capture_into_a_file(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --output the message is a file that the test names; what is there is not overwritten."""
    mail, target = tmp_path / "mail.eml", tmp_path / "samples.eml"
    mail.write_bytes(MAIL)
    arguments = ["test", "--config", str(file), "--capture", str(mail), "--output", str(target)]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "file: samples.eml" in out
    assert b"acme" not in target.read_bytes()
    file.write_text(FILE.partition("tests:")[0] + out)
    assert main(["test", "--config", str(file)]) == 0
    assert main(arguments) == 2


def test_capture_of_nothing(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not there is said to be so; its options are refused without it."""
    assert main(["test", "--config", str(file), "--capture", "none.eml"]) == 1
    assert "none.eml: No such file or directory." in capsys.readouterr().err
    assert main(["test", "--config", str(file), "--output", "x.eml"]) == 2
    assert main(["test", "--config", str(file), "--capture", "none.eml", "--account", "wrok"]) == 2


def test_capture_of_a_message_on_the_server(
    dovecot: Dovecot,
    user: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By its UID, with the flags it has there and what SEARCH says of it; nothing on the server changes."""
    monkeypatch.setenv("LAB", PASSWORD)
    path = tmp_path / "rules.yaml"
    path.write_text(
        f"accounts: {{lab: {{host: 127.0.0.1, port: {dovecot.imap_port}, security: none, username: {user}, "
        "password: {env: LAB}}}\nrules:\n"
        "  - {name: filed, when: {subject: invoice, search: KEYWORD $Todo}, then: [flag: $A]}\n"
    )
    dovecot.append(user, [MAIL], flags="$Todo")
    state = str(tmp_path / "state")
    arguments = ["test", "--config", str(path), "--state", state, "--capture", "1"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "$Todo" in out
    assert "KEYWORD $Todo" in out
    path.write_text(path.read_text() + out)
    assert main(["test", "--config", str(path)]) == 0
    session = dovecot.session(user, "INBOX")
    assert b"\\Seen" not in session.fetch("1", "(FLAGS)")[1][0]  # type: ignore[operator]
    session.logout()
    assert main([*arguments[:-1], "7"]) == 1
