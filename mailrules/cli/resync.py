"""`mailrules resync`: go on with a journal that was put back from a copy."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mailrules.cli import output
from mailrules.cli.options import Common

if TYPE_CHECKING:
    from mailrules.adapters.store import Store
    from mailrules.state import Lock, State

CHOICES = (
    "say which mail is new to a journal that does not know it: with --baseline now none of what is there; "
    "with --since TIME what has come since then (--since 2h: the worker ended two hours ago)."
)


def command(
    common: Common,
    baseline: Annotated[
        Literal["now"] | None,
        typer.Option(metavar="now", help="All mail that has come until now counts as judged."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="Mail that has come since is judged: 2h, 7d, 2026-03-01T10:00."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> int:
    """Go on with a journal that was put back from a copy, and is older than the last one used. Asks first.

    Such a journal does not know what was sent since it was copied. So what can't be repeated and was still
    to be done becomes `unknown`, for you to decide; and mail that the journal does not know is judged only
    if it came at the time that you say, or later. Say --since with the time when the worker ended: what
    came before that was judged then.

    The worker must not run. What is done is written at once; the mailboxes are looked at by the next `run`.

    Example: mailrules resync --baseline now
    """
    from mailrules.adapters.store import Store, timestamp

    moment = _moment(baseline, since)
    state = common.locate()
    if not yes and (common.json or not sys.stdin.isatty()):
        output.note("mailrules resync: nobody can be asked here. --yes does it without asking.")
        return 2
    with _lock(state), Store.open(state.directory, put_back=True) as store:
        if not common.json:
            _say_before(store, moment)
        if not yes and not typer.confirm("Go on with this journal?"):
            output.say("Nothing was changed.")
            return 0
        done = store.resync(since=moment, at=datetime.now(UTC))
    if common.json:
        output.emit(
            {
                "since": timestamp(moment),
                "mailboxes": [{"account": account, "mailbox": name} for account, name in done.mailboxes],
                "unknown": list(done.unknown),
            }
        )
        return 0
    output.say("Done. `mailrules run` goes on.")
    if done.unknown:
        output.say("`mailrules log --state unknown` shows what may have happened since.", style="yellow")
    return 0


def _moment(baseline: str | None, since: str | None) -> datetime:
    """From when on mail is new. Raises BadParameter."""
    from mailrules.cli.plan import moment

    if (baseline is None) == (since is None):
        raise typer.BadParameter(CHOICES)
    now = datetime.now(UTC)
    # Servers date mail to the second.
    found = (now if since is None else moment(since).astimezone(UTC)).replace(microsecond=0)
    if found > now:
        raise typer.BadParameter(
            f"'{since}' has not come yet: mail until then would never be judged.", param_hint="--since"
        )
    return found


def _lock(state: State) -> Lock:
    """Raises StateLocked, and PermanentError where no journal was ever used."""
    from mailrules.adapters.store import GENERATION
    from mailrules.operations import LOCK_WAIT
    from mailrules.state import StateLocked

    if not state.exists and not (state.directory / GENERATION).exists():
        raise state.missing()
    try:
        return state.lock("resync", wait=LOCK_WAIT)
    except StateLocked as locked:
        raise StateLocked(f"{locked} Stop it first.", locked.holder) from None


def _say_before(store: Store, since: datetime) -> None:
    mailboxes = store.mailboxes()
    if not mailboxes:
        output.say(
            f"The journal {store.path} knows no mailbox: it is new. The next run takes the mail that is "
            "there as its baseline and leaves it alone; `mailrules apply --since` judges what came before."
        )
        return
    swept = max((row.last_sweep for row in mailboxes if row.last_sweep is not None), default=None)
    last = "" if swept is None else f", and last looked there on {output.moment(swept.isoformat())}"
    known = "1 mailbox" if len(mailboxes) == 1 else f"{len(mailboxes)} mailboxes"
    output.say(f"The journal {store.path} knows {known}{last}.")
    output.say(
        f"Mail it does not know is judged if it came since {output.moment(since.isoformat())}; "
        "older mail is left alone until `mailrules apply`."
    )
    doubtful = store.doubtful()
    if doubtful:
        output.say(
            f"{output.count(doubtful, 'effect')} that can't be repeated may have happened since: "
            "unknown from now on, for you to decide."
        )
