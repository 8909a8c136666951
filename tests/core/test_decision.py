"""mailrules.core.decision: which rules apply, in which order, and what keeps a message where it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from mailrules import config
from mailrules.core.decision import (
    AccountFacts,
    Decision,
    Deferred,
    Needs,
    Situation,
    as_json,
    decide,
    explain,
    rules_for,
)
from mailrules.core.message import HISTORY, Fact, Message, Unavailable, search_fact
from mailrules.core.offline import message_from_bytes
from mailrules.core.rule import Rule

NOW = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
MAIL = (
    b"From: Ann <ann@example.test>\r\nTo: bob@example.test\r\nSubject: Invoice 42\r\n"
    b"Message-ID: <a@b>\r\n\r\nHi\r\n"
)


def message(raw: bytes = MAIL, facts: dict[Fact, Any] | None = None, **options: Any) -> Message:
    made = message_from_bytes(raw, account="work", now=NOW, received=NOW, body_limit=100_000, **options)
    made.facts[HISTORY] = "new"
    made.facts.update(facts or {})
    return made


def parsed(rules: str) -> config.Config:
    text = (
        "accounts:\n  work: {host: localhost, security: none, username: me@example.test, "
        "password: {env: X}}\nrules:\n" + rules
    )
    return config.parse(text)


def decided(rules: str, msg: Message | None = None, **options: Any) -> Decision:
    answer = decide(
        rules_for(parsed(rules).rules, "work", "INBOX"),
        msg or message(),
        Situation(AccountFacts("work", special_use={"\\Archive": "Archive"}), **options),
    )
    assert isinstance(answer, Decision), answer
    return answer


def actions(decision: Decision, *states: str) -> list[tuple[str, str]]:
    return [(e.rule, e.action) for e in decision.effects if e.state in (states or ("planned",))]


def test_every_matching_rule_acts_and_leaving_comes_last() -> None:
    """Effects run in the order of rules and of `then`, but a message leaves its mailbox last."""
    decision = decided(
        "  - {name: a, when: always, then: [{flag: $A}]}\n"
        "  - {name: b, when: {subject: invoice}, then: [{move: X}, {flag: $B}]}\n"
    )
    assert actions(decision) == [("a", "flag"), ("b", "flag"), ("b", "move")]


def test_stop_and_leaving_end_the_list() -> None:
    """After `stop: true`, or once a rule takes the message out, no later rule acts."""
    for first in ("then: [{flag: $A}], stop: true", "then: [{move: X}]", "then: [archive]"):
        decision = decided(
            f"  - {{name: a, when: always, {first}}}\n  - {{name: b, when: always, then: [{{flag: $B}}]}}\n"
        )
        assert {rule for rule, _ in actions(decision)} == {"a"}, first


def test_copy_and_stop_alone_do_not_take_the_message_out() -> None:
    """copy leaves the message where it is; a rule may consist of `stop` alone."""
    decision = decided(
        "  - {name: a, when: always, then: [{copy: X}]}\n"
        "  - {name: b, when: {subject: invoice}, stop: true}\n"
        "  - {name: c, when: always, then: [{flag: $C}]}\n"
    )
    assert actions(decision) == [("a", "copy")]


def test_later_rules_see_flags_that_earlier_rules_set() -> None:
    """A flag set by rule 1 is seen by rule 2, one cleared is gone."""
    decision = decided(
        "  - {name: a, when: {seen: false}, then: [{flag: flagged}, {unflag: $Old}]}\n"
        "  - {name: b, when: {flagged: true}, then: [{flag: $B}]}\n"
        "  - {name: c, when: {keyword: $Old}, then: [{flag: $C}]}\n",
        message(flags=frozenset({"$Old"})),
    )
    assert [rule for rule, _ in actions(decision)] == ["a", "a", "b"]


def test_an_unknown_rule_does_not_act_and_keeps_the_message_here() -> None:
    """A rule that can't be judged does not act, and no later rule may take the message out."""
    decision = decided(
        "  - {name: a, when: {search: FROM x}, then: [{flag: $A}]}\n"
        "  - {name: b, when: always, then: [{flag: $B}, {move: X}]}\n"
        "  - {name: c, when: always, then: [{flag: $C}]}\n",
        message(facts={search_fact("FROM x"): Unavailable("refused")}),
    )
    assert actions(decision) == [("b", "flag"), ("c", "flag")]
    assert actions(decision, "skipped") == [("a", "flag"), ("b", "move")]
    assert decision.outcomes[0].matched is None and decision.outcomes[0].reason == "unknown"


def test_a_passing_cause_leaves_the_message_for_later() -> None:
    """Where a fact may be had later, the whole message stays unjudged."""
    rules = parsed("  - {name: a, when: {search: FROM x}, then: [{flag: $A}]}\n").rules
    msg = message(facts={search_fact("FROM x"): Unavailable("busy", passing=True)})
    assert decide(rules, msg, Situation(AccountFacts("work"))) == Deferred("busy")


def test_missing_facts_are_asked_for_only_where_they_decide() -> None:
    """`decide` names the facts it needs, and needs none that can't change the outcome."""
    rules = parsed(
        "  - {name: a, when: {subject: nothing, search: FROM x}, then: [{flag: $A}]}\n"
        "  - {name: b, when: {subject: invoice, search: FROM y}, then: [{flag: $B}]}\n"
    ).rules
    msg = message()
    msg.facts.pop(search_fact("FROM x"), None)
    msg.facts.pop(search_fact("FROM y"), None)
    assert decide(rules, msg, Situation(AccountFacts("work"))) == Needs(frozenset([search_fact("FROM y")]))


def test_a_template_that_fails_leaves_the_message_where_it_is() -> None:
    """A rule whose template can't be rendered has no effects; the journal lets nothing leave before it."""
    decision = decided(
        "  - {name: a, when: always, then: [{flag: $A}, {move: 'Lists/{{ message.list_id }}'}]}\n"
        "  - {name: b, when: always, then: [{flag: $B}, {move: X}]}\n"
    )
    assert actions(decision, "failed") == [("a", "move")]
    assert actions(decision) == [("b", "flag"), ("b", "move")], "the move waits for the failed one"


def test_dry_run_rules_change_nothing() -> None:
    """A rule with dry_run neither changes the message, nor stops, nor takes it out."""
    decision = decided(
        "  - {name: a, when: always, then: [{flag: flagged}, {move: X}], stop: true, dry_run: true}\n"
        "  - {name: b, when: {flagged: false}, then: [{flag: $B}]}\n"
        "  - {name: c, when: always, then: [{flag: $C}]}\n"
    )
    assert actions(decision) == [("b", "flag"), ("c", "flag")]
    assert actions(decision, "would") == [("a", "flag"), ("a", "move")]


def test_a_dry_run_rule_holds_up_nobody() -> None:
    """Where it can't be rendered or judged, now or ever, the message goes its way, and the log says why."""
    decision = decided(
        "  - {name: a, when: always, then: [{move: 'Lists/{{ message.list_id }}'}], dry_run: true}\n"
        "  - {name: b, when: {search: FROM x}, then: [{flag: $B}], dry_run: true}\n"
        "  - {name: c, when: {search: FROM y}, then: [{flag: $C}], dry_run: true}\n"
        "  - {name: d, when: always, then: [{move: X}]}\n",
        message(
            facts={
                search_fact("FROM x"): Unavailable("busy", passing=True),
                search_fact("FROM y"): Unavailable("refused"),
            }
        ),
    )
    assert actions(decision) == [("d", "move")]
    (skipped,) = [e for e in decision.effects if e.state == "skipped"]
    assert skipped.rule == "a" and skipped.because.startswith("dry run: it would fail: ")
    assert [e.is_hit for e in decision.effects] == [False, True]
    assert [(o.rule, o.reason) for o in decision.outcomes if o.reason] == [("b", "unknown"), ("c", "unknown")]


def test_under_settings_dry_run_all_rules_act_on_a_simulated_message() -> None:
    """With dry_run for everything, stop and leaving count, and every effect is `would`."""
    decision = decided(
        "  - {name: a, when: always, then: [{move: X}]}\n  - {name: b, when: always, then: [{flag: $B}]}\n",
        dry_run=True,
    )
    assert [(e.rule, e.state) for e in decision.effects] == [("a", "would")]


def test_paused_rules_match_and_stop_and_their_effects_are_held() -> None:
    """A paused rule still matches and still stops; what it would do is held."""
    decision = decided(
        "  - {name: a, when: always, then: [{flag: $A}], stop: true}\n"
        "  - {name: b, when: always, then: [{flag: $B}]}\n",
        paused=frozenset({"a"}),
    )
    assert [(e.rule, e.state) for e in decision.effects] == [("a", "held")]


def test_disabled_rules_do_nothing() -> None:
    """`enabled: false` switches a rule off."""
    assert not decided("  - {name: a, when: always, then: [{flag: $A}], enabled: false}\n").effects


def test_what_came_back_is_left_alone_unless_a_rule_says_otherwise() -> None:
    """A message that we took away, and that is here again, is touched only by on_return: apply."""
    rules = (
        "  - {name: a, when: always, then: [{flag: $A}]}\n"
        "  - {name: b, when: always, then: [{flag: $B}], on_return: apply}\n"
    )
    assert actions(decided(rules, message(facts={HISTORY: "returned"}))) == [("b", "flag")]
    assert actions(decided(rules, message(facts={HISTORY: "ours"}))) == []
    again = decided(rules, message(facts={HISTORY: "returned"}), again=True)
    assert actions(again) == [("a", "flag"), ("b", "flag")]


def test_history_is_asked_only_of_messages_that_are_acted_on() -> None:
    """What the journal knows of a message is asked for when a rule would act, not before."""
    rules = parsed("  - {name: a, when: {subject: nothing}, then: [{flag: $A}]}\n").rules
    msg = message()
    del msg.facts[HISTORY]
    assert isinstance(decide(rules, msg, Situation(AccountFacts("work"))), Decision)
    rules = parsed("  - {name: a, when: {subject: invoice}, then: [{flag: $A}]}\n").rules
    assert decide(rules, msg, Situation(AccountFacts("work"))) == Needs(frozenset([HISTORY]))


def test_rules_look_only_at_their_accounts_and_mailboxes() -> None:
    """accounts and mailboxes narrow a rule; INBOX is the same in any case; scheduled rules skip new mail."""
    rules = parsed(
        "  - {name: a, when: always, then: [keep], mailboxes: [inbox]}\n"
        "  - {name: b, when: always, then: [keep], mailboxes: ['Team/*']}\n"
        "  - {name: c, when: always, then: [keep], accounts: [work]}\n"
        "  - {name: d, when: always, then: [keep], schedule: {every: 1h}}\n"
        "  - {name: e, when: always, then: [keep], schedule: {every: 1h}, on_new: true}\n"
    ).rules
    assert [r.name for r in rules_for(rules, "work", "INBOX")] == ["a", "c", "e"]
    assert [r.name for r in rules_for(rules, "home", "Team/A")] == ["b", "e"]
    assert [r.name for r in rules_for(rules, "work", "INBOX", scheduled=True)] == ["a", "c", "d", "e"]


def test_explain_has_the_shape_of_the_contract() -> None:
    """JSON of `explain`: rules with reasons and condition trees, then actions in order of effect."""
    rules = parsed(
        "  - {name: a, when: {subject: invoice, larger_than: 10MB}, then: [{flag: $A}]}\n"
        "  - {name: b, when: {subject: invoice}, unless: {from: '@spam.example'},"
        " then: [{mark: read}, archive]}\n"
        "  - {name: c, when: always, then: [{flag: $C}]}\n"
    ).rules
    answer = explain(rules, message(), Situation(AccountFacts("work"), again=True))
    assert isinstance(answer, Decision)
    json = as_json(answer)
    a, b, c = json["rules"]
    assert (a["matched"], a["reason"]) == (False, None)
    assert [(x["condition"], x["matched"]) for x in a["conditions"]] == [
        ("subject", True),
        ("larger_than", False),
    ]
    assert (b["matched"], b["reason"]) == (True, None)
    assert [x["condition"] for x in b["conditions"]] == ["subject", "not"]
    assert b["conditions"][1]["matched"] is True and b["conditions"][1]["children"][0]["matched"] is False
    assert (c["matched"], c["reason"]) == (None, "left")
    assert json["actions"] == [
        {"rule": "b", "action": "flag", "arguments": {"flags": ["\\Seen"]}},
        {"rule": "b", "action": "archive", "arguments": {"mailbox": None, "special_use": "\\Archive"}},
    ]


def test_what_is_the_same_for_every_message_is_made_once() -> None:
    """Thousands of messages that one rule moves share their effects; what mail has a part in is their own."""
    rules = parsed(
        "  - {name: a, when: {subject: a}, then: [{flag: $A}, {move: There}]}\n"
        "  - {name: b, when: {subject: b}, then: [{copy: 'Lists/{{ message.subject }}'}]}\n"
    ).rules
    situation = Situation(AccountFacts("work"), again=True)

    def effects(subject: str, chosen: Sequence[Rule] = rules, where: Situation = situation) -> Any:
        answer = decide(chosen, message(b"Subject: %s\r\n\r\n" % subject.encode()), where)
        assert isinstance(answer, Decision), answer
        return answer.effects

    assert effects("a")[1] is effects("a")[1]
    assert [e.arguments for e in (*effects("b1"), *effects("b2"))] == [
        {"mailbox": "Lists/b1"}, {"mailbox": "Lists/b2"}
    ]  # fmt: skip
    changed = parsed("  - {name: a, when: {subject: a}, then: [{move: Elsewhere}]}\n").rules
    assert [e.arguments for e in effects("a", changed)] == [{"mailbox": "Elsewhere"}]
    assert [e.state for e in effects("a", rules, replace(situation, dry_run=True))] == ["would", "would"]
    held = Situation(AccountFacts("work"), again=True, paused=frozenset(["a"]))
    assert [e.state for e in effects("a", rules, held)] == ["held", "held"]
