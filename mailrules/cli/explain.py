"""`mailrules explain`: for messages, which rules match, which do not, and why."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mailrules.cli import output
from mailrules.cli.explained import header, show, show_found
from mailrules.cli.options import Common

if TYPE_CHECKING:
    from mailrules.config import Account, Config
    from mailrules.core.decision import Decision
    from mailrules.core.message import Message

FilesArgument = Annotated[
    list[Path] | None,
    typer.Argument(metavar="FILE.eml…", help="Messages; - is standard input.", show_default=False),
]
MailboxOption = Annotated[
    str | None,
    typer.Option("--mailbox", help="The mailbox it is in. Default: INBOX; on a server, the watched."),
]
AccountOption = Annotated[
    str | None, typer.Option("--account", help="The account it is in. Default: the first; on a server, all.")
]
UidOption = Annotated[int | None, typer.Option("--uid", help="The message of this UID on the server.")]
MessageIdOption = Annotated[
    str | None, typer.Option("--message-id", metavar="ID", help="Messages of this Message-ID on the server.")
]
FlagOption = Annotated[
    list[str] | None, typer.Option("--flag", help="A flag it has: seen, flagged, $Todo (again for more).")
]
ReceivedOption = Annotated[
    str | None,
    typer.Option("--received", metavar="TIME", help="When it arrived. Default: as its Received line says."),
]

ScriptsOption = Annotated[bool, typer.Option("--scripts", help="Run the scripts that conditions ask.")]


def command(
    common: Common,
    files: FilesArgument = None,
    mailbox: MailboxOption = None,
    account: AccountOption = None,
    flag: FlagOption = None,
    received: ReceivedOption = None,
    uid: UidOption = None,
    message_id: MessageIdOption = None,
    scripts: ScriptsOption = False,
) -> int:
    """Say for messages which rules match, which do not, and why. Needs no server for files.

    Of a message in the log it says first why it was treated so then, by the rules as they were, and
    what has changed in them since.

    Examples: mailrules explain invoice.eml --flag seen
    mailrules explain --uid 4711 --account work --mailbox INBOX
    """
    if sum((bool(files), uid is not None, message_id is not None)) > 1:
        raise typer.BadParameter("only one of FILE.eml, --uid and --message-id.", param_hint="FILE.eml")
    if not files and uid is None and message_id is None:
        raise typer.BadParameter(
            "name a message: FILE.eml, or --uid, or --message-id.", param_hint="FILE.eml"
        )
    config = common.load()
    if not files:
        if flag or received:
            raise typer.BadParameter("the server says what flags it has and when it arrived.")
        return _on_server(common, config, account, mailbox, uid, message_id, scripts=scripts)
    from mailrules.explaining.offline import explain_bytes

    chosen = _account(config, account)
    moment = _moment(received) if received else None
    failed = False
    for file in files:
        try:
            raw = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        except OSError as error:
            hint = f" A message on the server is --uid {file}." if str(file).isdecimal() else ""
            output.note(f"{file}: {error.strerror or error}.{hint}", style="red")
            failed = True
            continue
        message, decision = explain_bytes(
            raw,
            config=config,
            account=chosen,
            mailbox=mailbox or "INBOX",
            flags=flag or (),
            received=moment,
            scripts=scripts,
        )
        if common.json:
            output.emit(as_json(message, decision, file=str(file)))
        else:
            show(
                message,
                decision,
                title=str(file),
                verbose=common.verbose > 0,
                schedules=_schedules(config),
            )
    return 1 if failed else 0


def _on_server(
    common: Common,
    config: Config,
    account: str | None,
    mailbox: str | None,
    uid: int | None,
    message_id: str | None,
    *,
    scripts: bool,
) -> int:
    from contextlib import ExitStack

    from mailrules.adapters.store import Store
    from mailrules.explaining.explain import explain_on_server
    from mailrules.house import House

    if uid is not None and account is None and len(config.accounts) > 1:
        raise typer.BadParameter("say which account: a UID means something in one mailbox only.")
    with ExitStack() as stack:
        state = common.locate(config)
        store = None
        if state.exists:
            store = stack.enter_context(Store.open(state.directory, read_only=True))
        for found in explain_on_server(
            House(config, store),
            accounts=[account] if account else [],
            mailboxes=[mailbox] if mailbox else [],
            uid=uid,
            message_id=message_id,
            scripts=scripts,
        ):
            if common.json:
                output.emit(found.as_json())
            else:
                show_found(found, verbose=common.verbose > 0, schedules=_schedules(config))
    return 0


def _schedules(config: Config) -> dict[str, str]:
    """When the rules run that do not look at new mail."""
    return {r.name: r.schedule.text for r in config.rules if r.schedule is not None and not r.on_new}


def as_json(message: Message, decision: Decision, *, file: str) -> dict[str, Any]:
    """SPEC section 8, JSON of `explain`."""
    from mailrules.core import decision as deciding

    return {
        "file": file,
        "account": message.key.account if message.key.account != "-" else None,
        "mailbox": message.key.mailbox,
        "message_id": header(message, "message-id") or None,
        **deciding.as_json(decision),
    }


# -- options --------------------------------------------------------------------------------------
def _account(config: Config, name: str | None) -> Account | None:
    if name is None:
        first = next(iter(config.accounts.values()), None)
        if first is not None and len(config.accounts) > 1:
            output.note(f"As in account '{first.name}'; --account NAME takes another.", style="dim")
        return first
    if name not in config.accounts:
        known = ", ".join(config.accounts) or "none"
        raise typer.BadParameter(f"there is no account '{name}'. Accounts: {known}.", param_hint="--account")
    return config.accounts[name]


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"'{text}' is not a time. Write it as 2026-03-01T10:00:00+01:00.", param_hint="--received"
        ) from None
