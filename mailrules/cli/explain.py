"""`mailrules explain`: for messages, which rules match, which do not, and why."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from mailrules.cli import output
from mailrules.cli.options import Common
from mailrules.core.safe import cut

if TYPE_CHECKING:
    from mailrules.config import Account, Config
    from mailrules.core.conditions.base import Trace
    from mailrules.core.decision import Decision, RuleOutcome
    from mailrules.core.message import Fact, Message, Question
    from mailrules.explaining import Explained
    from mailrules.past import Then

_LONGEST_ARGUMENT = 70
_LONGEST_VALUE = 80
_FLAGS = {"seen": "\\Seen", "flagged": "\\Flagged", "answered": "\\Answered", "draft": "\\Draft",
          "deleted": "\\Deleted"}  # fmt: skip

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
            show(message, decision, title=str(file), verbose=common.verbose > 0)
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
    from mailrules.explaining import explain_on_server
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
                _show_found(found, verbose=common.verbose > 0)
    return 0


def explain_bytes(
    raw: bytes,
    *,
    config: Config,
    account: Account | None,
    mailbox: str = "INBOX",
    flags: Sequence[str] = (),
    received: datetime | None = None,
    scripts: bool = False,
) -> tuple[Message, Decision]:
    """The decision for a message that is only a file, every condition traced. With `scripts`, the script
    conditions that it depends on are run."""
    from mailrules import clock
    from mailrules.core.decision import AccountFacts, Deferred, Needs, Situation, explain, rules_for
    from mailrules.core.errors import PermanentError
    from mailrules.core.offline import message_from_bytes, without_server

    name = account.name if account is not None else "-"
    message = message_from_bytes(
        raw,
        account=name,
        mailbox=mailbox,
        flags=frozenset(_FLAGS.get(flag.lower(), flag) for flag in flags),
        received=received,
        now=clock.now(),
        body_limit=config.settings.body_limit,
        trusted_authserv=account.trusted_authserv if account is not None else (),
    )
    facts = AccountFacts(
        name=name,
        address=account.address if account is not None else "",
        addresses=account.addresses if account is not None else (),
        vars=account.vars if account is not None else {},
        timezone=config.settings.timezone_name,
    )
    situation = Situation(facts, dry_run=config.settings.dry_run)
    rules = rules_for(config.rules, name, mailbox)
    without_server(
        message,
        [fact for rule in rules for fact in rule.facts() if not (scripts and fact.kind == "script")],
    )
    answer = explain(rules, message, situation)
    while isinstance(answer, Needs):
        if scripts:
            _ask_scripts(message, answer.facts, raw)
        without_server(message, answer.facts)
        answer = explain(rules, message, situation)
    if isinstance(answer, Deferred):
        raise PermanentError(f"the message can't be judged: {answer.reason}.")
    return message, answer


def _ask_scripts(message: Message, facts: frozenset[Fact], raw: bytes) -> None:
    """Run the scripts among what is missing."""
    from mailrules.asking import ask

    for fact in facts:
        if fact.kind == "script":
            answer = ask(
                cast("Question", fact.argument),
                raw,
                key=message.key,
                message_id=_header(message, "message-id"),
                flags=sorted(message.flags),
            )
            # Nobody looks at this file again later.
            message.facts[fact] = answer._replace(passing=False)


def as_json(message: Message, decision: Decision, *, file: str) -> dict[str, Any]:
    """SPEC section 8, JSON of `explain`."""
    from mailrules.core import decision as deciding

    return {
        "file": file,
        "account": message.key.account if message.key.account != "-" else None,
        "mailbox": message.key.mailbox,
        "message_id": _header(message, "message-id") or None,
        **deciding.as_json(decision),
    }


# -- for people -----------------------------------------------------------------------------------
def show(message: Message, decision: Decision, *, title: str, verbose: bool) -> None:
    """The tree of rules and conditions, then what would be done."""
    key = message.key
    where = f"{key.account}/{key.mailbox}" if key.account != "-" else key.mailbox
    output.line([(title, "bold"), (f"  as in {where}", "dim")])
    for name in ("From", "Subject"):
        text = _header(message, name.lower())
        if text:
            output.line([(f"  {name}: ", "dim"), (cut(text, 200), None)])
    for outcome in decision.outcomes:
        _show_rule(outcome, verbose=verbose)
    _show_actions(decision)
    if message.has(_body_fact()) and getattr(message.facts[_body_fact()], "cut", False):
        output.line([("  only the first part of the text was judged (settings.body_limit)", "yellow")])
    output.line([("", None)])


def _show_found(found: Explained, *, verbose: bool) -> None:
    """What the log says of a message, the oldest first, then what the rules say now."""
    for then in found.then:
        _show_then(found, then, verbose=verbose)
    if found.message is not None and found.decision is not None:
        now = ", now" if found.then else ""
        show(found.message, found.decision, title=f"UID {found.uid}{now}", verbose=verbose)
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


def _show_rule(outcome: RuleOutcome, *, verbose: bool) -> None:
    words = {
        "stop": "not reached", "left": "not reached", "disabled": "disabled", "paused": "matches, paused",
        "failed": "matches, but fails",
        "unknown": "can't be judged", "returned": "matches, left alone",
    }  # fmt: skip
    matched = outcome.matched
    said = words.get(outcome.reason or "", "matches" if matched else "does not match")
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


def _header(message: Message, name: str) -> str:
    from mailrules.core.headers import decode

    values = message.header(name)
    return decode(values[0]) if values else ""


def _body_fact() -> Any:
    from mailrules.core.message import BODY

    return BODY
