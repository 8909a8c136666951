"""What people and programs get to see."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mailrules.cli import output

Capture = pytest.CaptureFixture[str]
HOSTILE = "a\x1b[31m\x9b2J\u202eb\u2028c\x7f\n\t\udc80"


@pytest.fixture(autouse=True)
def plain(alone: Path) -> None:
    """Each test has its own console."""


def test_json_lines_are_one_line_of_ascii(capsys: Capture) -> None:
    """Whatever is in it: one line, no control character, and it comes back as it went in."""
    output.emit({"subject": HOSTILE})
    text = capsys.readouterr().out
    assert text.count("\n") == 1
    assert re.fullmatch(r"[ -~]+\n", text)
    assert json.loads(text) == {"subject": HOSTILE}


def test_words_are_safe(capsys: Capture) -> None:
    """Nothing a mail says can command the terminal, wherever it is shown."""
    output.say(HOSTILE)
    output.line([(HOSTILE, "red"), (HOSTILE, None)])
    output.table(("a",), [(HOSTILE,), ((HOSTILE, "red"),)])
    output.note(HOSTILE)
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 5
    assert len(captured.err.splitlines()) == 1
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u2028]", captured.out + captured.err)


def test_words_are_not_markup(capsys: Capture) -> None:
    """Brackets and colons of a subject stay what they are."""
    output.say("[bold]x[/bold] :smile: [/]")
    output.table(("a",), [("[red]x",)])
    assert capsys.readouterr().out == "[bold]x[/bold] :smile: [/]\na\n[red]x\n"


def test_a_piped_table_is_plain_and_whole(capsys: Capture) -> None:
    """Columns of blanks, nothing cut, numbers to the right."""
    output.table(("rule", "hits"), [("x" * 200, 5), ("y", None)], right=("hits",))
    head, first, second = capsys.readouterr().out.splitlines()
    assert head == "rule" + " " * 198 + "hits"
    assert first == "x" * 200 + "     5"
    assert second.split() == ["y", "–"]


def terminal(code: str, *, columns: int = 80, **environment: str) -> str:
    """What a program prints when it talks to a terminal."""
    ours, theirs = pty.openpty()
    values = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=theirs, stderr=theirs, stdin=theirs,
        env={**values, "TERM": "xterm-256color", "COLUMNS": str(columns), **environment},
    )  # fmt: skip
    os.close(theirs)
    text = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # Linux's way to say that the other end is closed
            break
        if not piece:
            break
        text += piece
    os.close(ours)
    assert process.wait() == 0
    return text.decode()


DRAWS = """
from mailrules.cli import output
output.table(("rule", "what"), [("r" * 30, "w" * 120)])
output.line([("x" * 200, "red")])
"""


def test_a_terminal_is_not_overrun() -> None:
    """Tables and lines fit 80 columns, and say where they were cut."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", terminal(DRAWS)).replace("\r", "").splitlines()
    assert max(len(line) for line in lines) <= 80
    assert sum("…" in line for line in lines) == 2


def test_colours_obey_no_color() -> None:
    """Colours on a terminal, none with NO_COLOR."""
    assert "\x1b[31m" in terminal(DRAWS)
    assert "\x1b[31m" not in terminal(DRAWS, NO_COLOR="1")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59, "59 s"),
        (119, "119 s"),
        (120, "2 min"),
        (3600, "1 h"),
        (7200, "2 h"),
        (200_000, "2 d"),
    ],
)
def test_spans(seconds: float, words: str) -> None:
    """Spans in the unit a person would use."""
    assert output.duration(seconds) == words


@pytest.mark.parametrize(
    ("action", "arguments", "words"),
    [
        ("move", {"mailbox": "A/B"}, "move to A/B"),
        ("archive", {"mailbox": None, "special_use": "\\Archive"}, "archive"),
        ("flag", {"flags": ["\\Seen", "$A"]}, "flag \\Seen $A"),
        ("forward", {"to": ["a@x", "b@x"], "mode": "attach"}, "forward to a@x, b@x"),
        ("script", {"run": ["/bin/true", "-x"]}, "script /bin/true -x"),
        ("log", {"text": "hello"}, "log: hello"),
        ("keep", {}, "keep"),
    ],
)
def test_actions_in_words(action: str, arguments: dict[str, object], words: str) -> None:
    """An action and what it does it with."""
    assert output.what(action, arguments) == words


def test_a_pipe_needs_no_rich() -> None:
    """Into a pipe, words go as they are and nothing is imported to draw them."""
    program = (
        "import sys\n"
        "from mailrules.cli import output, progress\n"
        "output.say('Wrote\\t[b]x', style='red')\n"
        "output.line([('one', 'bold'), (' two\\x1b', None)])\n"
        "output.note('aside')\n"
        "at = {'account': 'a', 'mailbox': 'm', 'phase': 'acting', 'done': 1, 'total': 2, 'states': {}}\n"
        "told = progress.follow([{'progress': at}, {'result': {}}], print)\n"
        "assert told == {'looked': True, 'acting': (1, 2)}\n"
        "assert 'rich' not in sys.modules\n"
    )
    environ = {name: value for name, value in os.environ.items() if name != "FORCE_COLOR"}
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environ, check=False
    )
    assert (ended.stdout, ended.stderr) == ("Wrote\\t[b]x\none two\\x1b\n", "aside\n")


def test_colours_may_be_forced(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """FORCE_COLOR has pipes treated as terminals."""
    output.console.cache_clear()
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    output.say("red", style="red")
    output.console.cache_clear()
    assert "\x1b[31mred" in capsys.readouterr().out
