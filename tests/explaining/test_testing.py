"""testing.py: what a test compares."""

from __future__ import annotations

import pytest

from mailrules import config
from mailrules.explaining.testing import Action, Result, run, short_form, untouched

FILE = """\
accounts:
  work:
    {host: imap.example.org, username: me@example.org, password: {env: NOBODY_ASKS}, smtp: {host: s.example}}
rules:
  - {name: filed, when: {subject: invoice}, then: [flag: [$A, seen], move: "Filed/{{ received.year }}"]}
  - {name: sent, when: {subject: send}, then: [forward: {to: x@y.example, mode: inline}, flag: $B]}
  - {name: clash, when: {subject: send}, then: [flag: $C]}
  - {name: asks, when: {search: SEEN}, then: [flag: $D]}
tests:
"""


def result(message: str, expect: str) -> Result:
    [found] = run_all(message, expect)
    return found


def run_all(message: str, expect: str) -> list[Result]:
    entry = f"  - {{name: t, at: 2026-03-01T10:00:00Z, message: {{{message}}}, expect: {{{expect}}}}}\n"
    found = config.parse(FILE + entry)
    return list(run(found, found.tests))


@pytest.mark.parametrize(
    ("message", "expect", "passed"),
    [
        ("subject: Invoice", "rules: [filed]", True),
        ("subject: Invoice", "rules: []", False),
        ("subject: nothing", "rules: []", True),
        ("subject: Invoice", "rules: [filed, sent]", False),
        ("subject: send", "rules: [clash, sent]", True),
        # flags are sets without case, leaving comes last wherever it is written
        ("subject: Invoice", "actions: [move: Filed/2026, flag: [seen, $a]]", True),
        ("subject: Invoice", "actions: [move: Filed/2025, flag: [seen, $a]]", False),
        ("subject: Invoice", "actions: [move: Filed/2026, flag: $A]", False),
        # the list is whole
        ("subject: Invoice", "actions: [move: Filed/2026]", False),
        ("subject: nothing", "actions: []", True),
        ("subject: Invoice", "rules: [filed], actions: []", False),
        # what is written of an action is compared
        ("subject: send", "actions: [forward: x@y.example, flag: $B, flag: $C]", True),
        ("subject: send", "actions: [forward: {to: x@y.example, mode: inline}, flag: $B, flag: $C]", True),
        ("subject: send", "actions: [forward: {to: x@y.example, mode: attach}, flag: $B, flag: $C]", False),
        ("subject: send", "actions: [redirect: x@y.example, flag: $B, flag: $C]", False),
        # the order counts
        ("subject: send", "actions: [forward: x@y.example, flag: $C, flag: $B]", False),
    ],
)
def test_compared_whole(message: str, expect: str, passed: bool) -> None:
    """`rules` and `actions` are each compared whole; what is left out is not compared."""
    assert result(message, expect).passed is passed


def test_what_differs_is_named() -> None:
    """A test that fails knows what is missing, what is too much, and whose it is."""
    found = result("subject: send", "rules: [filed, sent, clash], actions: [flag: $B, flag: $X]")
    assert found.missing == (Action("flag", {"flags": ["$X"]}),)
    assert [(one.action, one.rule) for one in found.surplus] == [("forward", "sent"), ("flag", "clash")]
    assert found.wrong == ("filed", "sent", "clash")
    assert result("subject: send", "actions: [forward: x@y.example, flag: $C, flag: $B]").order


def test_what_only_a_server_knows_is_unknown() -> None:
    """A condition that needs a server matches nothing, unless the message says what it answers."""
    assert result("subject: x", "rules: []").passed
    assert result("search: SEEN", "rules: [asks]").passed
    assert result("search: UNSEEN", "rules: []").passed


def test_untouched() -> None:
    """The enabled rules that no test matches are told."""
    found = config.parse(FILE + "  - {name: t, message: {subject: send}, expect: {rules: [sent]}}\n")
    assert untouched(found, run(found, found.tests)) == ["filed", "asks"]


@pytest.mark.parametrize(
    ("action", "arguments", "form"),
    [
        ("move", {"mailbox": "A/B"}, {"move": "A/B"}),
        ("archive", {"mailbox": None, "special_use": "\\Archive"}, "archive"),
        ("flag", {"flags": ["\\Seen"]}, {"flag": "seen"}),
        ("unflag", {"flags": ["$A", "\\Flagged"]}, {"unflag": ["$A", "flagged"]}),
        ("delete", {"permanently": True}, {"delete": "permanently"}),
        ("forward", {"to": ["a@b.example"], "mode": "attach", "subject": "x"}, {"forward": "a@b.example"}),
        ("script", {"run": ["x", "y"], "input": "none"}, {"script": ["x", "y"]}),
        ("log", {"text": "hi"}, {"log": "hi"}),
        ("keep", {}, "keep"),
    ],
)
def test_short_form(action: str, arguments: dict[str, object], form: object) -> None:
    """An action is written as one would write it in the file."""
    assert short_form(Action(action, arguments)) == form
