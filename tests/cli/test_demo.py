"""`mailrules demo`: what it files, what it says, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jsonschema
import pytest

from mailrules.demo.sample import SAMPLES

ROOT = Path(__file__).parents[2]
DEMO = [sys.executable, "-m", "mailrules", "demo"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Temporary files go to a place of their own, so that what is left can be seen."""
    return {**os.environ, "TMPDIR": str(tmp_path), "HOME": str(tmp_path), "NO_COLOR": "1"}


def run(environment: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*DEMO, *options], capture_output=True, text=True, timeout=100, env=environment)


def without_times(text: str) -> list[str]:
    return [re.sub(r"\d+\.\d\d s$", "", line) for line in text.splitlines() if line.strip() != "…"]


def test_everything_is_filed(environment: dict[str, str], tmp_path: Path) -> None:
    """Each sample mail ends where the rules say, the status is 0, and no file stays behind."""
    done = run(environment, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    *mails, last = [json.loads(line) for line in done.stdout.splitlines()]
    schema = json.loads((ROOT / "docs" / "json" / "demo.schema.json").read_text())
    for value in (*mails, last):
        jsonschema.validate(value, schema)
    assert [mail["file"] for mail in mails] == [sample.file for sample in SAMPLES]
    assert all(mail["as_expected"] for mail in mails)
    assert last["summary"]["as_expected"] == last["summary"]["messages"] == len(SAMPLES)
    assert list(tmp_path.iterdir()) == []


def test_it_tells_the_story(environment: dict[str, str]) -> None:
    """For people: each mail with its rule, the mailboxes, the log, why, the next step; README shows it so."""
    done = run(environment, "--fast")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    story = [
        "Nothing leaves this machine", "ACME Billing  Invoice", "invoices: forward, move", "no rule matches",
        "The mailboxes now", "mailrules log", "forward to bookkeeping@example.net", "mailrules explain",
        f"{len(SAMPLES)} of {len(SAMPLES)} mails are where the rules say", "mailrules check --online",
    ]  # fmt: skip
    places = [done.stdout.find(words) for words in story]
    assert -1 not in places
    assert places == sorted(places)
    shown = set(without_times(done.stdout))
    readme = (ROOT / "README.md").read_text()
    for block in re.findall(r"(?ms)^```text\n(.*?)^```", readme):
        assert not [line for line in without_times(block) if line not in shown]


def test_acts_within_a_second(environment: dict[str, str]) -> None:
    """Each mail is dealt with within a second of its arrival."""
    mails = [json.loads(line) for line in run(environment, "--json").stdout.splitlines()][:-1]
    assert sorted(mail["seconds"] for mail in mails)[len(mails) // 2] < 1


def test_a_mail_that_is_filed_wrongly_is_noticed(environment: dict[str, str], tmp_path: Path) -> None:
    """It looks for itself: with a rule taken away, the status is 1 and the mail is named."""
    program = tmp_path / "broken.py"
    program.write_text(
        "import pathlib, sys\n"
        "from mailrules.demo import sample, stage\n"
        "rules = pathlib.Path('rules.yaml')\n"
        "rules.write_text(sample.RULES.read_text().replace('is_bulk: true', 'subject: never'))\n"
        "stage.RULES = rules\n"
        "from mailrules.cli.app import main\n"
        "sys.exit(main(['demo', '--json']))\n"
    )
    done = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, timeout=100, env=environment, cwd=tmp_path
    )
    assert done.returncode == 1, done.stderr
    mails = [json.loads(line) for line in done.stdout.splitlines()][:-1]
    assert [mail["file"] for mail in mails if not mail["as_expected"]] == ["3-newsletter.eml"]


def test_interrupted_it_ends_at_once(environment: dict[str, str], tmp_path: Path) -> None:
    """Ctrl-C in the middle: no traceback, nothing left behind, a shell's status for SIGINT."""
    environment["PYTHONUNBUFFERED"] = "1"
    demo = subprocess.Popen(DEMO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert demo.stdout is not None
    while "Maria" not in demo.stdout.readline():
        pass
    asked = time.monotonic()
    demo.send_signal(signal.SIGINT)
    _, said = demo.communicate(timeout=30)
    assert time.monotonic() - asked < 10
    assert (demo.returncode, said) == (130, "")
    assert list(tmp_path.iterdir()) == []


def test_without_its_servers_it_says_what_to_install(environment: dict[str, str]) -> None:
    """Without the `demo` extra it names what is missing and the command that installs it."""
    hide = (
        "import sys; sys.modules['pymap.imap'] = sys.modules['pymap.backend.dict'] = None;"
        "from mailrules.cli.app import main; sys.exit(main(['demo']))"
    )
    done = subprocess.run([sys.executable, "-c", hide], capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert "pip install 'mailrules[demo]'" in done.stderr
    assert tempfile.gettempdir() not in done.stderr
