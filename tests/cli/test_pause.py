"""`mailrules pause`."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailrules.adapters.store import Store
from mailrules.cli.app import main
from tests.json_contract import objects

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("words", "target"),
    [
        (["filing"], "rule:filing"),
        (["work"], "account:work"),
        (["work/INBOX"], "mailbox:work/INBOX"),
        (["work/Not/Seen/Yet"], "mailbox:work/Not/Seen/Yet"),
        (["rule:filing"], "rule:filing"),
        (["--all"], "*"),
    ],
)
def test_what_is_meant(state: Path, capsys: Capture, words: list[str], target: str) -> None:
    """A rule, an account, a mailbox or all; a second time it was so already."""
    for changed in (True, False):
        assert main(["pause", *words, "--json", "--state", str(state)]) == 0
        (event,) = objects("pause", capsys.readouterr().out)
        assert (event["target"], event["changed"]) == (target, changed)
    with Store.open(state, read_only=True) as store:
        assert store.paused() == {target}


def test_names_are_said_as_they_are(state: Path, capsys: Capture) -> None:
    """A mailbox is not called otherwise because a sentence begins with it."""
    assert main(["pause", "work/INBOX", "--state", str(state)]) == 0
    assert capsys.readouterr().out == "Mailbox 'work/INBOX' is paused.\n"


def test_a_name_of_nothing(state: Path, capsys: Capture) -> None:
    """Is said, with what was probably meant; nothing of the rest is paused either."""
    assert main(["pause", "work", "filling", "--state", str(state)]) == 1
    assert "no rule, account or mailbox 'filling'. Did you mean 'filing'?" in capsys.readouterr().err
    with Store.open(state, read_only=True) as store:
        assert store.paused() == frozenset()


def test_a_name_of_two_things(state: Path, capsys: Capture) -> None:
    """A rule called as an account is must be said outright."""
    with Store.open(state) as store:
        store.keep_rules([("rev", "work", "name: work")])
    assert main(["pause", "work", "--state", str(state)]) == 1
    assert "'work' is both rule and account. Say rule:work or account:work." in capsys.readouterr().err
    assert main(["pause", "account:work", "--state", str(state)]) == 0
    assert capsys.readouterr().out == "Account 'work' is paused.\n"


def test_a_rule_of_the_file(state: Path, capsys: Capture) -> None:
    """A rule that has never run yet is known by the file."""
    Path("rules.yaml").write_text(
        "accounts: {work: {host: h.example, username: u@h.example, password: {env: X}}}\n"
        "rules: [{name: newest, when: always, then: [keep]}]\n"
    )
    assert main(["pause", "newest", "--state", str(state)]) == 0
    assert capsys.readouterr().out == "Rule 'newest' is paused.\n"


@pytest.mark.parametrize("words", [[], ["filing", "--all"]])
def test_say_what(state: Path, capsys: Capture, words: list[str]) -> None:
    """One or the other, not neither and not both."""
    assert main(["pause", *words, "--state", str(state)]) == 2
    assert "or say --all" in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_nothing_to_pause(alone: Path, capsys: Capture) -> None:
    """Without a state there is nothing, and none is made."""
    assert main(["pause", "--all"]) == 1
    assert "no state in" in capsys.readouterr().err
    assert not (alone.parent / "home" / "mailrules").exists()
