"""How a message is explained to people: the rules and conditions as a tree, then what would be done."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mailrules.cli import output
from mailrules.core.safe import cut

if TYPE_CHECKING:
    from mailrules.core.conditions.base import Trace
    from mailrules.core.decision import Decision, RuleOutcome
    from mailrules.core.message import Message
    from mailrules.explaining.explain import Explained
    from mailrules.explaining.past import Then

_LONGEST_ARGUMENT = 70
_LONGEST_VALUE = 80


def show(
    message: Message,
    decision: Decision,
    *,
    title: str,
    verbose: bool,
    schedules: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """The tree of rules and conditions, then what would be done. `schedules`: rules that look at no new
    mail, and when they run."""
    key = message.key
    where = f"{key.account}/{key.mailbox}" if key.account != "-" else key.mailbox
    output.line([(title, "bold"), (f"  as in {where}", "dim")])
    for name in ("From", "Subject"):
        text = header(message, name.lower())
        if text:
            output.line([(f"  {name}: ", "dim"), (cut(text, 200), None)])
    for outcome in decision.outcomes:
        _show_rule(outcome, verbose=verbose, schedule=schedules.get(outcome.rule))
    _show_actions(decision)
    if message.has(_body_fact()) and getattr(message.facts[_body_fact()], "cut", False):
        output.line([("  only the first part of the text was judged (settings.body_limit)", "yellow")])
    output.line([("", None)])


def show_found(found: Explained, *, verbose: bool, schedules: Mapping[str, str]) -> None:
    """What the log says of a message, the oldest first, then what the rules say now."""
    for then in found.then:
        _show_then(found, then, verbose=verbose)
    if found.message is not None and found.decision is not None:
        now = ", now" if found.then else ""
        show(
            found.message,
            found.decision,
            title=f"UID {found.uid}{now}",
            verbose=verbose,
            schedules=schedules,
        )
        if not found.watched:
            output.say(f"  ({found.mailbox} is not watched: rules act there only by `apply`)", style="dim")
    else:
        output.say(
            f"The message is not where mailrules left it, and not at UID {found.uid} either.", style="yellow"
        )


def _show_then(found: Explained, then: Then, *, verbose: bool) -> None:
    when = output.moment(output.rfc3339(then.at))
    output.line(
        [
            (f"UID {then.uid}, then", "bold"),
            (f"  in {found.account}/{then.mailbox}, {when}, {then.words}, run {then.run}", "dim"),
        ]
    )
    if found.message is None and found.met is not None:
        for name, text in (("From", found.met.sender), ("Subject", found.met.subject)):
            if text:
                output.line([(f"  {name}: ", "dim"), (cut(text, 200), None)])
    for outcome in then.outcomes:
        _show_rule(outcome, verbose=verbose)
        rule = then.rules.get(outcome.rule)
        if rule is not None and rule.why:
            output.say(f"      {rule.why}", style="yellow")
            for line in rule.difference:
                output.say(f"      {line}", style="red" if line.startswith("-") else "green")
    arrow = "→" if _unicode() else "->"
    for row in then.effects:
        state = "running" if row.state in ("intent", "copied", "commit") else row.state
        undone = f", undone by {row.undone}" if row.undone is not None else ""
        what = output.what(row.action, row.arguments)
        output.line(
            [
                (f"  {arrow} ", output.STYLES.get(state)),
                (f"{row.id} {what}", output.STYLES.get(state)),
                (f"  ({row.rule})  {state}{undone}", "dim"),
            ]
        )
        because = row.detail.get("because") or row.detail.get("error")
        if because and state not in ("done", "running", "planned"):  # what held it up before is over
            output.say(f"      {because}", style="yellow")
    output.say(f"  ({then.note})", style="dim")
    output.line([("", None)])


def _show_rule(outcome: RuleOutcome, *, verbose: bool, schedule: str | None = None) -> None:
    words = {
        "stop": "not reached", "left": "not reached", "disabled": "disabled", "paused": "matches, paused",
        "failed": "matches, but fails",
        "unknown": "can't be judged", "returned": "matches, left alone",
    }  # fmt: skip
    matched = outcome.matched
    said = words.get(outcome.reason or "", "matches" if matched else "does not match")
    if schedule is not None and matched and not outcome.reason:
        said = f"matches; it acts on its schedule ({schedule})"
    because = f": {outcome.because}" if outcome.because else ""
    sign, style = _sign(matched)
    short = outcome.reason in ("stop", "left", "disabled", "paused")
    output.line(
        [(f"  {sign} ", style), (outcome.rule, "bold"), (f"  {said}{because if short else ''}", "dim")]
    )
    if because and not short:  # what has to be mended is never cut
        output.say(f"      {outcome.because}", style="yellow")
    if outcome.reason in ("stop", "left", "disabled") and not verbose:
        return
    for place, trace in enumerate(outcome.traces):
        _show_trace(trace, indent="    ", last=place == len(outcome.traces) - 1)


def _show_trace(trace: Trace, *, indent: str, last: bool) -> None:
    sign, style = _sign(trace.matched)
    branch, trunk = (("└ ", "  ") if last else ("├ ", "│ ")) if _unicode() else ("  ", "  ")
    parts: list[tuple[str, str | None]] = [
        (indent + branch, "dim"),
        (f"{sign} ", style),
        (trace.condition, None),
    ]
    if not trace.children and trace.condition != "always":
        parts.append((f": {cut(_flow(trace.argument), _LONGEST_ARGUMENT)}", None))
        if trace.because:
            parts.append((f"   {trace.because}", "yellow"))
        else:
            shown = "absent" if trace.value is None else _flow(trace.value)
            parts.append((f"   {cut(shown, _LONGEST_VALUE)}", "dim"))
    output.line(parts)
    for place, child in enumerate(trace.children):
        _show_trace(child, indent=indent + trunk, last=place == len(trace.children) - 1)


def _show_actions(decision: Decision) -> None:
    arrow = "→" if _unicode() else "->"
    shown = False
    for effect in decision.effects:
        style = output.STYLES.get(effect.state)
        state = "" if effect.state == "planned" else f"  {effect.state}"
        because = f": {effect.because}" if effect.because else ""
        output.line(
            [
                (f"  {arrow} ", style),
                (output.what(effect.action, effect.arguments), style),
                (f"  ({effect.rule}){state}", "dim"),
            ]
        )
        if because:
            output.say(f"      {effect.because}", style="yellow")
        shown = True
    if not shown:
        output.line([(f"  {arrow} nothing", "dim")])


def _sign(matched: bool | None) -> tuple[str, str]:
    signs = ("✓", "✗", "?") if _unicode() else ("+", "-", "?")
    if matched is None:
        return signs[2], "yellow"
    return (signs[0], "green") if matched else (signs[1], "red")


def _unicode() -> bool:
    return "utf" in (sys.stdout.encoding or "").lower()


def _flow(value: Any) -> str:
    """Plain data on one line, as one would write it in YAML."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        plain = value and value == value.strip() and not any(c in value for c in ":,#[]{}\"'\n")
        return value if plain else json.dumps(value[: 2 * _LONGEST_VALUE], ensure_ascii=False)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_flow(item) for item in _some(value)) + "]"
    return str(value)


def _some(values: Sequence[Any]) -> Iterator[Any]:
    yield from values[:10]
    if len(values) > 10:
        yield "…"


def header(message: Message, name: str) -> str:
    from mailrules.core.headers import decode

    values = message.header(name)
    return decode(values[0]) if values else ""


def _body_fact() -> Any:
    from mailrules.core.message import BODY

    return BODY
