"""`mailrules reload`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mailrules.cli.app import main
from mailrules.control import ControlServer
from mailrules.core.errors import ConfigError
from mailrules.state import State
from tests.json_contract import objects

Capture = pytest.CaptureFixture[str]


def test_reload(state: Path, capsys: Capture) -> None:
    """The worker reads again, and says what is in force."""
    server = ControlServer(State(state, "test").socket())
    server.register("reload", lambda arguments: {"accounts": 2, "rules": 3, "changed": ["work"]})
    with server:
        assert main(["reload", "--state", str(state)]) == 0
        assert capsys.readouterr().out == "Read again: 2 accounts, 3 rules.\n"
        assert main(["reload", "--json", "--state", str(state)]) == 0
        assert len(objects("reload", capsys.readouterr().out)) == 1


def test_a_wrong_file(state: Path, capsys: Capture) -> None:
    """Every line that is wrong, and the status of a wrong configuration."""

    def wrong(arguments: Mapping[str, Any]) -> None:
        raise ConfigError(["rules.yaml:1:1: one", "rules.yaml:2:1: two"])

    server = ControlServer(State(state, "test").socket())
    server.register("reload", wrong)
    with server:
        assert main(["reload", "--state", str(state)]) == 78
    said = capsys.readouterr().err.splitlines()
    assert "stay as they were" in said[0] and said[1:] == ["rules.yaml:1:1: one", "rules.yaml:2:1: two"]


def test_no_worker(state: Path, capsys: Capture) -> None:
    """There is nobody to read it."""
    assert main(["reload", "--state", str(state)]) == 1
    assert "no worker runs on" in capsys.readouterr().err
