"""`mailrules plan`: what `apply` would do to the mail that is there now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from mailrules.cli import output
from mailrules.cli.options import Common
from mailrules.cli.planned import Samples, say_created, say_difference, say_result
from mailrules.cli.progress import follow

if TYPE_CHECKING:
    from mailrules.ahead import Ahead
    from mailrules.config import Config

INTERRUPTED = 130

RuleOption = Annotated[list[str] | None, typer.Option("--rule", help="Only this rule (again for more).")]
AccountOption = Annotated[list[str] | None, typer.Option("--account", help="Only this account.")]
MailboxOption = Annotated[
    list[str] | None, typer.Option("--mailbox", help="This mailbox instead of the watched ones.")
]
SinceOption = Annotated[
    str | None, typer.Option("--since", help="Only mail that came since: 2h, 7d, 2026-03-01.")
]
ScheduledOption = Annotated[bool, typer.Option("--scheduled", help="With the rules that have a schedule.")]
AfreshOption = Annotated[
    bool,
    typer.Option("--afresh", help="Look again at mail that `apply` has seen and that no rule matched."),
]
SaveOption = Annotated[
    Path | None,
    typer.Option("--save", metavar="FILE", help="Keep the plan: `mailrules apply FILE` does just that."),
]
AgainstOption = Annotated[
    Path | None,
    typer.Option(
        "--against", metavar="OLD.yaml", help="Only messages that these rules would treat differently."
    ),
]


def command(
    common: Common,
    rule: RuleOption = None,
    mailbox: MailboxOption = None,
    since: SinceOption = None,
    account: AccountOption = None,
    scheduled: ScheduledOption = False,
    against: AgainstOption = None,
    save: SaveOption = None,
    afresh: AfreshOption = False,
) -> int:
    """Show what the rules would do to the mail that is there now. Changes nothing.

    Example: mailrules plan --mailbox INBOX --since 7d

    Keep it, look at it, do it: mailrules plan --save monday.plan

    What does my change change? mailrules plan --against rules.old.yaml
    """
    from mailrules.watching.serving import exit_status

    config = common.load()
    arguments = selection(rule, mailbox, since, account, scheduled) | {
        "traced": common.json,
        "afresh": afresh,
    }
    if against is not None:
        if save is not None:
            raise typer.BadParameter("a difference is no plan: leave out --against.", param_hint="--save")
        return _difference(common, config, arguments, against)
    with ExitStack() as stack:
        file = None
        if save is not None:
            from mailrules.planning.planfile import new_file

            file = stack.enter_context(new_file(save))
        result = show(
            plan_events(common, config, arguments, keep=file),
            config,
            json=common.json,
            verbose=common.verbose > 0,
        )
        if result["stopped"]:
            output.note("Stopped: only part of the mail was looked at. Nothing was changed.", style="yellow")
            raise typer.Exit(INTERRUPTED)  # from in here, so that no file is kept
    if not common.json:
        say_result(result, did=False)
    if save is not None:
        if result["errors"]:
            output.note("What could not be asked is not in the plan.", style="yellow")
        output.note(
            f"The plan is in {save}. `mailrules apply {save}` does it, and nothing else.", style="dim"
        )
    elif not common.json and result["summary"]["matched"] and not result["errors"]:
        if result["dry"]:
            words = "Nothing was changed, nor would `mailrules apply`: all of it is a dry run."
        else:
            words = "Nothing was changed. `mailrules apply` does it."
        output.say(words, style="dim")
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


def plan_events(
    common: Common, config: Config, arguments: Mapping[str, Any], *, keep: BinaryIO | None = None
) -> Iterable[Mapping[str, Any]]:
    """Judge what is there, with the journal if there is one: what is paused shows as held.

    `keep`: a file the plan is written to as it is made.
    """
    from mailrules.ahead import begun

    with ExitStack() as stack:
        ahead = stack.enter_context(begun(config, arguments, read_only=True))
        # What takes the longest to import, while the server answers.
        from mailrules import clock
        from mailrules.planning.planfile import PlanWriter
        from mailrules.planning.planner import Planner
        from mailrules.watching.serving import as_events, selection_of

        chosen = selection_of(arguments)
        writer = None
        if keep is not None:
            writer = PlanWriter(keep, config=config, selection=chosen, made=clock.now())
        planner = Planner(_house(common, config, stack, ahead), chosen)
        yield from as_events(planner, planner.plan(), keep=writer)


def _house(common: Common, config: Config, stack: ExitStack, ahead: Ahead | None = None) -> Any:
    from mailrules import garbage
    from mailrules.adapters.store import Store
    from mailrules.house import House

    garbage.working()
    state = common.locate(config)
    store = None
    if state.exists:
        store = stack.enter_context(Store.open(state.directory, read_only=True))
    return House(config, store, ahead=ahead)


def _difference(common: Common, config: Config, arguments: Mapping[str, Any], against: Path) -> int:
    from mailrules import config as configuration
    from mailrules.planning.comparing import Comparison
    from mailrules.watching.serving import as_events, exit_status, selection_of

    old = configuration.load(against)

    def take(event: Mapping[str, Any]) -> None:
        if common.json:
            output.emit(event["compared"])
        else:
            say_difference(event)

    with ExitStack() as stack:
        planner = Comparison(_house(common, config, stack), old, selection_of(arguments))
        for name in planner.only_old:
            output.note(f"Account '{name}' is only in {against}: it is not looked at.", style="yellow")
        if old.settings.body_limit != config.settings.body_limit:
            output.note(f"Text is read as far as {config.path} says (body_limit).", style="yellow")
        result = follow(as_events(planner, planner.plan()), take, verbose=common.verbose > 0)
    if common.json:
        output.emit({"summary": result["summary"]})
        say_troubles(result)
    else:
        summary = result["summary"]
        if result["looked"] or not result["errors"]:
            differ = output.count(summary["matched"], "message")
            output.say(f"{differ} of {summary['messages']} would be treated differently.")
        for name, many in sorted(summary["rules"].items()):
            output.say(f"  rule '{name}': matches only in one of them, {output.count(many, 'message')}")
        if result["deferred"]:
            output.note(f"{result['deferred']} messages could not be judged now.", style="yellow")
        say_troubles(result)
    return INTERRUPTED if result["stopped"] else exit_status(result)


def say_troubles(result: Mapping[str, Any]) -> None:
    """What went wrong, beside what a program reads."""
    for trouble in (*result["errors"], *result["braked"]):
        output.note(trouble)


def show(
    events: Iterable[Mapping[str, Any]],
    config: Config,
    *,
    json: bool,
    did: bool = False,
    verbose: bool = False,
) -> dict[str, Any]:
    """Show a plan as it is made, with a progress bar on a terminal. Returns the result, the last event.

    `did`: it is done at once, so that the brakes speak for themselves.
    """
    found = Samples(order=[rule.name for rule in config.rules], accounts=len(config.accounts))

    def take(event: Mapping[str, Any]) -> None:
        if "planned" not in event:
            return
        if json:
            output.emit(event["planned"])
        else:
            found.add(event)

    result = follow(events, take, verbose=verbose)
    result["dry"] = found.dry > 0 and found.dry == sum(result["summary"]["effects"].values())
    if json:
        output.emit({"summary": result["summary"]})
        for line in () if did else result["brakes"]:
            output.note(line)
        say_troubles(result)
    else:
        found.say()
        say_created(
            result["created"], allowed=config.settings.create_mailboxes, accounts=len(config.accounts)
        )
        if result["brakes"] and not did:
            output.say("Brakes:", style="yellow")
            for line in result["brakes"]:
                output.say(f"  {line}")
    return result
