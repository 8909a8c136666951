"""`mailrules undo`: take back what was done."""

from __future__ import annotations

import shlex
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mailrules.cli import output
from mailrules.cli.acting import act
from mailrules.cli.log import since as moment
from mailrules.cli.options import Common
from mailrules.core.safe import cut

if TYPE_CHECKING:
    from mailrules.config import Config
    from mailrules.house import House

EACH = 20
"""So many effects are shown one by one; more of them counted."""
SAMPLES = 3


def command(
    common: Common,
    ids: Annotated[
        list[int] | None,
        typer.Argument(metavar="ID…", help="Effects, by their numbers in `mailrules log`."),
    ] = None,
    run: Annotated[
        int | None, typer.Option("--run", metavar="ID", help="All of this run, which `log -v` names.")
    ] = None,
    rule: Annotated[
        list[str] | None, typer.Option(help="Of this rule, with --since. Repeat for more; so below.")
    ] = None,
    message_id: Annotated[
        str | None, typer.Option(metavar="ID", help="All that was done to this message.")
    ] = None,
    account: Annotated[list[str] | None, typer.Option(help="Only in this account.")] = None,
    mailbox: Annotated[list[str] | None, typer.Option(help="Only what was done in this mailbox.")] = None,
    since: Annotated[
        datetime | None, typer.Option(parser=moment, metavar="2h|TIME", help="What was done since then.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(parser=moment, metavar="2h|TIME", help="What was done before then.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also what somebody or something else has moved on since.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be taken back.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> int:
    """Take back moves, copies and flags. Shows first what it will do, and asks.

    Flags are turned back only if the effect had changed them and nobody has since. A copy goes to the
    trash, if its original is there. A message that somebody has moved on is left, unless --force. What
    was sent or run can't be taken back, and is listed. An undo is in the log too, and can be undone.

    Example: mailrules undo --rule invoices --since 1h
    """
    if not ids and run is None and message_id is None and since is None:
        raise typer.BadParameter(
            "say what: effects by ID, --run, --message-id, or --rule NAME --since 1h. "
            "`mailrules log` shows what was done."
        )
    config = common.load()
    arguments = {
        "ids": ids or [],
        "run": run,
        "rules": rule or [],
        "message_id": message_id,
        "accounts": account or [],
        "mailboxes": mailbox or [],
        "since": since.isoformat() if since else None,
        "until": until.isoformat() if until else None,
        "force": force,
    }
    if dry_run:
        return _exit_status(_show(_preview(common, config, arguments), json=common.json, did=False))
    if not yes:
        if common.json or not sys.stdin.isatty():
            output.note("mailrules undo: nobody can be asked here. --yes does it without asking.")
            return 2
        preview = _show(_preview(common, config, arguments), json=False, did=False)
        if not any(preview["summary"][what] for what in ("undone", "dropped", "begun")):
            return _exit_status(preview)
        if not typer.confirm("Take it back?"):
            output.say("Nothing was changed.")
            return 0
    events = act(common, config, "undo", arguments, by=_undo, new=False)
    return _exit_status(_show(events, json=common.json, did=True, brief=not yes))


def _preview(common: Common, config: Config, arguments: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What it would do, with a look at the mail that is there. Changes nothing."""
    from mailrules.adapters.store import Store
    from mailrules.house import House
    from mailrules.watching.serving import undoer_of

    state = common.locate(config)
    if not state.exists:
        raise state.missing()
    with Store.open(state.directory, read_only=True) as store:
        yield from undoer_of(House(config, store), arguments).plan()


def _undo(house: House, arguments: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    from mailrules.watching.serving import undoer_of

    return undoer_of(house, arguments).undo()


# -- for people -----------------------------------------------------------------------------------
def _show(
    events: Iterable[Mapping[str, Any]], *, json: bool, did: bool, brief: bool = False
) -> dict[str, Any]:
    """Show events as they come, with a progress bar on a terminal. Gives the result, the last event."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    taken: list[Mapping[str, Any]] = []
    result: dict[str, Any] = {}
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        console=output.console(stderr=True),
        transient=True,
        disable=json or not output.console(stderr=True).is_terminal,
    ) as bar:
        tasks: dict[str, Any] = {}
        for event in events:
            if "undo" in event:
                taken.append(event["undo"])
                if json:
                    output.emit(event["undo"])
            elif "progress" in event:
                at = event["progress"]
                if at["account"] not in tasks:
                    tasks[at["account"]] = bar.add_task(cut(at["account"], 36), total=at["total"])
                bar.update(tasks[at["account"]], completed=at["done"])
            else:
                result = event["result"]
    if json:
        output.emit({"summary": result["summary"]})
    else:
        if not brief:
            _show_taken(taken)
        _say_result(result, did=did)
    for error in result["errors"]:
        output.note(error, style="red")
    for rule in result["returning"]:
        output.note(
            f"Rule '{rule}' acts again on what is put back (on_return: apply). "
            f"`mailrules pause {shlex.quote(rule)}` stops it.",
            style="yellow",
        )
    return result


def _show_taken(taken: Sequence[Mapping[str, Any]]) -> None:
    """What is taken back, from where to where; and what is not, and why."""
    back = [each for each in taken if each["undo"] is not None]
    dropped = [each for each in taken if each["dropped"]]
    begun = [each for each in taken if each["begun"]]
    left = [each for each in taken if not (each["undo"] or each["dropped"] or each["begun"])]
    if back and len(back) <= EACH:
        cells = [
            (
                str(each["id"]),
                cut(output.what(each["action"], each["arguments"]), 20),
                cut(output.what(each["undo"]["action"], each["undo"]["arguments"]), 20),
                cut(each["undo"]["mailbox"], 12),
            )
            for each in back
        ]
        heads = ("ID", "TAKES BACK", "BY", "IN")
        widths = [max(map(len, column)) + 2 for column in zip(heads, *cells, strict=True)]
        room = max(8, output.console().width - sum(widths))  # what is left for the subject
        output.table(
            (*heads, "MESSAGE"),
            [
                (*row, cut(each["subject"] or "(no subject)", min(room, 200)))
                for row, each in zip(cells, back, strict=True)
            ],
            right=("ID",),
        )
    elif back:
        groups: dict[tuple[str, str, str], int] = defaultdict(int)
        for each in back:
            undo = each["undo"]
            did = output.what(each["action"], each["arguments"])
            groups[did, output.what(undo["action"], undo["arguments"]), undo["mailbox"]] += 1
        output.table(
            ("EFFECTS", "TAKES BACK", "BY", "IN"),
            [
                (count, cut(did, 24), cut(by, 24), cut(where, 16))
                for (did, by, where), count in groups.items()
            ],
            right=("EFFECTS",),
        )
    for each in back[:EACH]:
        if each["because"]:
            output.say(f"{each['id']}: {each['because']}.", style="yellow")
    if left:
        some = back or dropped or begun
        output.say("Left as it is:" if some else "Nothing can be taken back:", style="yellow")
    reasons: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for each in left:
        reasons[each["action"], each["because"] or ""].append(each)
    for (action, because), those in list(reasons.items())[:EACH]:
        numbers = ", ".join(str(each["id"]) for each in those[:SAMPLES])
        more = f" and {len(those) - SAMPLES} more" if len(those) > SAMPLES else ""
        output.say(f"  {action} ({numbers}{more}): {because}.")
    if len(reasons) > EACH:
        output.say(f"  … and others for {len(reasons) - EACH} more reasons; --json has them all.")


def _say_result(result: Mapping[str, Any], *, did: bool) -> None:
    summary = result["summary"]
    if not summary["effects"]:
        output.say("Nothing in the log fits: there is nothing to take back.")
        return
    words = [f"{output.count(summary['undone'], 'effect')} {'taken back' if did else 'to take back'}"]
    if summary["begun"]:
        words.append(f"{summary['begun']} in the midst: found out and finished first, then taken back")
    if summary["dropped"]:
        words.append(f"{summary['dropped']} never begun and {'dropped' if did else 'to be dropped'}")
    output.say(f"{', '.join(words)}, {summary['left']} left as they are.")
    others = {state: n for state, n in result["states"].items() if state != "done"}
    if others:
        output.say(", ".join(f"{n} {state}" for state, n in sorted(others.items())) + ".", style="yellow")
    if summary["run"] is not None:
        output.say(f"`mailrules undo --run {summary['run']}` does it again.", style="dim")


def _exit_status(result: Mapping[str, Any]) -> int:
    """0 fine; 75 a server could not be asked now; 1 something else went wrong."""
    if {"failed", "unknown"} & result["states"].keys() or (result["errors"] and not result["passing"]):
        return 1
    return 75 if result["errors"] or result["states"].get("later") else 0
