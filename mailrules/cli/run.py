"""`mailrules run`: the worker."""

from __future__ import annotations

import importlib
import logging
import resource
import signal
import sys
import threading
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from mailrules.cli.options import Common

if TYPE_CHECKING:
    from mailrules.config import Config
    from mailrules.house import House
    from mailrules.once import OnceResult
    from mailrules.scheduled import Outcome
    from mailrules.state import State
    from mailrules.watching.service import Service

log = logging.getLogger("mailrules.service")

FEED = 20.0
"""Seconds between two signs of life to systemd's watchdog."""
MOST_FILES = 1 << 20
"""Open files that are asked for at most: some systems allow a thousand million."""
AHEAD = 8
"""Accounts that `--once` logs into while it is still being imported; it sweeps as many side by side."""
SWITCH = 0.001
"""Seconds a thread computes before another that waits gets its turn. With Python's 5 ms, and one account's
large mailbox being judged, each of the dozens of steps between new mail and its move may wait that long."""


def command(
    common: Common,
    once: Annotated[bool, typer.Option("--once", help="Sweep every mailbox once, and end.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
) -> int:
    """Watch the mailboxes and keep them in order, until SIGTERM or Ctrl-C.

    SIGHUP, or `mailrules reload`, reads the file again: all of it, or nothing.

    Example: mailrules run --config rules.yaml
    """
    from mailrules import garbage, logs

    config = common.load(warnings=True)
    logs.configure(config.settings.log_format, verbose=common.verbose > 0)
    for warning in config.warnings:
        log.warning("%s", warning)
    state = common.locate(config)
    with state.lock("run", socket=state.socket()):
        if once:
            return _once(config, state, dry_run=dry_run, json=common.json)
        from mailrules.adapters.store import Store
        from mailrules.watching.service import Service

        with Store.open(state.directory) as store:
            prepare_process()
            garbage.working()
            return _watch(Service(config, store, dry_run=dry_run), state)


def prepare_process() -> None:
    """Every connection is an open file, and 1,024, a usual limit, are soon used up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    sys.setswitchinterval(SWITCH)


_NEEDED_SOME_DAY = (
    "html", "mailrules.adapters.imap.body", "mailrules.adapters.imap.labelling", "mailrules.adapters.smtp",
    "mailrules.adapters.webhook", "mailrules.config.lint", "mailrules.config.tests",
    "mailrules.core.html_text", "mailrules.core.template_compile", "mailrules.operations",
    "mailrules.planning.applying", "mailrules.planning.planfile", "mailrules.undoing.undo",
)  # fmt: skip


def import_all() -> None:
    """What a worker may need only in months: by then the files may be those of another version."""
    for name in _NEEDED_SOME_DAY:
        importlib.import_module(name)


def _watch(service: Service, state: State) -> int:
    from mailrules.control import ControlServer
    from mailrules.core.errors import ConfigError, TransientError
    from mailrules.watching.notify import Notifier
    from mailrules.watching.serving import register

    import_all()
    notify = Notifier()

    woken = threading.Event()
    asked: list[int] = []

    def on_signal(number: int, _frame: object) -> None:
        asked.append(number)
        woken.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, on_signal)
    server = ControlServer(state.socket())
    register(server, service)
    with server:
        service.start()
        notify.ready(service.summary())
        log.info("accounts: %d; state in %s", len(service.house.config.accounts), state.directory)
        broken = False
        while True:
            if not service.poller.alive:
                log.critical("the poller has died: ending, so that it can be started again")
                broken = True
                break
            woken.wait(FEED)
            woken.clear()
            if any(number != signal.SIGHUP for number in asked):
                break
            if asked:
                asked.clear()
                notify.reloading()
                try:
                    service.reload()
                except ConfigError as error:
                    for line in error.lines:
                        log.error("%s", line)
                    log.error("the file is not right: the rules in force stay as they were")
                except TransientError as error:
                    log.error("the file could not be taken over now: %s", error)
                notify.ready(service.summary())
            if service.healthy():
                notify.watchdog()
            try:
                service.mind_the_clock()
                service.tidy()
            except TransientError as error:
                log.error("%s", error)
            notify.status(service.summary())
        notify.stopping()
        log.info("stopping: finishing what is at hand")
        clean = service.stop()
    log.info("stopped" if clean else "stopped; what was cut off is finished at the next start")
    return 1 if broken else 0


def _once(config: Config, state: State, *, dry_run: bool, json: bool) -> int:
    from mailrules import garbage
    from mailrules.ahead import Ahead, first_mailbox

    with Ahead() as ahead:
        for settings in islice(config.accounts.values(), AHEAD):
            ahead.begin(settings, mailbox=first_mailbox(settings))
        # What takes the longest to import, while the servers answer.
        from mailrules.adapters.store import Store
        from mailrules.house import House

        with Store.open(state.directory) as store:
            house = House(config, store, dry_run=dry_run, ahead=ahead)
            garbage.working()
            house.begin()
            end_within(house, 8.0)
            return _sweep(house, json=json)


def _sweep(house: House, *, json: bool) -> int:
    from mailrules.adapters.imap.refusals import LoginRefused
    from mailrules.cli import output
    from mailrules.core.errors import TransientError
    from mailrules.once import run_once

    def done(result: OnceResult) -> None:
        for name, run in result.mailboxes.items():
            where = f"{result.account}/{name}"
            if json:
                output.emit(
                    {
                        "account": result.account, "mailbox": name, "judged": run.judged,
                        "matched": run.matched, "baseline": run.baseline, "deferred": run.deferred,
                        "states": dict(run.tally.states),
                    }
                )  # fmt: skip
                continue
            if run.baseline is not None:
                output.note(
                    f"{where}: first look; what is there already ({run.baseline}) stays as it is. "
                    "`mailrules apply` does it."
                )
            if run.tally.states["would"]:
                output.note(
                    f"{where}: a dry run; see `mailrules log --state would`. "
                    "This mail counts as judged now; `mailrules apply` does it later."
                )
            states = ", ".join(f"{count} {state}" for state, count in sorted(run.tally.states.items()))
            output.note(
                f"{where}: {run.judged} judged, {run.matched} matched"
                + (f"; effects: {states}" if states else "")
                + "."
            )
        for outcome in result.scheduled:
            _say_scheduled(result.account, outcome, json=json)
        if json:
            for where, error in result.errors:
                output.emit({"account": result.account, "where": where, "error": str(error)})

    results = run_once(house, done=done)
    errors = [error for result in results for _, error in result.errors]
    runs = [run for result in results for run in result.mailboxes.values()]
    states = {state for run in runs for state, count in run.tally.states.items() if count}
    states |= {state for result in results for o in result.scheduled for state in o.states}
    if any(isinstance(error, LoginRefused) for error in errors):
        return 77
    if any(not isinstance(error, TransientError) for error in errors) or states & {"failed", "unknown"}:
        return 1
    return 75 if errors or "later" in states or any(run.deferred for run in runs) else 0


def _say_scheduled(account: str, outcome: Outcome, *, json: bool) -> None:
    """What a scheduled rule came to in one mailbox."""
    from mailrules.cli import output

    if json:
        output.emit(
            {
                "account": account, "mailbox": outcome.mailbox, "schedule": outcome.rule,
                "judged": outcome.looked, "matched": outcome.matched, "deferred": outcome.deferred,
                "states": dict(outcome.states),
            }
        )  # fmt: skip
        return
    where = f"{account}/{outcome.mailbox}: scheduled rule '{outcome.rule}'"
    if outcome.braked:
        output.note(f"{where} is paused. {outcome.braked}", style="yellow")
        return
    states = ", ".join(f"{count} {state}" for state, count in sorted(outcome.states.items()))
    output.note(
        f"{where}: {outcome.looked} looked at, {outcome.matched} acted on"
        + (f"; effects: {states}" if states else "")
        + "."
    )


def end_within(house: House, seconds: float) -> None:
    """SIGTERM and Ctrl-C finish the step at hand; a server that does not answer is cut off then."""

    def on_signal(_number: int, _frame: object) -> None:
        house.stopping.set()
        cut = threading.Timer(seconds, house.abort)
        cut.daemon = True
        cut.start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
