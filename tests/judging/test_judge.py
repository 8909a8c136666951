"""Judging a window: decided while facts arrive, little kept, what is missing asked for together."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mailrules import config
from mailrules.adapters.imap.connection import Connection, Login
from mailrules.adapters.imap.mailbox import Mailbox
from mailrules.core.decision import AccountFacts, Situation, decide
from mailrules.core.message import Message
from mailrules.core.ruleset import RuleSet
from mailrules.judging.judge import PIECE, Judge, Judged
from tests.lab.dovecot import message
from tests.lab.scripted import ScriptedServer

NOW = datetime(2026, 3, 2, tzinfo=UTC)


class Desk:
    """A mailbox and a judge of it."""

    def __init__(self, server: ScriptedServer, mailbox: Mailbox, judge: Judge) -> None:
        self.server, self.mailbox = server, mailbox
        self.judge_ = judge
        self.held: list[tuple[int, ...]] = []

    def judge(self, uids: Sequence[int], **ways: Any) -> Judged:
        judge = replace(self.judge_, **ways)
        return judge.judge(self.mailbox, uids, NOW, hold=lambda those: self.held.append(tuple(those)))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    """`desk(rules, mails)`: a scripted server with these mails, looked at by these rules."""
    with ExitStack() as stack:

        def desk(rules: str, mails: Sequence[bytes]) -> Desk:
            server = stack.enter_context(ScriptedServer())
            for mail in mails:
                server.box().add(mail)
            path = tmp_path / "rules.yaml"
            path.write_text(
                "accounts: {a: {host: localhost, username: u, password: {env: PW}}}\nrules:\n"
                + textwrap.indent(rules, "  ")
            )
            path.chmod(0o600)
            rule_set = RuleSet(config.load(path, environ={"PW": "x"}).rules)
            login = Login("a", "127.0.0.1", server.port, "none", "me", lambda: server.password)
            connection = Connection(login)
            connection.open()
            stack.callback(connection.close)
            judge = Judge(rule_set, Situation(AccountFacts("a"), again=True), body_limit=1000)
            return Desk(server, connection.select("INBOX"), judge)

        yield desk


def numbered(count: int) -> list[bytes]:
    return [b"Subject: number %d\r\n\r\nhello %d\r\n" % (n, n) for n in range(1, count + 1)]


def test_nothing_is_kept_of_what_no_rule_matches(desk: Callable[..., Desk]) -> None:
    """One command for a large window, held in pieces; only what matched is left of it."""
    rules = desk("- {name: r, when: {subject: {is: number 700}}, then: [{flag: x}]}\n", numbered(1200))
    judged = rules.judge(range(1, 1201))
    assert list(judged.decisions) == [700] and judged.decisions[700].matched == ("r",)
    assert judged.messages == {} and judged.waited == 0
    assert len(rules.server.sent(b"UID FETCH")) == 1
    assert [len(those) for those in rules.held] == [PIECE, PIECE, 200]


def test_more_is_asked_only_of_what_is_left(desk: Callable[..., Desk]) -> None:
    """Texts are fetched of the messages that the cheap conditions leave, and then they are let go."""
    rule = "- {name: r, when: {subject: {regex: '[05]$'}, body: hello 10}, then: [{flag: x}]}\n"
    rules = desk(rule, numbered(30))
    judged = rules.judge(range(1, 31))
    assert list(judged.decisions) == [10] and judged.messages == {} and judged.waited == 6
    bodies = [line for line in rules.server.sent(b"UID FETCH") if b"BODYSTRUCTURE" in line]
    assert [line.split()[2] for line in bodies] == [b"5,10,15,20,25,30"]
    assert rules.held[-1] == (5, 10, 15, 20, 25, 30)


def test_a_judge_that_keeps(desk: Callable[..., Desk]) -> None:
    """To explain, every decision and message is kept, of text or not."""
    rules = desk("- {name: r, when: {subject: nothing, body: hello}, then: [{flag: x}]}\n", numbered(3))
    judged = rules.judge([1, 2, 3], keep=True)
    assert sorted(judged.decisions) == sorted(judged.messages) == [1, 2, 3]


def test_a_bug_costs_one_message(desk: Callable[..., Desk]) -> None:
    """What raises over one message leaves it to be tried again, and the others are judged."""
    rules = desk("- {name: r, when: {subject: number}, then: [{flag: x}]}\n", numbered(3))

    def bug(rules: Any, message: Message, situation: Situation) -> Any:
        if message.key.uid == 2:
            raise ZeroDivisionError
        return decide(rules, message, situation)

    judged = rules.judge([1, 2, 3], decide=bug)
    assert sorted(judged.decisions) == [1, 3] and list(judged.broken) == [2]


def test_what_is_not_told(desk: Callable[..., Desk]) -> None:
    """Messages that are gone are gone; those that the server keeps back wait."""
    rules = desk("- {name: r, when: {subject: number}, then: [{flag: x}]}\n", numbered(2))
    rules.server.script(rb"UID FETCH", b"* 1 FETCH (UID 1 FLAGS ())\r\n{tag} OK\r\n")
    judged = rules.judge([1, 2, 9])
    assert judged.gone == {9} and sorted(judged.deferred) == [1, 2] and judged.decisions == {}


def test_a_message_that_vanishes_while_it_waits(desk: Callable[..., Desk]) -> None:
    """It was there for the first question and is not for the second: gone, and the others are judged."""
    rules = desk("- {name: r, when: {subject: number, body: hello}, then: [{flag: x}]}\n", numbered(3))

    def vanish(session: object, line: bytes) -> None:
        rules.server.box().mails[:] = [mail for mail in rules.server.box().mails if mail.uid != 2]

    rules.server.script(rb"UID FETCH .*BODYSTRUCTURE", vanish)
    judged = rules.judge([1, 2, 3])
    assert sorted(judged.decisions) == [1, 3] and judged.gone == {2} and judged.messages == {}


def test_rules_that_read_nothing(desk: Callable[..., Desk]) -> None:
    """A rule for all mail needs no fact, and still does not take a message for there that is gone."""
    rules = desk("- {name: r, when: always, then: [{flag: x}]}\n", [message()])
    judged = rules.judge([1, 2])
    assert list(judged.decisions) == [1] and judged.gone == {2}


def test_one_that_nobody_can_name_is_judged_all_the_same(desk: Callable[..., Desk]) -> None:
    """Who remembers messages is told of those with an identity, in pieces, before any is judged; the others
    are missed only by rules that ask."""
    rules = desk("- {name: r, when: {subject: number}, then: [{flag: x}]}\n", numbered(PIECE + 3))
    told: list[list[int]] = []

    class Named:
        """Its identities lack one."""

        def __getattr__(self, name: str) -> Any:
            return getattr(rules.mailbox, name)

        def identities(self, uids: Sequence[int]) -> dict[int, Any]:
            return {uid: found for uid, found in rules.mailbox.identities(uids).items() if uid != 2}

    judge = replace(rules.judge_, noting=True, note=lambda name, known, now: told.append(sorted(known)))
    judged = judge.judge(Named(), range(1, PIECE + 4), NOW)  # type: ignore[arg-type]
    assert [len(those) for those in told] == [PIECE - 1, 3] and 2 not in told[0]
    assert len(judged.decisions) == PIECE + 3 and not judged.deferred


def test_what_came_to_nothing_without_a_fact_is_told(desk: Callable[..., Desk]) -> None:
    """The server refuses one question, and what it does tell decides: nothing matches, but not for sure."""
    rules = desk("- {name: r, when: {search: ODD, body: nothing}, then: [{flag: x}]}\n", numbered(2))
    rules.server.script(rb"UID SEARCH .*ODD", b"{tag} BAD no such key\r\n")
    judged = rules.judge([1, 2])
    assert (judged.decisions, judged.unsure) == ({}, {1, 2})
    rules = desk("- {name: r, when: {body: nothing}, then: [{flag: x}]}\n", numbered(2))
    assert rules.judge([1, 2]).unsure == set()
