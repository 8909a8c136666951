"""`mailrules test`: the file's tests, judged as mail is judged, without a server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mailrules import clock
from mailrules.core.actions.base import PlannedEffect, RenderContext
from mailrules.core.decision import (
    Decision,
    as_json,
    protectors,
    rules_for,
)
from mailrules.core.errors import MailrulesError, PermanentError, RenderError
from mailrules.core.message import Message, MissingFact, UnknownFact
from mailrules.core.offline import without_server
from mailrules.core.rule import Rule
from mailrules.explaining.offline import decide_alone

if TYPE_CHECKING:
    from mailrules.config import Account, Config
    from mailrules.config.tests import Expected, RuleTest
    from mailrules.core.fixture import Fixture

_TELLING = ("special_use", "mailbox", "flags", "labels", "to", "run", "url", "text")
"""What says most of an action: the first of these that it has is compared, whatever is written."""


@dataclass(frozen=True, slots=True)
class Action:
    """An action in long form, as SPEC section 8 has it."""

    action: str
    arguments: Mapping[str, Any]
    rule: str | None = None
    """Whose it is; of an expected one that is not said."""

    def as_json(self) -> dict[str, Any]:
        return {"action": self.action, "arguments": dict(self.arguments)}


@dataclass(frozen=True, slots=True)
class Result:
    """How one test ended. Without a `problem` the message was judged; then `decision` says how.

    `wrong`: the rules to be looked at, because they or their actions are not as expected.
    """

    test: RuleTest
    problem: str = ""
    message: Message | None = None
    decision: Decision | None = None
    expected: tuple[Action, ...] | None = None
    got: tuple[Action, ...] = ()
    wrong: tuple[str, ...] = ()
    missing: tuple[Action, ...] = ()
    surplus: tuple[Action, ...] = ()
    order: bool = False  # the actions are those expected, in another order

    @property
    def rules(self) -> tuple[str, ...]:
        return self.decision.matched if self.decision is not None else ()

    @property
    def rules_differ(self) -> bool:
        return self.test.rules is not None and sorted(self.test.rules) != sorted(self.rules)

    @property
    def passed(self) -> bool:
        actions_differ = bool(self.missing or self.surplus or self.order)
        return not (self.problem or self.rules_differ or actions_differ)

    def as_json(self) -> dict[str, Any]:
        expected = None if self.expected is None else [action.as_json() for action in self.expected]
        failed = self.decision is not None and not self.passed
        return {
            "test": self.test.name,
            "passed": self.passed,
            "problem": self.problem or None,
            "file": self.test.place.file,
            "line": self.test.place.line,
            "column": self.test.place.column,
            "expected": {
                "rules": None if self.test.rules is None else list(self.test.rules),
                "actions": expected,
            },
            "got": {"rules": list(self.rules), "actions": [action.as_json() for action in self.got]},
            "explanation": as_json(self.decision)["rules"] if failed and self.decision is not None else None,
        }


def run(config: Config, tests: Iterable[RuleTest]) -> Iterator[Result]:
    """Judge each test's message and compare. Raises nothing for a test that fails."""
    for test in tests:
        try:
            yield _run(config, test)
        except MailrulesError as error:
            yield Result(test, problem=str(error))


def untouched(config: Config, results: Iterable[Result]) -> list[str]:
    """The enabled rules that match in none of these tests."""
    touched = {rule for result in results for rule in result.rules}
    return [rule.name for rule in config.rules if rule.enabled and rule.name not in touched]


def _run(config: Config, test: RuleTest) -> Result:
    if test.problem:
        return Result(test, problem=test.problem)
    account = account_of(config, test.message)
    now = (test.at or clock.now()).astimezone(UTC)
    message, decision = judge(config, test.message, now=now, rule=test.rule)
    got = tuple(_got(effect) for effect in decision.effects if effect.state in ("planned", "held", "would"))
    expected = None
    missing: tuple[Action, ...] = ()
    surplus: tuple[Action, ...] = ()
    order = False
    if test.actions is not None:
        # Leaving comes last, wherever it is written.
        listed = sorted(test.actions, key=lambda one: one.action.leaves)
        wanted = [(one, _rendered(one, message, config, account)) for one in listed]
        expected = tuple(
            replace(action, arguments={key: action.arguments[key] for key in _keys(one, action)})
            for one, action in wanted
        )
        missing, surplus, order = _compare(wanted, got)
    names = {*(test.rules or ())} ^ {*decision.matched} if test.rules is not None else set()
    names |= {action.rule for action in surplus if action.rule is not None}
    if missing and not names:
        names = {o.rule for o in decision.outcomes if o.matched or o.reason in ("unknown", "failed")}
    wrong = tuple(outcome.rule for outcome in decision.outcomes if outcome.rule in names)
    return Result(
        test, message=message, decision=decision, expected=expected, got=got, wrong=wrong,
        missing=missing, surplus=surplus, order=order,
    )  # fmt: skip


def account_of(config: Config, fixture: Fixture) -> Account | None:
    """The account that the message is in: the one it names, else the first, else none."""
    if fixture.account is not None:
        return config.accounts.get(fixture.account)
    return next(iter(config.accounts.values()), None)


def judge(
    config: Config, fixture: Fixture, *, now: datetime, rule: str | None = None
) -> tuple[Message, Decision]:
    """The message and its decision, every condition traced, as `explain FILE` has it.

    `rule`: the run of a scheduled rule, which the earlier rules that `stop` have a say in (SPEC section 6).
    """
    account = account_of(config, fixture)
    name = account.name if account is not None else "-"
    asked = frozenset().union(*(one.facts() for one in config.rules))
    message = fixture.message(
        account=name,
        now=now,
        body_limit=config.settings.body_limit,
        trusted_authserv=tuple(account.trusted_authserv) if account is not None else (),
        asked=asked,
    )
    without_server(message, asked)
    rules = _rules(config.rules, name, fixture.mailbox, rule)
    return message, decide_alone(message, rules, config=config, account=account, again=rule is not None)


def _rules(rules: Sequence[Rule], account: str, mailbox: str, scheduled: str | None) -> tuple[Rule, ...]:
    if scheduled is None:
        return rules_for(rules, account, mailbox)
    own = [rule for rule in rules_for(rules, account, mailbox, scheduled=True) if rule.name == scheduled]
    return (*protectors(rules, own[0], account, mailbox), *own) if own else ()


# -- comparing ------------------------------------------------------------------------------------------
def _got(effect: PlannedEffect) -> Action:
    return Action(effect.action, effect.arguments, effect.rule)


def _rendered(expected: Expected, message: Message, config: Config, account: Account | None) -> Action:
    context = RenderContext(
        account=account.name if account is not None else "-",
        rule="",
        vars=account.vars if account is not None else {},
        address="",  # so that what is expected can be said, also where it would be refused
        timezone=config.settings.timezone_name,
    )
    try:
        action, arguments, _ = expected.action.render(message, context)
    except (RenderError, UnknownFact, MissingFact) as error:
        raise PermanentError(f"an expected action can't be: {error}") from None
    return Action(action, arguments)


def _compare(
    wanted: Sequence[tuple[Expected, Action]], got: Sequence[Action]
) -> tuple[tuple[Action, ...], tuple[Action, ...], bool]:
    """What is missing, what is too much, and whether only the order differs."""
    left = list(got)
    missing = []
    places = []
    for expected, action in wanted:
        found = next((one for one in left if _same(expected, action, one)), None)
        if found is None:
            missing.append(action)
        else:
            left.remove(found)
            places.append(next(place for place, one in enumerate(got) if one is found))
    order = not missing and not left and places != sorted(places)
    return tuple(missing), tuple(left), order


def _same(expected: Expected, action: Action, got: Action) -> bool:
    """Whether it is that action: what is written is compared, and what says most of it."""
    return action.action == got.action and all(
        _plain(key, action.arguments[key]) == _plain(key, got.arguments.get(key))
        for key in _keys(expected, action)
    )


def _keys(expected: Expected, action: Action) -> list[str]:
    """The arguments that are compared."""
    keys = [key for key in _TELLING if key in action.arguments][:1]
    written = next(iter(expected.written.values())) if isinstance(expected.written, dict) else None
    if isinstance(written, dict):
        keys += [key for key in written if key in action.arguments]
    return list(dict.fromkeys(keys))


def _plain(key: str, value: Any) -> Any:
    """Flags and recipients are sets; flags have no case."""
    if key in ("flags", "labels"):
        return sorted(str(flag).lower() for flag in value or ())
    if key == "to" and isinstance(value, list):
        return sorted(map(str, value))
    return value


# -- writing it down ------------------------------------------------------------------------------------
_WORDS = {"\\Archive": "archive", "\\Trash": "trash", "\\Junk": "junk"}
Form = dict[str, Any] | str


def short_form(action: Action) -> Form:
    """An action as one writes it in the file."""
    kind, arguments = action.action, action.arguments
    if arguments.get("special_use") in _WORDS:
        return _WORDS[arguments["special_use"]]
    if kind == "delete":
        return {"delete": "permanently"}
    if kind in ("flag", "unflag"):
        flags = [_flag_word(flag) for flag in arguments.get("flags", ())]
        return {kind: flags[0] if len(flags) == 1 else flags}
    told = next((key for key in _TELLING if arguments.get(key) is not None), None)
    if told is None:
        return kind
    value = arguments[told]
    return {kind: value[0] if told == "to" and isinstance(value, list) and len(value) == 1 else value}


def _flag_word(flag: str) -> str:
    return flag[1:].lower() if flag.startswith("\\") else flag
