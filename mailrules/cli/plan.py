"""`mailrules plan`: what `apply` would do to the mail that is there now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mailrules.cli import output
from mailrules.cli.options import Common
from mailrules.core.safe import cut

if TYPE_CHECKING:
    from mailrules.config import Config

SAMPLES = 3

RuleOption = Annotated[list[str] | None, typer.Option("--rule", help="Only this rule (again for more).")]
AccountOption = Annotated[list[str] | None, typer.Option("--account", help="Only this account.")]
MailboxOption = Annotated[
    list[str] | None, typer.Option("--mailbox", help="This mailbox instead of the watched ones.")
]
SinceOption = Annotated[
    str | None, typer.Option("--since", help="Only mail that came since: 2h, 7d, 2026-03-01.")
]
ScheduledOption = Annotated[bool, typer.Option("--scheduled", help="With the rules that have a schedule.")]


def command(
    common: Common,
    rule: RuleOption = None,
    mailbox: MailboxOption = None,
    since: SinceOption = None,
    account: AccountOption = None,
    scheduled: ScheduledOption = False,
) -> int:
    """Show what the rules would do to the mail that is there now. Changes nothing.

    Example: mailrules plan --mailbox INBOX --since 7d
    """
    from mailrules.serving import exit_status

    config = common.load()
    arguments = selection(rule, mailbox, since, account, scheduled) | {"traced": common.json}
    result = show(plan_events(common, config, arguments), json=common.json)
    if not common.json:
        say_result(result, did=False)
        if result["summary"]["matched"] and not result["errors"]:
            output.say("Nothing was changed. `mailrules apply` does it.", style="dim")
    return exit_status(result)


def selection(
    rules: list[str] | None,
    mailboxes: list[str] | None,
    since: str | None,
    accounts: list[str] | None,
    scheduled: bool,
) -> dict[str, Any]:
    """The options as a request carries them."""
    return {
        "rules": rules or [],
        "accounts": accounts or [],
        "mailboxes": mailboxes or [],
        "since": moment(since).isoformat() if since else None,
        "scheduled": scheduled,
    }


def moment(text: str) -> datetime:
    """`2h`, `7d`, or a date or time (local, if it names no zone). Raises typer.BadParameter."""
    from mailrules.core.values import parse_duration

    try:
        return datetime.now(UTC) - parse_duration(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        raise typer.BadParameter(
            f"'{text}' is neither a span (2h, 7d) nor a date (2026-03-01, 2026-03-01T10:00).",
            param_hint="--since",
        ) from None


def plan_events(common: Common, config: Config, arguments: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """Judge what is there, with the journal if there is one: what is paused shows as held."""
    from mailrules.adapters.store import Store
    from mailrules.house import House
    from mailrules.serving import as_events, planner_of

    with ExitStack() as stack:
        state = common.locate(config)
        store = None
        if state.exists:
            store = stack.enter_context(Store.open(state.directory, read_only=True))
        planner = planner_of(House(config, store), arguments)
        yield from as_events(planner, planner.plan())


class Samples:
    """Per rule: how many messages, and the first few."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = defaultdict(int)
        self.first: dict[str, list[tuple[str, str, str]]] = defaultdict(list)

    def add(self, event: Mapping[str, Any]) -> None:
        planned = event["planned"]
        for rule in (r["name"] for r in planned["rules"] if r["matched"] and r["reason"] != "returned"):
            self.counts[rule] += 1
            if len(self.first[rule]) < SAMPLES:
                effects = [
                    output.what(a["action"], a["arguments"]) for a in planned["actions"] if a["rule"] == rule
                ] or event["troubles"].get(rule, ["nothing"])
                self.first[rule].append(
                    (event["sender"] or "?", event["subject"] or "(no subject)", ", ".join(effects))
                )

    def say(self) -> None:
        for rule, count in self.counts.items():
            output.line([(rule, "bold"), (f"  {count} message{'s' if count != 1 else ''}", None)])
            for sender, subject, effects in self.first[rule]:
                output.line([(f"  {cut(sender, 28):28}  {subject}", None)])
                output.say(f"      → {effects}", style="cyan")
            if count > SAMPLES:
                output.line([(f"  … and {count - SAMPLES} more", "dim")])


def show(events: Iterable[Mapping[str, Any]], *, json: bool, samples: bool = True) -> dict[str, Any]:
    """Show events as they come, with a progress bar on a terminal. Returns the result, the last event."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    found = Samples()
    result: dict[str, Any] = {}
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=output.console(stderr=True),
        transient=True,
        disable=json or not output.console(stderr=True).is_terminal,
    ) as bar:
        tasks: dict[tuple[str, ...], Any] = {}
        for event in events:
            if "planned" in event:
                found.add(event)
                if json:
                    output.emit(event["planned"])
            elif "progress" in event:
                at = event["progress"]
                key = (at["account"], at["mailbox"], at["phase"])
                if key not in tasks:
                    words = f"{at['account']}/{at['mailbox']} {at['phase']}"
                    tasks[key] = bar.add_task(cut(words, 36), total=at["total"])
                bar.update(tasks[key], completed=at["done"], total=at["total"])
            else:
                result = event["result"]
    if json:
        output.emit({"summary": result["summary"]})
        for error in (*result["errors"], *result["braked"]):
            output.note(error)
    elif samples:
        found.say()
    return result


def say_result(result: Mapping[str, Any], *, did: bool) -> None:
    """The last lines, for people."""
    summary = result["summary"]
    words = f"{output.count(summary['messages'], 'message')} looked at, {summary['matched']} matched."
    output.say(words)
    counted = result["states"] if did else summary["effects"]
    if counted:
        output.say(
            ("Effects: " if did else "Would do: ")
            + ", ".join(f"{count} {name}" for name, count in sorted(counted.items()))
            + "."
        )
    if result["deferred"]:
        output.note(f"{result['deferred']} messages could not be judged now.", style="yellow")
    for braked in result["braked"]:
        output.note(braked, style="yellow")
    for error in result["errors"]:
        output.note(error, style="red")
