"""`mailrules log`: what was done, and what waits."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mailrules.cli import output
from mailrules.cli.options import Common
from mailrules.core.errors import did_you_mean
from mailrules.core.values import parse_duration

if TYPE_CHECKING:
    from mailrules.adapters.store import Store

POLL = 0.25
"""Seconds between two looks with --follow."""
FIRST = 10
"""Effects that --follow shows of what is there already, as `tail -f` does."""

_NOT_HERE = ("undoes", "because", "error", "destination", "to_uidvalidity")
"""Details that -v leaves out: other columns say them, or only a recovery asks."""

Many = list[str] | None


def since(text: str) -> datetime:
    """A moment out of `2h`, `2026-03-01` or an RFC 3339 time. Without a zone it is local."""
    try:
        return datetime.now(UTC) - parse_duration(text)
    except (ValueError, OverflowError):
        pass
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"'{text}' is neither a span (30m, 2h, 7d) nor a time (2026-03-01, 2026-03-01T10:00:00+01:00)."
        ) from None


def states_of(values: list[str]) -> tuple[tuple[str, ...], str | None]:
    """`--state` here means states of effects, and the state's directory where it can only be one."""
    from mailrules.adapters.store import STATES

    states: list[str] = []
    directory = None
    for value in values:
        if value in STATES:
            states.append(value)
        elif "/" in value or Path(value).is_dir():
            directory = value
        else:
            raise typer.BadParameter(
                f"'{value}' is no state: {', '.join(STATES)}. A directory is written with a slash: ./{value}"
            )
    return tuple(states), directory


def command(
    common: Common,
    *,
    since: Annotated[
        datetime | None,
        typer.Option(parser=since, metavar="2h|TIME", help="Only what changed since then."),
    ] = None,
    rule: Annotated[Many, typer.Option(help="Only of this rule. Repeat for more; so below.")] = None,
    account: Annotated[Many, typer.Option(help="Only of this account.")] = None,
    mailbox: Annotated[Many, typer.Option(help="Only of this mailbox.")] = None,
    action: Annotated[Many, typer.Option(help="Only this action: move, flag, forward, …")] = None,
    state: Annotated[
        Many,
        typer.Option(
            metavar="STATE", help="Only in this state: done, failed, held, …; or the state's DIRECTORY."
        ),
    ] = None,
    message_id: Annotated[str | None, typer.Option(help="Only of this message.")] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=0, help="Only the newest so many.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as things happen.")] = False,
) -> int:
    """Show the run log: each effect on each message, what became of it, and why.

    Example: mailrules log --since 2h --state failed
    """
    from mailrules.adapters.store import LogQuery

    states, directory = states_of(state or [])
    if directory is not None:
        common = replace(common, state=directory)
    if follow and limit is None and since is None:
        limit = FIRST
    query = LogQuery(
        since=since,
        rules=tuple(rule or ()),
        accounts=tuple(account or ()),
        mailboxes=tuple(mailbox or ()),
        actions=tuple(action or ()),
        states=states,
        message_id=message_id,
        limit=limit,
    )
    shown = 0
    with common.open_for_reading() as store:
        nobody = _nobody_knows(common, store, query.rules)
        for words in nobody:
            output.note(words, style="yellow")
        entries = store.follow(query, wait=_wait) if follow else store.log(query)
        lines = Lines(verbose=common.verbose > 0)
        for entry in entries:
            shown += 1
            if common.json:
                output.emit(entry)
            else:
                lines.show(entry)
    if not shown and not common.json and not nobody:
        output.note("nothing in the log" + (" that fits." if query != LogQuery() else " yet."))
    return 0


def _nobody_knows(common: Common, store: Store, rules: Sequence[str]) -> list[str]:
    """Of the rules that are asked for, what to say of those that neither the file has nor the journal."""
    names = common.names() if rules else None
    if names is None or not names.accounts:
        return []  # a file that can't be read may have them
    known = names.with_recorded(store)[0]
    return [
        f"there is no rule '{name}', neither in the file nor in the log.{did_you_mean(name, known)}"
        for name in dict.fromkeys(rules)
        if name not in known
    ]


def _wait() -> bool:
    sys.stdout.flush()
    time.sleep(POLL)
    return True


class Lines:
    """Log objects as lines for people; on a terminal under a line for each day."""

    def __init__(self, *, verbose: bool = False) -> None:
        self._verbose = verbose
        self._day = ""

    def show(self, entry: dict[str, Any]) -> None:
        """Print one."""
        terminal = output.console().is_terminal
        day, _, clock = output.moment(entry["time"]).partition(" ")
        if terminal and day != self._day:
            self._day = day
            output.line([(day, "bold")])
        reason = _reason(entry)
        output.line(
            [
                (clock if terminal else f"{day} {clock}", "dim"),
                (f" {entry['id']:>6} ", ""),
                (f"{entry['state']:<8}", output.STYLES[entry["state"]]),
                (f" {entry['rule'] or '–'}: {output.what(entry['action'], entry['arguments'])}", ""),
                (f" · {entry['account']}/{entry['mailbox']}", "dim"),
                (f" · {entry['subject'] or '(no subject)'}", ""),
                (f" · undone by {entry['undone']}" if entry["undone"] else "", "yellow"),
                (_undoes(entry), "yellow"),
                ("" if terminal or not reason else f" · {reason}", ""),
            ]
        )
        if terminal and reason:
            output.say(f"{'':16}{reason}", style=output.STYLES[entry["state"]])
        if self._verbose:
            which = f"run {entry['run']} uid {entry['uid']} {entry['message_id'] or ''}".rstrip()
            output.say(f"{'':16}{which}{_details(entry)}", style="dim")


def _details(entry: dict[str, Any]) -> str:
    """What else the journal knows of it; --json has even what only a recovery asks."""
    return "".join(
        f" · {'uid there' if key == 'to_uid' else key}: "
        + (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for key, value in entry["detail"].items()
        if key not in _NOT_HERE
    )


def _undoes(entry: dict[str, Any]) -> str:
    return f" · takes back {entry['detail']['undoes']}" if "undoes" in entry["detail"] else ""


def _reason(entry: dict[str, Any]) -> str:
    if entry["state"] in ("done", "running", "planned"):
        return ""
    detail = entry["detail"]
    return str(detail.get("error") or detail.get("because") or "")
