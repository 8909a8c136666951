"""mailrules.core.difference: two rule sets over one message."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mailrules import config
from mailrules.core.decision import AccountFacts, Deferred, Needs, Situation, rules_for
from mailrules.core.difference import Both, DecideBoth
from mailrules.core.message import BODY, FLAGS, Message, MessageKey, Unavailable, header_fact, search_fact
from mailrules.core.ruleset import RuleSet
from tests.core.test_decision import message

SITUATION = Situation(AccountFacts("work"), again=True)
FILING = "  - {name: filing, when: {subject: invoice}, then: [{move: X}]}\n"
FORWARDING = "  - {name: %s, when: {subject: invoice}, then: [{redirect: a@example.net}]}\n"


def rules(text: str) -> RuleSet:
    account = "host: localhost, security: none, username: me@example.test, password: {env: X}"
    smtp = "smtp: {host: localhost, security: none}"
    parsed = config.parse(f"accounts:\n  work: {{{account}, {smtp}}}\nrules:\n{text}")
    return RuleSet(rules_for(parsed.rules, "work", "INBOX"))


def both(new: str, old: str, about: Message | None = None) -> Both:
    answer = DecideBoth(rules(new), rules(old), SITUATION)((), about or message(), SITUATION)
    assert isinstance(answer, Both), answer
    return answer


@pytest.mark.parametrize(
    "new, old, differs",
    [
        (FILING, FILING, False),
        (FILING, FILING.replace("name: filing", "name: other"), False),
        (FILING, FILING.replace("invoice", "note"), True),
        (FILING, FILING.replace("X", "Y"), True),
        (FILING, FILING.replace("then", "dry_run: true, then"), True),
        (FILING, "  - {name: first, when: {subject: invoice}, stop: true}\n" + FILING, True),
        (FILING.replace("then: [{move: X}]", "stop: true"), FILING.replace("invoice", "note"), False),
        (FILING.replace("{move: X}", "{flag: A}, {flag: B}"), FILING.replace("{move: X}", "{flag: A}"), True),
    ],
)
def test_a_difference_is_in_what_is_done(new: str, old: str, differs: bool) -> None:
    """Not in what rules are called, nor in a rule that matches and changes nothing."""
    assert both(new, old).says_something is differs


def test_another_name_sends_once_more() -> None:
    """What is done once per message and rule is done again by a rule of another name."""
    assert both(FORWARDING % "sending", FORWARDING % "other").says_something


def test_what_either_needs_is_asked_together() -> None:
    """The facts that the two rule sets miss come as one answer: one FETCH brings both."""
    bare = Message(MessageKey("work", "INBOX", 1, 1), datetime(2026, 3, 1, tzinfo=UTC))
    decide = DecideBoth(rules(FILING), rules("  - {name: b, when: {seen: true}, then: [keep]}\n"), SITUATION)
    answer = decide((), bare, SITUATION)
    assert isinstance(answer, Needs) and answer.facts == {header_fact("subject"), FLAGS}
    body = DecideBoth(rules(FILING), rules("  - {name: b, when: {body: x}, then: [keep]}\n"), SITUATION)
    bare.facts[header_fact("subject")] = (b"invoice",)
    answer = body((), bare, SITUATION)
    assert isinstance(answer, Needs) and answer.facts == {BODY}


def test_what_one_cannot_judge_now_is_not_compared() -> None:
    """A passing cause in either leaves the message out of the comparison; nothing is guessed."""
    asking = "  - {name: b, when: {search: UNSEEN}, then: [keep]}\n"
    about = message(facts={search_fact("UNSEEN"): Unavailable("not now", passing=True)})
    for new, old in ((FILING, asking), (asking, FILING)):
        answer = DecideBoth(rules(new), rules(old), SITUATION)((), about, SITUATION)
        assert isinstance(answer, Deferred)


def test_each_trusts_its_own_servers() -> None:
    """`trusted_authserv` of the old file decides what its rules see."""
    raw = b"Authentication-Results: mx.example.org; dmarc=pass\r\nSubject: Invoice\r\n\r\nHi\r\n"
    text = "  - {name: a, when: {auth: {dmarc: pass}}, then: [{flag: A}]}\n"
    about = message(raw, trusted_authserv=["mx.example.org"])
    same = DecideBoth(rules(text), rules(text), SITUATION, ("mx.example.org",))((), about, SITUATION)
    other = DecideBoth(rules(text), rules(text), SITUATION, ("elsewhere.example",))((), about, SITUATION)
    assert isinstance(same, Both) and not same.says_something
    assert isinstance(other, Both) and other.says_something
