"""`explain` of a message in the log: why it was treated so then, with the rules as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_undo import by_hand
from tests.json_contract import objects
from tests.lab.dovecot import Dovecot, message
from tests.lab.program import Program, account

RULES = """
lists:
  words: [invoice]
rules:
  - name: unread
    when: {seen: false, newer_than: 1h}
    then: [flag: $New]
  - name: invoices
    when: {subject: {in: words}}
    then: [{flag: $Invoice}, {move: Accounting}]
  - name: notes
    when: {subject: note}
    then: [{flag: $Note}]
  - name: never
    when: {subject: nothing}
    then: [{flag: $Never}]
"""


@pytest.fixture
def program(dovecot: Dovecot, user: str, tmp_path: Path) -> Program:
    program = Program(tmp_path, "accounts:\n" + account(dovecot, user) + RULES)
    program.run("run", "--once")
    return program


def explained(program: Program, *arguments: str) -> dict[str, Any]:
    (one,) = objects("explain", program.run("explain", *arguments, "--json").stdout)
    return one


def rules_of(then: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {rule["name"]: rule for rule in then["rules"]}


def test_why_it_was_treated_so(dovecot: Dovecot, user: str, program: Program) -> None:
    """By the UID it had then: what matched, what the earlier move kept from acting, and what has changed."""
    (uid,) = dovecot.append(user, message(1, subject="An invoice, a note", message_id="<it@example.test>"))
    program.run("run", "--once")
    by_hand(dovecot, user, "Accounting", "STORE", "1", "+FLAGS", "(\\Seen)")
    text = program.config.read_text()
    text = text.replace("words: [invoice]", "words: [bill]").replace("subject: note", "subject: memo")
    program.config.write_text(text.replace("  - name: never", "  - name: newer"))
    one = explained(program, "--uid", str(uid), "--mailbox", "INBOX")
    assert (one["mailbox"], one["message_id"]) == ("Accounting", "<it@example.test>")
    assert not any(rule["matched"] for rule in one["rules"])  # as the rules are now
    (then,) = one["then"]
    assert (then["mailbox"], then["uid"], then["kind"], then["judged_again"]) == ("INBOX", uid, "once", True)
    rules = rules_of(then)
    assert list(rules) == ["unread", "invoices", "notes", "never"]
    assert [rules[name]["matched"] for name in rules] == [True, True, None, None]
    assert [rules[name]["changed"] for name in rules] == [False, True, True, True]
    assert [rules[name]["recorded"] for name in rules] == [True, True, False, False]
    assert rules["notes"]["reason"] == "left" and "invoices" in rules["notes"]["because"]
    assert rules["unread"]["conditions"][0]["value"] is False  # it was not seen then
    assert rules["invoices"]["conditions"][0]["matched"] is True
    assert "in: words" in rules["invoices"]["text"]
    assert [(a["action"], a["state"]) for a in then["actions"]] == [
        ("flag", "done"), ("flag", "done"), ("move", "done"),
    ]  # fmt: skip
    assert explained(program, "--message-id", "it@example.test")["then"] == one["then"]
    said = program.run("explain", "--uid", str(uid)).stdout
    assert "a list that it uses has changed since" in said
    assert "it is not in the file any more" in said
    assert "- when: {subject: note}" in said.replace("-   ", "- ") and "memo" in said
    assert "judged again now" in said and f"UID {uid}, then" in said and ", now" in said
    assert "not reached: rule 'invoices' takes the message out of the mailbox" in said


def test_a_message_that_is_gone(dovecot: Dovecot, user: str, program: Program) -> None:
    """Then the log alone tells; and after an undo it says by what it was undone."""
    (uid,) = dovecot.append(user, message(1, subject="An invoice", message_id="<it@example.test>"))
    program.run("run", "--once")
    (run,) = {e["run"] for e in program.log()}
    program.run("undo", "--run", str(run), "--yes")
    (then,) = explained(program, "--uid", str(uid))["then"]
    assert all(a["undone"] for a in then["actions"]) and then["judged_again"]
    with dovecot.session(user, "INBOX") as client:
        client.uid("STORE", "1:*", "+FLAGS", "(\\Deleted)")
        client.expunge()
    one = explained(program, "--message-id", "<it@example.test>")
    assert one["rules"] == one["actions"] == []
    (then,) = one["then"]
    assert not then["judged_again"] and "not there any more" in then["note"]
    assert [rule["name"] for rule in then["rules"]] == ["unread", "invoices"]
    assert "An invoice" in program.run("explain", "--message-id", "it@example.test").stdout


def test_a_brake(dovecot: Dovecot, user: str, program: Program) -> None:
    """What a pause held is said with its reason; a message that is in no log is explained as it is now."""
    program.run("pause", "invoices")
    (uid,) = dovecot.append(user, message(1, subject="An invoice"))
    program.run("run", "--once")
    (then,) = explained(program, "--uid", str(uid))["then"]
    rule = rules_of(then)["invoices"]
    assert (rule["matched"], rule["reason"], rule["because"]) == (True, "paused", "rule 'invoices' is paused")
    assert {a["state"] for a in then["actions"] if a["rule"] == "invoices"} == {"held"}
    program.run("resume", "invoices")
    (seen,) = dovecot.append(user, message(2, subject="Another"), flags="(\\Seen)")
    program.run("run", "--once")
    assert "then" not in explained(program, "--uid", str(seen))


def test_only_what_it_says_is_compared(dovecot: Dovecot, user: str, program: Program) -> None:
    """How a rule has changed is shown without comments, and another comment is no change."""
    text = program.config.read_text()
    text = text.replace("then: [{flag: $Note}]", "then: [{flag: $Note}]   # a note\n    dry_run: true")
    program.config.write_text(text)
    (uid,) = dovecot.append(user, message(1, subject="A note"))
    program.run("run", "--once")
    program.config.write_text(
        text.replace("    dry_run: true\n", "").replace("name: unread", "name: unread  # !")
    )
    said = program.run("explain", "--uid", str(uid)).stdout
    assert said.count("has changed since") == 1 and "- dry_run: true" in said
    assert "# a note" not in said and "+ " not in said.partition("it has changed since")[2]
