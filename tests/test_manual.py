"""man/mailrules.1 is made from the program, and a manual reader takes it."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from mailrules.cli.app import COMMANDS
from tests.test_docs import builder


def test_the_manual_page_is_up_to_date() -> None:
    """It says what `--help` says (`make docs`)."""
    page = builder()
    assert page.MAN.read_text() == page.manual_page()


def test_every_command_and_its_options_are_in_it() -> None:
    """By name, with an example."""
    text = builder().manual_page().replace("\\-", "-")
    for name in COMMANDS:
        assert re.search(rf"(?m)^\.B {name}( |$)", text), name
        assert f"Example: mailrules {name}" in text, name
    for option in ("--over-brakes", "--password-command", "--device", "--since 2h|TIME"):
        assert option in text


def test_roff_takes_it() -> None:
    """Without a warning, and in 80 columns."""
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("groff is not installed")
    ran = subprocess.run(
        [groff, "-man", "-Tutf8", "-ww", "-K", "utf8", str(builder().MAN)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stderr == ""
    assert "mailrules init" in ran.stdout


def test_what_roff_would_obey_is_text() -> None:
    """A dot at the start of a line, a backslash, a hyphen."""
    assert builder().roff(".x\n\\Flagged --y") == "\\&.x\n\\eFlagged \\-\\-y"
