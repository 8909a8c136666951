"""The JSON Schemas in docs/json are schemas, and refuse what is not in the contract."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from mailrules import config
from mailrules.core.decision import AccountFacts, Decision, Needs, Situation, as_json, explain
from mailrules.core.message import Unavailable
from mailrules.core.offline import message_from_bytes

from .json_contract import SCHEMAS, problems

LOG: dict[str, Any] = {
    "id": 1, "time": "2026-03-01T09:00:00.000000Z", "run": 1, "account": "work", "mailbox": "INBOX", "uid": 4,
    "message_id": None, "subject": None, "rule": "r", "action": "move", "arguments": {"mailbox": "A"},
    "state": "done", "detail": {}, "undone": None,
}  # fmt: skip

RULES = r"""
accounts:
  work:
    {host: imap.example.org, username: me@example.org, password: {env: NOBODY_ASKS}, smtp: {host: x.example}}
rules:
  - name: everything
    when: {any: [{subject: invoice, larger_than: 1}, {not: {from: "@example.net"}}]}
    unless: {search: "KEYWORD x"}
    then: [flag: $A, mark: read, copy: "Copies/{{ message.from.domain }}"]
  - {name: sent on, when: {from: alice@example.com}, then: [forward: team@example.org, script: [/bin/true]]}
  - {name: off, enabled: false, when: always, then: [keep]}
  - {name: away, when: {subject: {regex: "(?P<n>\\d+)"}}, then: [archive]}
  - {name: never, when: always, then: [keep]}
"""
MAIL = (
    b"From: Alice <alice@example.com>\r\nSubject: Invoice 42\r\nMessage-ID: <x@example.com>\r\n\r\nhello\r\n"
)


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_they_are_schemas(name: str) -> None:
    """Each is a valid schema, named after its file."""
    Draft202012Validator.check_schema(SCHEMAS[name])
    assert SCHEMAS[name]["$id"] == f"{name}.schema.json"


@pytest.mark.parametrize(
    "change",
    [
        {"state": "intent"}, {"uid": "4"}, {"time": "2026-03-01T10:00:00+01:00"}, {"more": 1},
        {"detail": None}, {"undone": False}, {"id": 0},
    ],
)  # fmt: skip
def test_the_log_is_to_the_letter(change: dict[str, Any]) -> None:
    """A key too many, a word of the journal's, another zone: all are refused."""
    assert problems("log", LOG) == []
    assert problems("log", LOG | change)
    assert problems("log", {k: v for k, v in LOG.items() if k != next(iter(change))} | {"x": 1})


def test_an_explanation_is_as_the_contract_says() -> None:
    """Rules that match, stop, leave, are off or unknown, with all their conditions, fit the schema."""
    now = datetime(2026, 3, 1, tzinfo=UTC)
    message = message_from_bytes(MAIL, now=now, body_limit=1000)
    rules = config.parse(RULES, environ={}).rules
    situation = Situation(AccountFacts("work"), again=True)
    while isinstance(decision := explain(rules, message, situation), Needs):
        for fact in decision.facts:  # no server is there to be asked
            message.facts[fact] = Unavailable("only a server knows")
    assert isinstance(decision, Decision)
    shown = {
        "file": "x.eml", "account": "work", "mailbox": "INBOX", "message_id": "<x@example.com>",
        **as_json(decision),
    }  # fmt: skip
    assert problems("explain", shown) == []
    assert [(rule["matched"], rule["reason"]) for rule in shown["rules"]] == [
        (None, "unknown"), (True, None), (None, "disabled"), (True, None), (True, None),
    ]  # fmt: skip
    assert [a["action"] for a in shown["actions"]] == ["forward", "script", "keep"]
    assert problems("plan", shown) == []


def test_a_plan_ends_with_its_summary() -> None:
    """The last line of plan and apply."""
    summary = {"messages": 3, "matched": 1, "rules": {"r": 1}, "effects": {"move": 1}}
    assert problems("plan", {"summary": summary}) == []
    assert problems("plan", {"summary": summary | {"more": 1}})
