"""A mailbox of real mail: what `plan` says is what `apply` does, message by message; `--against` misses none.

Needs MAILRULES_CORPUS, a folder of real mails, of which it takes 3,000; MAILRULES_FAULTS=full takes 10,000.
"""

from __future__ import annotations

import os
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_load import KEY, numbered
from tests.lab.dovecot import Dovecot
from tests.lab.program import Program, account

CORPUS = os.environ.get("MAILRULES_CORPUS")
COUNT = 10_000 if os.environ.get("MAILRULES_FAULTS") == "full" else 3_000
RULES = """
rules:
  - name: mine
    when: {header: {X-Lab-Number: {regex: "7$"}}}
    then: [{mark: flagged}]
    stop: true
  - name: lists
    when: {list_id: {exists: true}}
    then: [{flag: $List}, {move: Lists}]
  - name: money
    when: {any: [{subject: [free, money, offer, price]}, {body: [unsubscribe, "100%"]}]}
    then: [{move: Money}]
  - name: large
    when: {larger_than: 10KB}
    then: [{flag: $Large}]
  - name: large and unread
    when: {keyword: $Large, seen: false}
    then: [{mark: read}]
  - name: attached
    when: {has_attachment: true}
    then: [{copy: Attached}]
"""
pytestmark = [
    pytest.mark.corpus,
    pytest.mark.skipif(not CORPUS, reason="MAILRULES_CORPUS is not set"),
    pytest.mark.timeout(900),
]


@dataclass(frozen=True)
class Stage:
    program: Program
    server: Dovecot
    user: str
    mail: dict[int, bytes] = field(repr=False)  # by UID; nothing of it is shown

    def there(self) -> Counter[tuple[str, int, frozenset[str]]]:
        """Every message on the server: mailbox, number (its first UID), flags; by a client of our own."""
        found: Counter[tuple[str, int, frozenset[str]]] = Counter()
        with self.server.session(self.user) as client:
            names = [line.decode().rpartition('"/" ')[2].strip('"') for line in client.list()[1]]
            for name in names:
                if client.select(f'"{name}"', readonly=True)[0] != "OK":
                    continue  # a name that only has others below it
                told = client.uid("FETCH", "1:*", f"(FLAGS BODY.PEEK[HEADER.FIELDS ({KEY.decode()})])")[1]
                for head, block in (each for each in told if isinstance(each, tuple)):
                    flags = frozenset(re.search(rb"FLAGS \(([^)]*)\)", head)[1].decode().split())
                    number = int(re.search(rb":\s*(\d+)", block)[1])
                    found[name, number, flags - {"\\Recent"}] += 1
        return found


@pytest.fixture(scope="module")
def stage(dovecot: Dovecot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    user = dovecot.new_user()
    paths = sorted(path for path in Path(CORPUS or ".").rglob("*") if path.is_file())
    chosen = random.Random(20261126).sample(paths, min(COUNT, len(paths)))
    mail = [numbered(path.read_bytes(), n) for n, path in enumerate(chosen, 1)]
    uids = dovecot.append(user, mail)
    assert uids == list(range(1, len(mail) + 1))
    program = Program(tmp_path_factory.mktemp("whole"), "accounts:\n" + account(dovecot, user) + RULES)
    yield Stage(program, dovecot, user, dict(zip(uids, mail, strict=True)))


def outcome(uid: int, actions: list[dict[str, Any]]) -> Counter[tuple[str, int, frozenset[str]]]:
    """Where a message is, and its copies, with which flags, after these actions."""
    flags: set[str] = set()
    places: Counter[tuple[str, int, frozenset[str]]] = Counter()
    here = "INBOX"
    for action in actions:
        arguments = action["arguments"]
        match action["action"]:
            case "flag":
                flags |= set(arguments["flags"])
            case "unflag":
                flags -= set(arguments["flags"])
            case "copy":
                places[arguments["mailbox"], uid, frozenset(flags)] += 1
            case "move":
                here = arguments["mailbox"]
    places[here, uid, frozenset(flags)] += 1
    return places


def test_against_misses_none_and_invents_none(stage: Stage) -> None:
    """Two files that differ in one condition: the messages between the two sizes, counted by themselves."""
    program = stage.program
    rule = "rules:\n  - {name: large, when: {larger_than: %s}, then: [{flag: $Large}]}\n"
    head = "accounts:\n" + account(stage.server, stage.user)
    old, new = program.directory / "old.yaml", program.directory / "new.yaml"
    old.write_text(head + rule % "8000")
    new.write_text(head + rule % "4000")
    found = program.json("plan", "--config", str(new), "--against", str(old), timeout=300)
    expected = {uid for uid, raw in stage.mail.items() if 4000 < len(raw) <= 8000}
    assert {f["uid"] for f in found[:-1]} == expected and len(expected) > 20
    assert all(f["old"]["actions"] == [] and len(f["new"]["actions"]) == 1 for f in found[:-1])
    assert found[-1]["summary"]["matched"] == len(expected)


def test_what_plan_says_is_what_apply_does(stage: Stage) -> None:
    """On every message: the same rules and actions, and on the server what they amount to."""
    program = stage.program
    planned = program.json("plan", timeout=300)
    assert planned[-1]["summary"]["messages"] == len(stage.mail)
    kept = program.directory / "all.plan"
    program.run("plan", "--save", str(kept), timeout=300)
    applied = program.json("apply", str(kept), "--yes", "--over-brakes", timeout=600)
    # A kept plan looks at its own messages only.
    assert applied[-1]["summary"] | {"messages": len(stage.mail)} == planned[-1]["summary"]
    assert [(a["uid"], a["actions"]) for a in applied[:-1]] == [
        (p["uid"], p["actions"]) for p in planned[:-1]
    ]
    done: dict[int, list[tuple[str, str, Any]]] = {}
    for entry in sorted(program.log(), key=lambda entry: entry["id"]):
        assert entry["state"] == "done", entry
        done.setdefault(entry["uid"], []).append((entry["rule"], entry["action"], entry["arguments"]))
    said = {
        p["uid"]: [(a["rule"], a["action"], a["arguments"]) for a in p["actions"]]
        for p in planned[:-1]
        if p["actions"]
    }
    assert done == said
    actions = {p["uid"]: p["actions"] for p in planned[:-1]}
    expected: Counter[tuple[str, int, frozenset[str]]] = Counter()
    for uid in stage.mail:
        expected += outcome(uid, actions.get(uid, []))
    assert stage.there() == expected
    check_undo(stage)


def check_undo(stage: Stage) -> None:
    """`undo --run`: every message is back, with the flags it had, and only copies are in the trash."""
    program = stage.program
    copies = {entry["uid"] for entry in program.log("--action", "copy")}
    (run,) = {entry["run"] for entry in program.log()}
    *taken, last = program.json("undo", "--run", str(run), "--yes", timeout=600)
    assert all(each["undo"] is not None and each["undo"]["state"] == "done" for each in taken)
    assert last["summary"]["left"] == 0 and last["summary"]["undone"] == len(taken)
    there = stage.there()
    trashed = {each: count for each, count in there.items() if each[0] == "Trash"}
    assert {uid for _, uid, _ in trashed} == copies and sum(trashed.values()) == len(copies)
    assert there - Counter(trashed) == Counter({("INBOX", uid, frozenset()): 1 for uid in stage.mail})
