"""`mailrules apply`: the rules over the mail that is there now."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from mailrules.cli import output
from mailrules.cli.acting import act
from mailrules.cli.options import Common
from mailrules.cli.plan import (
    INTERRUPTED,
    AccountOption,
    AfreshOption,
    MailboxOption,
    RuleOption,
    ScheduledOption,
    SinceOption,
    plan_events,
    say_troubles,
    selection,
    show,
)
from mailrules.cli.planned import LeftOut, Samples, finished_first, say_result
from mailrules.cli.progress import follow

if TYPE_CHECKING:
    from mailrules.config import Config
    from mailrules.house import House
    from mailrules.planning.planfile import SavedPlan

MOST_RUNS = 3
"""Runs that are named in how to take them back."""


def command(
    common: Common,
    plan: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="Do this plan of `plan --save`.", show_default=False),
    ] = None,
    rule: RuleOption = None,
    mailbox: MailboxOption = None,
    since: SinceOption = None,
    account: AccountOption = None,
    scheduled: ScheduledOption = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    over_brakes: Annotated[
        bool, typer.Option("--over-brakes", help="Even if more than half of a mailbox would leave it.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Also send and run once more what was sent and run before.")
    ] = False,
    afresh: AfreshOption = False,
) -> int:
    """Do what `plan` shows: judge all the mail that is there, and act on it. Asks first.

    What was shown is what is done: a message that changes meanwhile is left out, and named.

    It can be stopped with Ctrl-C at any moment; what was done is in the log, and the next `apply` or
    `run` goes on from there.

    Example: mailrules apply --rule invoices --since 30d

    A plan that was kept, and nothing else: mailrules apply monday.plan
    """
    config = common.load()
    _same_rules(common, config)
    if plan is not None:
        if rule or mailbox or since or account or scheduled or again or afresh:
            raise typer.BadParameter("a kept plan says itself what is done to which mail.", param_hint="FILE")
        return _kept(common, config, plan, yes=yes, over_brakes=over_brakes)
    arguments = selection(rule, mailbox, since, account, scheduled)
    arguments |= {"traced": common.json, "again": again, "afresh": afresh}
    if yes:
        request = arguments | {"over_brakes": over_brakes}
        events = act(common, config, "apply", request, by=_apply, ahead=True)
        result = show(events, config, json=common.json, did=True, verbose=common.verbose > 0)
        _say_finished(common, result)
        return _end(common, result, "mailrules apply")
    if _nobody_to_ask(common):
        return 2
    with tempfile.TemporaryFile() as file:
        planned = show(
            plan_events(common, config, arguments, keep=file), config, json=False, verbose=common.verbose > 0
        )
        if planned["stopped"]:
            output.say("Stopped. Nothing was changed.")
            return INTERRUPTED
        say_result(planned, did=False)
        if planned["dry"]:
            output.say("All of it is a dry run: only the log will have it.", style="dim")
        if not planned["summary"]["matched"] or not _agreed():
            output.say("Nothing was changed.")
            return _status(planned)
        return _do(common, config, file, "what was shown", over_brakes=over_brakes, again="mailrules apply")


def _same_rules(common: Common, config: Config) -> None:
    """A running worker acts by the rules that it has read. Raises PermanentError if the file has others."""
    from mailrules import control
    from mailrules.core.errors import PermanentError

    client = control.connect(common.locate(config))
    if client is None:
        return
    for event in client.request("rules"):
        if event["rules_hash"] != config.text_hash:
            raise PermanentError(
                f"the running worker has other rules than {config.path}. `mailrules reload` has it read them."
            )


def _nobody_to_ask(common: Common) -> bool:
    if common.json or not sys.stdin.isatty():
        output.note("mailrules apply: nobody can be asked here. --yes does it without asking.")
        return True
    return False


def _agreed() -> bool:
    try:
        return typer.confirm("Do it?")
    except typer.Abort:  # Ctrl-C, or the end of what is typed
        output.say("")
        return False


def _kept(common: Common, config: Config, path: Path, *, yes: bool, over_brakes: bool) -> int:
    """`apply FILE`."""
    from mailrules.planning.planfile import SavedPlan

    if not path.is_file():
        raise typer.BadParameter(f"there is no file {path}.", param_hint="FILE")
    with path.open("rb") as file:
        saved = SavedPlan(file, str(path))
        if not yes:
            if _nobody_to_ask(common):
                return 2
            _say_plan(saved, config)
            if not saved.messages or not _agreed():
                output.say("Nothing was changed.")
                return 0
        _say_changes(saved, config)
        return _do(common, config, file, str(path), over_brakes=over_brakes, again=f"mailrules apply {path}")


def _say_plan(saved: SavedPlan, config: Config) -> None:
    found = Samples(order=[rule.name for rule in config.rules], accounts=len(config.accounts))
    for section in saved.sections:
        for planned in saved.read(section):
            told = planned.identity
            found.add({"planned": planned.as_json(), "sender": told.sender, "subject": told.subject})
    found.say()
    made = output.moment(saved.made.isoformat())
    output.say(f"A plan of {made}: {output.count(saved.messages, 'message')}.")


def _say_changes(saved: SavedPlan, config: Config) -> None:
    """Which rules that act in the plan say something else now."""
    today = {rule.name: rule.revision for rule in config.rules}
    changes = [
        f"rule '{name}' {'has changed' if name in today else 'is gone'}"
        for name, revision in saved.revisions.items()
        if today.get(name) != revision
    ]
    if changes:
        whose = "its" if len(changes) == 1 else "their"
        output.note(
            f"Since this plan was made, {' and '.join(changes)}: {whose} messages are left out.",
            style="yellow",
        )


def _do(common: Common, config: Config, file: BinaryIO, name: str, *, over_brakes: bool, again: str) -> int:
    left = LeftOut(every=common.verbose > 0)

    def take(event: Mapping[str, Any]) -> None:
        if "left_out" in event:
            left.add(event)
            if common.json:
                output.emit({"left_out": event["left_out"]})
        elif common.json and "planned" in event:
            output.emit(event["planned"])

    request = {"over_brakes": over_brakes, "name": name, "file": file.fileno()}
    result = follow(act(common, config, "apply", request, by=_apply), take, verbose=common.verbose > 0)
    if common.json:
        output.emit({"summary": result["summary"]})
        say_troubles(result)
    finished = _say_finished(common, result)
    if not common.json:
        left.say(finished=finished)
    return _end(common, result, again, kept=True)


def _say_finished(common: Common, result: Mapping[str, Any]) -> bool:
    """Say what was left of earlier runs, if anything was, and is finished now."""
    words = finished_first(result, did=True)
    if words:
        (output.note if common.json else output.say)(words)
    return bool(words)


def _end(common: Common, result: Mapping[str, Any], again: str, *, kept: bool = False) -> int:
    """The last words, and the exit status."""
    if not common.json:
        say_result(result, did=True, kept=kept)
    left = result.get("left") or {}
    earlier = _undo_of_earlier(left.get("runs", ())) if left.get("messages") else ""
    if result["stopped"]:
        begun = _begun(result)
        does = "the rest" if begun else "it"
        undo = _undo_of(result["runs"] if begun else (), "what is done")
        output.note(f"{_stopped(result)} `{again}` does {does}{undo}.{earlier}", style="yellow")
        return INTERRUPTED
    if not common.json and (result["states"] or earlier):
        runs = result["runs"] if result["states"].get("done") else ()
        output.say(f"`mailrules log` has them all{_undo_of(runs, 'them')}.{earlier}", style="dim")
    return _status(result)


def _undo_of_earlier(runs: Sequence[int]) -> str:
    """The same of what was left of earlier runs and is finished now: with all else that they did."""
    if not 0 < len(runs) <= MOST_RUNS:
        return ""
    words = " and ".join(f"`mailrules undo --run {run}`" for run in runs)
    takes, those = ("takes", "that run") if len(runs) == 1 else ("take", "those runs")
    return f" What was left: {words} {takes} back all of {those}."


def _undo_of(runs: Sequence[int], what: str) -> str:
    """How it is taken back, while the runs are few."""
    if not 0 < len(runs) <= MOST_RUNS:
        return ""
    words = " and ".join(f"`mailrules undo --run {run}`" for run in runs)
    return f", {words} {'takes' if len(runs) == 1 else 'take'} {what} back"


def _begun(result: Mapping[str, Any]) -> bool:
    """Whether anything was. What a worker that does it was left at is known by what it told."""
    return bool(result["begun"] if "begun" in result else result["runs"])


def _stopped(result: Mapping[str, Any]) -> str:
    """How far it came."""
    if not _begun(result):
        return "Stopped: nothing had been begun."
    done, of = result["acting"]
    found = f"{output.count(of, 'message')} found"
    if "begun" not in result:
        return (
            f"Stopped: of {found}, {done} were through when the worker last told. It finishes what else "
            "it has begun, and begins no more."
        )
    begun, unfinished = result["begun"], result["unfinished"]
    return (
        f"Stopped: of {found}, {begun - unfinished} are through, {unfinished} are begun and not finished, "
        f"{of - begun} are not begun."
    )


def _status(result: Mapping[str, Any]) -> int:
    from mailrules.watching.serving import exit_status

    return exit_status(result)


def _apply(house: House, arguments: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    from mailrules.watching.serving import apply

    return apply(house, arguments)
