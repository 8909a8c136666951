"""Which rules apply to a message, and what is to be done: SPEC section 4, pure.

`decide` walks the rules top to bottom over the message as the rules before left it, and answers a
Decision, or the facts that could still change it (Needs), or that it can't be judged now (Deferred).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import takewhile
from typing import Any, Literal

from mailrules.core.actions.base import DRY_RUN, NOT_JUDGED, Action, PlannedEffect, RenderContext
from mailrules.core.conditions.base import Trace, Verdict
from mailrules.core.conditions.logic import All
from mailrules.core.errors import Declined, RenderError
from mailrules.core.message import FLAGS, GMAIL_LABELS, HISTORY, Fact, Message, MissingFact, UnknownFact
from mailrules.core.rule import Rule, account_named
from mailrules.core.ruleset import RuleSet

Change = Callable[[frozenset[str], Mapping[str, Any]], frozenset[str]]
Reason = Literal["unknown", "stop", "left", "disabled", "paused", "returned", "failed"]


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """What deciding needs of an account and of the settings."""

    name: str
    address: str = ""
    addresses: tuple[str, ...] = ()  # others of its own
    vars: Mapping[str, str] = field(default_factory=dict)
    special_use: Mapping[str, str] | None = None  # None: no server is asked (`explain FILE`)
    timezone: str = "UTC"
    paused: str = ""  # why all effects here are held, or ""


@dataclass(frozen=True, slots=True)
class Situation:
    """What deciding needs beside rules and message.

    `again`: `apply` and schedules judge mail that was judged before; HISTORY is not asked.
    `dry_run`: all rules act on a simulated message, and every effect is `would`.
    `paused`: names of rules whose effects are held.
    """

    account: AccountFacts
    again: bool = False
    dry_run: bool = False
    paused: frozenset[str] = frozenset()
    rendered: dict[str, _Rendered] = field(default_factory=dict, init=False, compare=False, repr=False)
    """By the names of rules, what is the same for every message in this situation."""


@dataclass(frozen=True, slots=True)
class _Rendered:
    """What a rule that matches comes to."""

    rule: Rule
    outcome: RuleOutcome
    effects: Sequence[PlannedEffect]


@dataclass(frozen=True, slots=True)
class RuleOutcome:
    """What one rule came to. `matched` None: it was not, or could not be, judged (`reason` says why)."""

    rule: str
    matched: bool | None
    reason: Reason | None = None
    because: str = ""  # in words
    traces: tuple[Trace, ...] = ()  # only from `explain`


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome for one message: what each rule came to, and the effects in the order they run.

    Of a RuleSet, rules that can't match have no outcome here.
    """

    outcomes: tuple[RuleOutcome, ...]
    effects: tuple[PlannedEffect, ...]

    @property
    def matched(self) -> tuple[str, ...]:
        """Names of the rules that matched and act."""
        return tuple(o.rule for o in self.outcomes if o.matched and o.reason != "returned")

    @property
    def says_something(self) -> bool:
        """Whether anything is to be done or told: some rule matched, or could not be judged."""
        return bool(self.effects) or any(o.matched or o.reason == "unknown" for o in self.outcomes)


NOTHING = Decision((), ())
"""What most messages come to."""


@dataclass(frozen=True, slots=True)
class Needs:
    """Facts that could still change the decision."""

    facts: frozenset[Fact]


@dataclass(frozen=True, slots=True)
class Deferred:
    """It can't be judged now, for a passing reason: the message stays unjudged and is tried again."""

    reason: str


def rules_for(
    rules: Iterable[Rule], account: str, mailbox: str, *, scheduled: bool = False
) -> tuple[Rule, ...]:
    """The rules that look at new mail in this mailbox, in file order; with `scheduled`, also the others."""
    return tuple(
        rule
        for rule in rules
        if concerns(rule, account)
        and _mailbox_named(rule.mailboxes, mailbox)
        and (scheduled or rule.schedule is None or rule.on_new)
    )


def rules_explained(rules: Sequence[Rule], account: str, mailbox: str) -> tuple[Rule, ...]:
    """The rules that `explain` tells of, in file order: those for new mail, and the scheduled ones, which
    say whether they match and do nothing, since new mail does not meet them."""
    new = {rule.name for rule in rules_for(rules, account, mailbox)}
    return tuple(
        rule if rule.name in new else replace(rule, then=(), stop=False, dry_run=True)
        for rule in rules_for(rules, account, mailbox, scheduled=True)
    )


def protectors(rules: Iterable[Rule], rule: Rule, account: str, mailbox: str) -> tuple[Rule, ...]:
    """The earlier rules that keep mail from a scheduled one: enabled, unscheduled, and they `stop`.

    They do nothing themselves, and they protect what a person brought back, too.
    """
    earlier = takewhile(lambda other: other.name != rule.name, rules)
    return tuple(
        replace(other, then=(), on_return="apply")
        for other in rules_for(earlier, account, mailbox)
        if other.stop and other.enabled and not other.dry_run and other.schedule is None
    )


def concerns(rule: Rule, account: str) -> bool:
    """Whether a rule is for this account."""
    return account_named(rule.accounts, account)


def named_mailboxes(patterns: Iterable[str], listed: Sequence[str]) -> list[str]:
    """The mailboxes that a rule's `mailboxes` name: literal names, and those listed that a glob matches."""
    names: list[str] = []
    for pattern in patterns:
        if pattern in listed or not any(c in pattern for c in "*?["):
            names.append("INBOX" if pattern.upper() == "INBOX" else pattern)
        else:
            names += [name for name in listed if _mailbox_named((pattern,), name)]
    return list(dict.fromkeys(names))


def _mailbox_named(patterns: tuple[str, ...] | None, name: str) -> bool:
    # INBOX is case-insensitive (RFC 9051 section 5.1); other names are not.
    upper = "INBOX" if name.upper() == "INBOX" else name
    return patterns is None or any(
        fnmatchcase(upper, "INBOX" if pattern.upper() == "INBOX" else pattern) for pattern in patterns
    )


def decide(rules: Sequence[Rule], message: Message, situation: Situation) -> Decision | Needs | Deferred:
    """Judge one message by rules that `rules_for` chose. Pure; raises nothing for broken mail."""
    try:
        return _walk(rules, message, situation, traced=False)
    except MissingFact as missing:
        return Needs(frozenset([missing.fact]))
    except _Answer as answer:
        return answer.answer


def explain(rules: Sequence[Rule], message: Message, situation: Situation) -> Decision | Needs | Deferred:
    """The same decision, every condition of every rule traced whether it was needed or not."""
    try:
        return _walk(rules, message, situation, traced=True)
    except MissingFact as missing:
        return Needs(frozenset([missing.fact]))
    except _Answer as answer:
        return answer.answer


class _Answer(Exception):
    """Ends the walk early with Needs or Deferred."""

    def __init__(self, answer: Needs | Deferred) -> None:
        super().__init__(answer)
        self.answer = answer


def _walk(rules: Sequence[Rule], message: Message, situation: Situation, *, traced: bool) -> Decision:
    outcomes: list[RuleOutcome] = []
    staying: list[PlannedEffect] = []
    leaving: list[PlannedEffect] = []
    stuck = ""  # why the message may not leave its mailbox
    ended: Reason | None = None
    ended_by = ""
    # Explaining shows every rule; deciding needs only those that may match.
    walked = rules.candidates(message) if isinstance(rules, RuleSet) and not traced else rules
    for rule in walked:
        traces = _traces(rule, message) if traced else ()
        if not rule.enabled:
            outcomes.append(RuleOutcome(rule.name, None, "disabled", "switched off by `enabled`", traces))
            continue
        if ended is not None:
            if not traced:
                break
            outcomes.append(RuleOutcome(rule.name, None, ended, ended_by, traces))
            continue
        verdict = rule.when.judge(message)
        if verdict.needs:
            raise _Answer(Needs(verdict.needs))
        if verdict.truth is None:
            because = _unknown(verdict, defer=not rule.dry_run)
            outcomes.append(RuleOutcome(rule.name, None, "unknown", because, traces))
            if not rule.dry_run:
                stuck = stuck or f"rule '{rule.name}' could not be judged: {because}"
                staying.append(_not_judged(rule, because))
            continue
        if not verdict.truth:
            outcomes.append(RuleOutcome(rule.name, False, None, "", traces))
            continue
        if not situation.again:
            history = message.get(HISTORY)
            if history == "ours" or (history == "returned" and rule.on_return == "leave"):
                outcomes.append(RuleOutcome(rule.name, True, "returned", _HISTORY_WORDS[history], traces))
                continue
        known = situation.rendered.get(rule.name) if not traced else None
        if known is None or known.rule is not rule:
            known = _outcome(rule, message, situation, verdict, traces)
        effects = known.effects
        outcomes.append(known.outcome)
        simulated = not rule.dry_run or situation.dry_run
        left = False
        for effect, action in zip(effects, rule.then, strict=False):
            if not effect.leaves:
                staying.append(effect)
                if simulated and effect.state not in ("failed", "skipped"):
                    message = _after(message, action, effect)
            elif stuck and effect.state in ("planned", "held", "would") and simulated:
                staying.append(replace(effect, state="skipped", because=f"left where it is: {stuck}"))
            else:
                leaving.append(effect)
                left = simulated
        if left:
            ended, ended_by = "left", f"rule '{rule.name}' takes the message out of the mailbox"
        elif simulated and rule.stop:
            ended, ended_by = "stop", f"rule '{rule.name}' says stop"
    if not staying and not leaving and not outcomes:
        return NOTHING
    return Decision(tuple(outcomes), (*staying, *leaving))


def _outcome(
    rule: Rule, message: Message, situation: Situation, verdict: Verdict, traces: tuple[Trace, ...]
) -> _Rendered:
    """Of a rule that matches. Where it is the same for every message it is kept, and shared by them."""
    effects = _render(rule, message, situation, verdict)
    failed = next((e for e in effects if e.state == "failed"), None)
    paused = situation.account.paused or rule.name in situation.paused
    reason: Reason | None = "failed" if failed is not None else "paused" if paused else None
    outcome = RuleOutcome(rule.name, True, reason, failed.because if failed else "", traces)
    rendered = _Rendered(rule, outcome, effects)
    if not traces and failed is None and all(action.constant for action in rule.then):
        situation.rendered[rule.name] = rendered
    return rendered


_HISTORY_WORDS = {
    "ours": "mailrules itself put the message here",
    "returned": "mailrules took the message away before, and somebody brought it back",
}


def _not_judged(rule: Rule, because: str) -> PlannedEffect:
    """For the log: this rule did nothing here, and why."""
    return PlannedEffect(
        rule=rule.name, revision=rule.revision, step=0, action=rule.then[0].key if rule.then else "stop",
        arguments={}, leaves=False, once=False, state="skipped", because=f"{NOT_JUDGED}: {because}",
    )  # fmt: skip


def _unknown(verdict: Verdict, *, defer: bool) -> str:
    """Why it is unknown; a passing cause leaves the whole message for later, if it may."""
    for cause in verdict.causes:
        if cause.passing and defer:
            raise _Answer(Deferred(cause.reason))
    return "; ".join(dict.fromkeys(cause.reason for cause in verdict.causes)) or "unknown"


def _render(rule: Rule, message: Message, situation: Situation, verdict: Verdict) -> list[PlannedEffect]:
    account = situation.account
    context = RenderContext(
        account=account.name,
        rule=rule.name,
        match=verdict.groups,
        vars=account.vars,
        special_use=account.special_use,
        address=account.address,
        addresses=account.addresses,
        timezone=account.timezone,
    )
    state: Literal["planned", "held", "would"] = "planned"
    because = ""
    if rule.dry_run or situation.dry_run:
        state, because = "would", DRY_RUN
    elif account.paused or rule.name in situation.paused:
        state = "held"
        because = account.paused or f"rule '{rule.name}' is paused"
    effects: list[PlannedEffect] = []
    for step, action in enumerate(rule.then):
        try:
            name, arguments, target = action.render(message, context)
        except RenderError as error:
            return [_failing(rule, step, action, state, str(error))]
        except Declined as declined:
            effects.append(_nothing(rule, step, action, "skipped", str(declined)))
            continue
        except UnknownFact as unknown:
            if unknown.unavailable.passing and not rule.dry_run:
                raise _Answer(Deferred(unknown.unavailable.reason)) from None
            return [_failing(rule, step, action, state, unknown.unavailable.reason)]
        effects.append(
            PlannedEffect(
                rule=rule.name, revision=rule.revision, step=step, action=name, arguments=arguments,
                leaves=action.leaves, once=action.once, target=target, state=state, because=because,
                on_unknown="retry" if action.repeatable else rule.on_unknown,
            )
        )  # fmt: skip
    return effects


def _failing(rule: Rule, step: int, action: Action, state: str, because: str) -> PlannedEffect:
    """The one effect of a rule whose template can't be rendered. A dry run holds up nobody, and says so."""
    if state == "would":
        return _nothing(rule, step, action, "skipped", f"{DRY_RUN}: it would fail: {because}")
    return _nothing(rule, step, action, "failed", because)


def _nothing(
    rule: Rule, step: int, action: Action, state: Literal["failed", "skipped"], because: str
) -> PlannedEffect:
    """An action that does nothing with this message, and why."""
    return PlannedEffect(
        rule=rule.name, revision=rule.revision, step=step, action=action.key, arguments={}, leaves=False,
        once=action.once and state == "failed", state=state, because=because, on_unknown=rule.on_unknown,
    )  # fmt: skip


def _after(message: Message, action: Action, effect: PlannedEffect) -> Message:
    """The message as later rules see it."""
    # If no rule has read a flag, and a later one does, we are called again with them. So with labels.
    if FLAGS in message.facts and action.changes():
        message = _changed(message, FLAGS, action.change_flags, effect)
    if GMAIL_LABELS in message.facts:
        message = _changed(message, GMAIL_LABELS, action.change_labels, effect)
    return message


def _changed(message: Message, fact: Fact, change: Change, effect: PlannedEffect) -> Message:
    try:
        before = message.get(fact)
    except UnknownFact:
        return message
    after = change(before, effect.arguments)
    return message if after == before else message.with_fact(fact, after)


def _traces(rule: Rule, message: Message) -> tuple[Trace, ...]:
    """The conditions as the file lists them: the keys of `when`, then `not` for `unless`."""
    # Explaining shows every condition, also those that deciding could do without. Scripts are run only
    # where deciding asks for them.
    missing = frozenset(fact for fact in rule.when.facts() if fact.kind != "script" and not message.has(fact))
    if missing:
        raise _Answer(Needs(missing))
    trace = rule.when.trace(message)
    return trace.children if isinstance(rule.when, All) else (trace,)


def as_json(decision: Decision) -> dict[str, Any]:
    """`rules` and `actions` of SPEC section 8."""
    return {
        "rules": [
            {
                "name": outcome.rule,
                "matched": outcome.matched,
                "reason": outcome.reason,
                "conditions": [trace.as_json() for trace in outcome.traces],
            }
            for outcome in decision.outcomes
        ],
        "actions": [
            {"rule": e.rule, "action": e.action, "arguments": dict(e.arguments)}
            | ({"dry_run": True} if e.state == "would" and e.because == DRY_RUN else {})
            for e in decision.effects
            if e.state in ("planned", "held", "would")
        ],
    }
