"""mailrules.cli.planned and progress: what is shown of a plan, and that little of it is kept."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from mailrules.cli.planned import LeftOut, Samples, ways
from mailrules.cli.progress import follow


def planned(uid: int) -> dict[str, Any]:
    return {
        "planned": {
            "uid": uid, "account": "work", "mailbox": "INBOX", "message_id": "<a@b>",
            "rules": [{"name": f"rule {uid % 5}", "matched": True, "reason": None, "conditions": []}],
            "actions": [
                {"rule": f"rule {uid % 5}", "action": "move", "arguments": {"mailbox": f"Lists/{uid}"}}
            ],
        },
        "subject": f"subject {uid}", "sender": "ann@example.test", "troubles": {},
    }  # fmt: skip


def events(count: int) -> Iterator[dict[str, Any]]:
    for uid in range(1, count + 1):
        yield planned(uid)
        if uid % 100 == 0:
            at = {"account": "work", "mailbox": "INBOX", "done": uid, "total": count, "phase": "judging"}
            yield {"progress": at | {"states": {}}}


def peak(count: int) -> int:
    found, left = Samples(), LeftOut()
    out = {"account": "work", "mailbox": "INBOX", "uid": 1, "message_id": "", "reason": "gone", "done": False}
    tracemalloc.start()
    follow(events(count), found.add)
    for uid in range(count):
        left.add({"left_out": out | {"uid": uid}, "subject": "x", "sender": "y"})
    high = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(found.counts.values()) == left.left == count
    return high


def test_what_is_kept_does_not_grow_with_the_plan() -> None:
    """Counts and a few samples of each rule: ten times the messages cost no more memory."""
    peak(100)  # what is imported
    assert peak(20_000) < peak(2_000) + 100_000


def test_where_a_message_goes() -> None:
    """Leaving is from where to where, with the account where there are several; the rest is in words."""
    message = {"account": "work", "mailbox": "INBOX"}
    actions = [
        {"rule": "r", "action": "flag", "arguments": {"flags": ["$A"]}},
        {"rule": "r", "action": "copy", "arguments": {"mailbox": "B"}},
        {"rule": "r", "action": "archive", "arguments": {"mailbox": "C"}, "dry_run": True},
    ]
    assert ways(message, actions) == ["flag $A", "copy to B", "INBOX → C (dry run)"]
    assert ways(message, actions[2:], name_account=True) == ["work/INBOX → C (dry run)"]


def test_what_is_left_out_is_listed_up_to_a_point(capsys: pytest.CaptureFixture[str]) -> None:
    """The first twenty, and how many more; all with -v. What was done before is counted only."""
    out = {"account": "work", "mailbox": "INBOX", "message_id": "", "reason": "gone"}
    for every in (False, True):
        left = LeftOut(every=every)
        for uid in range(25):
            left.add({"left_out": out | {"uid": uid, "done": uid >= 23}, "subject": "x", "sender": "y"})
        left.say()
        shown = capsys.readouterr().out
        assert shown.count("gone") == (23 if every else 20)
        assert ("… and 3 more" in shown) is not every
        assert "2 messages of the plan were done before" in shown
