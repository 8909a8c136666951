"""Why a message was treated as it was then: what the log has, and the rules as they were.

What a rule did is in the log, and counts. Why another one did not is judged again: by the rules in force
then, at that moment, with the flags that the message had then; its text does not change.
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from mailrules.adapters.imap.mailbox import Mailbox
from mailrules.adapters.store import EffectRow, Met, RunRow, timestamp
from mailrules.config import rules_then
from mailrules.config.yaml_nodes import without_comments
from mailrules.core.decision import Decision, Deferred, Needs, RuleOutcome, Situation, explain, rules_for
from mailrules.core.message import FLAGS, HISTORY, Message, MessageKey
from mailrules.core.rule import Rule
from mailrules.house import House
from mailrules.judging.asking import NotAsking

AGAIN = ("apply", "schedule")
"""Runs that judge mail which was judged before."""
_WORDS = {
    "new": "new mail",
    "once": "new mail",
    "sweep": "new mail",
    "apply": "apply",
    "schedule": "schedule",
}


@dataclass(frozen=True, slots=True)
class RuleThen:
    """One rule as it was. `changed`: against the file of today; None: nobody knows what it was."""

    name: str
    text: str
    changed: bool | None
    why: str = ""  # in words, how it has changed
    difference: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Then:
    """One pass that did something to the message, or planned it.

    `outcomes`: of all rules in force then, in their order, as far as they are known.
    `judged_again`: whether those that left nothing in the log were judged again, and `note` says how.
    """

    run: int
    kind: str
    at: datetime
    mailbox: str
    uid: int
    outcomes: tuple[RuleOutcome, ...]
    rules: Mapping[str, RuleThen]
    effects: tuple[EffectRow, ...]
    judged_again: bool
    note: str

    @property
    def words(self) -> str:
        return _WORDS.get(self.kind, self.kind)

    def as_json(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "kind": self.kind,
            "time": timestamp(self.at),
            "mailbox": self.mailbox,
            "uid": self.uid,
            "judged_again": self.judged_again,
            "note": self.note,
            "rules": [self._rule(outcome) for outcome in self.outcomes],
            "actions": [
                {
                    "id": row.id,
                    "rule": row.rule,
                    "action": row.action,
                    "arguments": dict(row.arguments),
                    "state": "running" if row.state in ("intent", "copied", "commit") else row.state,
                    "because": row.detail.get("because") or row.detail.get("error"),
                    "undone": row.undone,
                }
                for row in self.effects
            ],
        }

    def _rule(self, outcome: RuleOutcome) -> dict[str, Any]:
        known = self.rules.get(outcome.rule)
        return {
            "name": outcome.rule,
            "matched": outcome.matched,
            "reason": outcome.reason,
            "because": outcome.because or None,
            "conditions": [trace.as_json() for trace in outcome.traces],
            "recorded": any(row.rule == outcome.rule for row in self.effects),
            "text": known.text if known is not None else None,
            "changed": known.changed if known is not None else None,
        }


@dataclass(slots=True)
class Retrospect:
    """What the journal of a house says of one message after another."""

    house: House
    scripts: bool = False  # whether script conditions may be run
    _sets: dict[str, tuple[Rule, ...]] = field(default_factory=dict)

    def of(self, account: str, identity: str, box: Mailbox | None, uid: int | None) -> list[Then]:
        """Every pass that left something in the log for a message, the oldest first.

        `box` and `uid`: where it is now; without them nothing is judged again.
        """
        store = self.house.store
        passes: dict[tuple[int, MessageKey], list[EffectRow]] = defaultdict(list)
        for row in store.effects_of(account, identity):
            if row.undoes is None and row.rule:
                key = MessageKey(row.account, row.mailbox, row.uidvalidity, row.uid)
                passes[row.run, key].append(row)
        met = {
            MessageKey(m.account, m.mailbox, m.uidvalidity, m.uid): m
            for m in (store.met(account, identity=identity) if passes else ())
        }
        runs = store.runs(run for run, _ in passes)
        return [
            self._then(runs[run], key, rows, met.get(key), box, uid)
            for (run, key), rows in passes.items()
            if run in runs
        ]

    def _then(
        self,
        run: RunRow,
        key: MessageKey,
        rows: Sequence[EffectRow],
        met: Met | None,
        box: Mailbox | None,
        uid: int | None,
    ) -> Then:
        rules = self._rules(run.rules_hash)
        judged: Decision | str = "the message is not there any more"
        if rules is None:
            judged = "the rules of then were not kept"
        elif box is not None and uid is not None:
            judged = self._judge(run, key, rules, met, box, uid)
        again = isinstance(judged, Decision)
        note = (
            "from the log; the conditions are judged again now, over the message as it is now, at the time "
            "and with the flags of then"
            if again
            else f"from the log alone: {judged}"
        )
        outcomes = judged.outcomes if isinstance(judged, Decision) else ()
        return Then(
            run=run.id, kind=run.kind, at=rows[0].created_at, mailbox=key.mailbox, uid=key.uid,
            outcomes=_with_recorded(outcomes, rows), rules=self._texts(rows, rules or ()),
            effects=tuple(rows), judged_again=again, note=note,
        )  # fmt: skip

    def _rules(self, rules_hash: str) -> tuple[Rule, ...] | None:
        """The rules of then; None: they were not kept."""
        config = self.house.config
        if rules_hash == config.text_hash:
            return config.rules
        if rules_hash not in self._sets:
            text = self.house.store.rule_text(rules_hash, "")
            if text is None:
                return None
            self._sets[rules_hash] = rules_then.rules_of(text, config)
        return self._sets[rules_hash]

    def _judge(
        self, run: RunRow, key: MessageKey, rules: Sequence[Rule], met: Met | None, box: Mailbox, uid: int
    ) -> Decision | str:
        house = self.house
        again = run.kind in AGAIN
        then = rules_for(rules, key.account, key.mailbox, scheduled=run.kind == "schedule")
        situation = replace(house.situation(key.account, key.mailbox, again=again), paused=frozenset())
        situation = replace(situation, account=replace(situation.account, paused=""))
        judge = replace(
            house.judge(key.account, key.mailbox, rules=then, situation=situation),
            decide=_as_then(key, met, again=again),
            trust_search=False,
            history=None,
            keep=True,
        )
        if not self.scripts:
            judge = replace(judge, sources={**judge.sources, "script": NotAsking()})
        judged = judge.judge(box, [uid], met.at if met is not None else run.started_at)
        if uid in judged.decisions:
            return judged.decisions[uid]
        return judged.deferred.get(uid, "the message can't be judged now")

    def _texts(self, rows: Sequence[EffectRow], rules: Sequence[Rule]) -> dict[str, RuleThen]:
        revisions = {rule.name: (rule.revision, rule.text) for rule in rules}
        revisions |= {row.rule: (row.revision, "") for row in rows}
        today = {rule.name: rule for rule in self.house.config.rules}
        found: dict[str, RuleThen] = {}
        for name, (revision, text) in revisions.items():
            kept = self.house.store.rule_text(revision, name)
            found[name] = _compared(name, revision, text if kept is None else kept, today.get(name))
        return found


def _as_then(
    key: MessageKey, met: Met | None, *, again: bool
) -> Callable[[Sequence[Rule], Message, Situation], Decision | Needs | Deferred]:
    """`explain` of a message as it was: where it was, with its flags."""

    def decide(rules: Sequence[Rule], message: Message, situation: Situation) -> Decision | Needs | Deferred:
        facts = dict(message.facts)
        if met is not None and met.flags is not None:
            facts[FLAGS] = met.flags
        if not again:
            facts[HISTORY] = "new"
        return explain(rules, replace(message, key=key, facts=facts, memo={}), situation)

    return decide


def _with_recorded(outcomes: Sequence[RuleOutcome], rows: Sequence[EffectRow]) -> tuple[RuleOutcome, ...]:
    """What the log says of a rule counts, whatever judging it again says."""
    said: dict[str, RuleOutcome] = {}
    for row in rows:
        because = str(row.detail.get("because") or "")
        outcome = RuleOutcome(row.rule, True)
        if row.state == "held":
            outcome = replace(outcome, reason="paused", because=because)
        elif row.state == "skipped" and because.startswith("could not be judged"):
            outcome = RuleOutcome(row.rule, None, "unknown", because)
        elif row.state == "failed" and not row.rendered:
            outcome = replace(outcome, reason="failed", because=because)
        if row.rule not in said or outcome.reason is not None:
            said[row.rule] = outcome
    merged = [
        replace(said.pop(outcome.rule), traces=outcome.traces) if outcome.rule in said else outcome
        for outcome in outcomes
    ]
    return (*merged, *said.values())


def _compared(name: str, revision: str, text: str, now: Rule | None) -> RuleThen:
    if not text:
        return RuleThen(name, "", None, "what it was is not known")
    if now is None:
        return RuleThen(name, text, True, "it is not in the file any more")
    if now.revision == revision:
        return RuleThen(name, text, False)
    before, today = without_comments(text), without_comments(now.text)
    if before == today:
        return RuleThen(name, text, True, "a list that it uses has changed since")
    lines = tuple(line for line in difflib.ndiff(before, today) if line.startswith(("- ", "+ ")))
    return RuleThen(name, text, True, "it has changed since", lines)
