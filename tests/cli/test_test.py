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
from mailrules.testing import run
from tests.json_contract import objects

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
    assert "There are no tests in" in out
    assert "expect: {rules: [invoices]" in out
    assert main(["test", "--config", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["summary"]["tests"] == 0


def test_a_sample_that_is_missing(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A test whose file can't be read fails, and says so."""
    file.write_text(FILE + "  - {name: gone, file: none.eml, expect: {rules: []}}\n")
    assert main(["test", "--config", str(file), "gone"]) == 1
    assert "'none.eml' can't be read" in capsys.readouterr().out
