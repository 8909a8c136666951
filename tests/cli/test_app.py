"""The frame: versions, help, shared options, how every run ends."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Annotated

import pytest
import typer

from mailrules import __version__
from mailrules.adapters import secret
from mailrules.cli import app
from mailrules.cli.app import COMMANDS, main
from mailrules.cli.options import Common
from mailrules.core.errors import ConfigError, NotPermitted, PermanentError, TransientError

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., int | None]], None]:
    """Put a function in the place of a command's."""

    def put(function: Callable[..., int | None], name: str = "log") -> None:
        module = ModuleType(f"mailrules.cli.{name}")
        module.command = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)

    return put


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mailrules", *arguments], capture_output=True, text=True, check=False
    )


def test_the_version(capsys: Capture) -> None:
    """`--version` says it, with or without the short cut."""
    assert run("--version").stdout == f"mailrules {__version__}\n"
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mailrules {__version__}\n"


def imported(*arguments: str) -> set[str]:
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "mailrules", *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return {
        line.rpartition("|")[2].strip() for line in ran.stderr.splitlines() if line.startswith("import time:")
    }


@pytest.mark.parametrize("arguments", [("--help",), ("log", "--help"), ("run", "--help"), ("nonsense",)])
def test_help_costs_little(arguments: tuple[str, ...]) -> None:
    """Asking what there is imports no database, no mail, no rules."""
    # (typer itself may import pydantic)
    heavy = {"sqlalchemy", "re2", "jinja2", "imapclient", "apscheduler", "mailrules.watching.service"}
    assert not heavy & imported(*arguments)


def test_checking_costs_little(tmp_path: Path) -> None:
    """A file is checked without what only a worker needs: editors do it at every save."""
    rules = tmp_path / "rules.yaml"
    rules.write_text("rules: [{name: a, when: {from: b}, then: [keep]}]\n")
    heavy = {"sqlalchemy", "imapclient", "apscheduler", "smtplib", "ssl", "asyncio", "mailrules.house"}
    assert not heavy & imported("check", "--config", str(rules))
    assert "mailrules.config" in imported("check", "--config", str(rules))


def test_the_version_costs_nothing() -> None:
    """A script may ask it on every line."""
    assert not {"typer", "rich", "mailrules.cli.app"} & imported("--version")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: Capture) -> None:
    """Each command that is listed is there, says what it does, and takes the options that all take."""
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    for option in ("--config", "--state", "--json", "--verbose"):
        assert option in text
    assert f"mailrules {name}" in text


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_shows_an_example_in_80_columns(
    name: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Into a pipe and on a terminal; with NO_COLOR there is no colour."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    for markup in (None, "rich"):
        monkeypatch.setattr(app, "_markup", lambda markup=markup: markup)
        assert main([*([name] if name else []), "--help"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert not [line for line in lines if len(line) > 80]
        assert any(re.match(r" +Example: mailrules ", line) for line in lines)
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]", "\n".join(lines))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_a_module_with_a_command(name: str) -> None:
    """The table names what exists."""
    assert callable(importlib.import_module(f"mailrules.cli.{name}").command)


def test_help_lists_every_command(capsys: Capture) -> None:
    """With a few words each."""
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for name in COMMANDS:
        assert re.search(rf"(?m)^[│ ] +{name} +[A-Z]", text)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lgo"], "Did you mean 'log'?"),
        (["log", "--sinec", "2h"], "--since"),
        (["--config", "x", "plan"], "--config goes after the command: mailrules plan --config"),
        (["-v"], "-v goes after the command: mailrules COMMAND -v"),
        (["retry"], "Missing argument"),
        (["retry", "x"], "integer"),
    ],
)
def test_wrong_usage_is_2(arguments: list[str], words: str, capsys: Capture) -> None:
    """What can't be understood is said on stderr, with what was probably meant."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in " ".join(captured.err.split())


def test_shared_options(command: Callable[..., None]) -> None:
    """They arrive in one value, whatever else a command takes."""
    got: list[object] = []

    def takes(common: Common, name: str, *, loud: Annotated[bool, typer.Option("--loud")] = False) -> int:
        got.extend([common, name, loud])
        return 0

    command(takes)
    assert main(["log", "x", "--config", "r.yaml", "--loud", "-vv", "--json", "--state", "/s"]) == 0
    assert got == [Common(config=Path("r.yaml"), json=True, verbose=2, state="/s"), "x", True]


def raising(error: BaseException) -> Callable[..., int]:
    def raises(common: Common) -> int:
        raise error

    return raises


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (ConfigError(["r.yaml:1:2: one", "r.yaml:3:4: two"]), 78, "r.yaml:1:2: one\nr.yaml:3:4: two\n"),
        (NotPermitted("it is held"), 77, "mailrules: it is held\n"),
        (TransientError("no answer"), 75, "mailrules: no answer\n"),
        (PermanentError("never"), 1, "mailrules: never\n"),
        (PermanentError("a\x1b[31m\u202eb"), 1, "mailrules: a\\x1b[31m\\u202eb\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_how_it_ends(
    error: BaseException, status: int, words: str, command: Callable[..., None], capsys: Capture
) -> None:
    """Every kind of failure has its words on stderr and its exit status; nothing hostile gets out."""
    command(raising(error))
    assert main(["log"]) == status
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", words)


def test_what_a_command_returns_is_the_status(command: Callable[..., None]) -> None:
    """Nothing is 0."""
    command(lambda common: 1)
    # A lambda has no annotations: no shared options either.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["mailrules.cli.log"], "command", lambda: 75)
        assert main(["log"]) == 75
        patch.setattr(sys.modules["mailrules.cli.log"], "command", lambda: None)
        assert main(["log"]) == 0


def test_a_bug_is_one_line_and_a_traceback_elsewhere(command: Callable[..., None], capsys: Capture) -> None:
    """What nobody expected says where it was and where the traceback is."""
    command(raising(ZeroDivisionError("division by zero")))
    assert main(["log"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    match = re.fullmatch(
        r"mailrules: this should not happen: ZeroDivisionError: division by zero at test_app.py:\d+\. "
        r"The traceback is in (\S+); please report it\.\n",
        said,
    )
    assert match is not None
    kept = Path(match[1])
    assert "Traceback (most recent call last)" in kept.read_text()
    assert kept.stat().st_mode & 0o077 == 0
    kept.unlink()


def test_verbose_shows_the_traceback(command: Callable[..., None], capsys: Capture) -> None:
    """Also of what was expected."""
    command(raising(PermanentError("never")))
    assert main(["log", "-v"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("mailrules: never\nTraceback (most recent call last):\n")
    command(raising(ZeroDivisionError("x")))
    assert main(["log", "-v"]) == 1
    assert "ZeroDivisionError: x" in capsys.readouterr().err


def test_no_secret_in_an_error(command: Callable[..., None], capsys: Capture) -> None:
    """A server that echoes the password can't make us print it."""
    secret.remember("hunter2-is-long")
    command(raising(PermanentError("LOGIN failed for hunter2-is-long")))
    assert main(["log", "-v"]) == 1
    assert "hunter2" not in capsys.readouterr().err


def test_ctrl_c_is_quiet() -> None:
    """A real one, in a real process."""
    code = (
        "import sys, types, time; m = types.ModuleType('mailrules.cli.log')\n"
        "def command():\n    print('ready', flush=True); time.sleep(30)\n"
        "m.command = command; sys.modules[m.__name__] = m\n"
        "from mailrules.cli.app import main; sys.exit(main(['log']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    process.send_signal(2)
    _, said = process.communicate(timeout=10)
    assert (process.returncode, said) == (130, "")


def test_a_closed_pipe_is_quiet(state: Path) -> None:
    """`mailrules log | head -1` ends without a word."""
    ran = subprocess.run(
        f"{sys.executable} -m mailrules log --json --state {state} | head -c 10",
        shell=True, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert ran.stderr == ""
    assert len(ran.stdout) == 10


def test_completion_knows_the_commands() -> None:
    """The shell's completion lists commands and a command's options."""
    for words, expected in (("mailrules ", "status"), ("mailrules log --si", "--since")):
        environment = {
            **os.environ, "_MAILRULES_COMPLETE": "complete_bash", "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        }  # fmt: skip
        ran = subprocess.run(
            [sys.executable, "-m", "mailrules"], env=environment, capture_output=True, text=True, check=False
        )
        assert expected in ran.stdout.split()


def test_the_table_is_complete() -> None:
    """No command module is forgotten in the table."""
    frame = {
        "__init__",
        "acting",
        "app",
        "conversation",
        "explained",
        "options",
        "output",
        "planned",
        "progress",
    }
    modules = {path.stem for path in Path(app.__file__).parent.glob("*.py")} - frame
    assert modules == set(COMMANDS)
