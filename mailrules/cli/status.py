"""`mailrules status`: how accounts and rules are doing, and what needs a decision."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from mailrules.cli import output
from mailrules.cli.log import Lines
from mailrules.cli.options import Common, names_of

if TYPE_CHECKING:
    from mailrules.config import Config
    from mailrules.operations import Names
    from mailrules.state import State

SHOWN = 10
"""Effects of one kind that are listed for people; `log --state` has them all."""


def command(common: Common) -> int:
    """Show accounts, rules, and what is held, quarantined, unknown or failed.

    Example: mailrules status
    """
    from mailrules.operations import ask_status

    config: Config | None = None

    def names() -> Names:
        nonlocal config
        config = common.readable()
        return names_of(config)

    state = common.locate()
    status = ask_status(state, names=names)
    if config is not None:
        _whose(state, config)
    if common.json:
        output.emit(status)
        return 0
    _worker(status)
    _room(status)
    _accounts(status)
    _rules(status)
    _schedules(status)
    _waiting(status)
    _decisions(status)
    return 0


def _whose(state: State, config: Config) -> None:
    """A name that stands for somebody else's mailbox in this journal is said."""
    from mailrules.adapters.store import Store
    from mailrules.logins import warn_of_others

    with Store.open(state.directory, read_only=True) as store:
        warn_of_others(store, config)


def _worker(status: dict[str, Any]) -> None:
    worker = status["worker"]
    if worker is None:
        output.say(f"No worker is running; this is what the journal in {status['state']} knows.")
    else:
        output.say(f"The worker (process {worker['pid']}) runs since {output.moment(worker['since'])}.")


def _room(status: dict[str, Any]) -> None:
    room = status["room"]
    if not room["enough"]:
        free, needed = (f"{size / 2**20:.1f} MB" for size in (room["free"], room["needed"]))
        output.say(
            f"STOPPED: no room for the journal in {status['state']}: {free} are free, {needed} are needed. "
            "Make room there; until then nothing new is done, and mail stays where it is.",
            style="bold red",
        )


def _accounts(status: dict[str, Any]) -> None:
    if not status["accounts"]:
        output.say("No account has been watched yet.")
        return
    rows = []
    for account in status["accounts"]:
        for mailbox in account["mailboxes"] or [{"mailbox": "–", "watching": account["watching"]}]:
            rows.append(
                (
                    account["account"],
                    mailbox["mailbox"],
                    _connection(account, mailbox),
                    output.moment(mailbox.get("last_sweep")),
                    output.duration(mailbox.get("lag") or 0) if mailbox.get("waiting") else "",
                )
            )
    output.say("")
    output.table(("account", "mailbox", "state", "last looked", "mail waits"), rows)
    for account in status["accounts"]:
        if account["error"]:
            output.say(f"  {account['account']}: {account['error']}", style="red")


def _connection(account: dict[str, Any], mailbox: dict[str, Any]) -> tuple[str, str]:
    if mailbox.get("paused") or account["paused"]:
        return "paused", "yellow"
    if account["connected"] is None:
        return "–", "dim"
    if account["connected"] and mailbox.get("missing"):
        return "missing", "red"
    if mailbox["watching"]:
        return "watching", "green"
    return ("connected", "yellow") if account["connected"] else ("not connected", "red")


def _rules(status: dict[str, Any]) -> None:
    if not status["rules"]:
        return
    output.say("")
    output.table(
        ("rule", "hits", "last hit", "held", ""),
        [
            (
                rule["rule"],
                rule["hits"],
                output.moment(rule["last_hit"]),
                rule["held"] or "",
                ("paused", "yellow") if rule["paused"] else "",
            )
            for rule in status["rules"]
        ],
        right=("hits", "held"),
    )


def _schedules(status: dict[str, Any]) -> None:
    scheduled = [rule for rule in status["rules"] if rule["schedule"]]
    if not scheduled:
        return
    output.say("")
    output.table(
        ("scheduled rule", "schedule", "last run", "next run"),
        [
            (
                rule["rule"],
                rule["schedule"]["schedule"],
                output.moment(rule["schedule"]["last"]),
                _next_run(rule),
            )
            for rule in scheduled
        ],
    )
    for rule in scheduled:
        if rule["schedule"]["trouble"]:
            output.say(f"  {rule['rule']}: {rule['schedule']['trouble']}", style="yellow")


def _next_run(rule: dict[str, Any]) -> object:
    if rule["paused"]:
        return "paused", "yellow"
    return "at it" if rule["schedule"]["running"] else output.moment(rule["schedule"]["next"])


def _waiting(status: dict[str, Any]) -> None:
    """What goes on by itself, if somebody runs it: no decision is needed, but it is not done either."""
    counts = status["counts"]
    states = [state for state in ("later", "planned", "running") if counts.get(state)]
    if not states:
        return
    due = f" (next at {output.moment(status['next_try'])})" if status.get("next_try") else ""
    words = {"later": f"tried again later{due}", "planned": "planned", "running": "begun"}
    said = []
    for number, state in enumerate(states):
        subject = str(counts[state]) if number else output.count(counts[state], "effect")
        said.append(f"{subject} {'is' if counts[state] == 1 else 'are'} {words[state]}")
    output.say("")
    output.say(f"{', '.join(said)}: mailrules log {' '.join(f'--state {state}' for state in states)}")
    if status["worker"] is None:
        output.say("  mailrules run goes on with them.")


def _decisions(status: dict[str, Any]) -> None:
    for pause in status["paused"]:
        name = "everything" if pause["target"] == "*" else pause["target"].replace(":", " ", 1)
        word = "--all" if pause["target"] == "*" else shlex.quote(pause["target"].partition(":")[2])
        output.say("")
        output.say(
            f"Paused: {name} since {output.moment(pause['since'])} ({pause['reason']}).", style="yellow"
        )
        output.say(f"  mailrules resume {word}")
    decide = "retry ID, or mailrules skip ID"
    _effects(status, "unknown", "May have happened, may not: look, then decide", decide)
    _effects(status, "held", "Held", "resume RULE, or mailrules skip --rule RULE")
    _effects(status, "failed", "Failed", decide)
    if status["quarantined"]:
        output.say("")
        output.say("Quarantined: these messages kept failing and are left alone.", style="red")
        output.table(
            ("account", "mailbox", "uid", "subject", "why"),
            [(q["account"], q["mailbox"], q["uid"], q["subject"], q["error"]) for q in status["quarantined"]],
            right=("uid",),
        )
        output.say("  mailrules log --state failed")


def _effects(status: dict[str, Any], state: str, words: str, next_step: str) -> None:
    entries = status[state]
    if not entries:
        return
    count = max(status["counts"].get(state, 0), len(entries))
    output.say("")
    output.say(f"{words} ({count}):", style=output.STYLES[state])
    lines = Lines()
    for entry in entries[-SHOWN:]:
        lines.show(entry)
    if count > SHOWN:
        output.say(f"  … and {count - SHOWN} more: mailrules log --state {state}")
    output.say(f"  mailrules {next_step}")
