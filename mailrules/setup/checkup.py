"""What is wrong here, from the file to the servers: `mailrules doctor`. Changes nothing and sends no mail."""

from __future__ import annotations

import os
import platform
import pwd
import resource
import shlex
import shutil
import socket
import ssl
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import mailrules
from mailrules import clock, config, control
from mailrules.adapters.secret import scrub
from mailrules.adapters.smtp_session import Refused, Session, SmtpServer
from mailrules.adapters.store import Store
from mailrules.adapters.store.soundness import unsound, version
from mailrules.ahead import password_of
from mailrules.config import Account, Config, Smtp
from mailrules.core.actions.script import Script
from mailrules.core.errors import MailrulesError
from mailrules.core.message import Question
from mailrules.core.rule import Rule
from mailrules.house import House
from mailrules.state import State

PATIENCE = 10.0
"""Seconds for a server to accept a connection."""
BORN = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
"""No clock is right that says less."""
SPARE = 64
"""Files that are open besides the connections."""
LOW = 80 * 2**20
"""Bytes that must be free for the state: what the journal demands (ballast.py), and its ballast."""
WAITING = "waiting"
"""The check that is a note: what is not done yet, or waits for a person."""
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Result:
    """One thing that was looked at. `step`: what to do about it, if it is not well."""

    check: str
    ok: bool
    message: str
    step: str = ""
    account: str | None = None


def programs() -> Result:
    """Which versions are at work here."""
    return Result(
        "versions",
        True,
        f"mailrules {mailrules.__version__}, Python {platform.python_version()}, SQLite {version()}, "
        f"{ssl.OPENSSL_VERSION.partition('  ')[0]}",
    )


def time_of_day(state: State | None) -> Result:
    """Whether the clock can be right: not before this program was made, nor before what it wrote last."""
    now = clock.now()
    latest = BORN
    if state is not None and state.exists:
        latest = max(
            latest, datetime.fromtimestamp((state.directory / "journal.db").stat().st_mtime, BORN.tzinfo)
        )
    if (latest - now).total_seconds() > 60:
        words = f"the clock says {now:%Y-%m-%d %H:%M} UTC, but the journal or this program is newer"
        return Result("clock", False, words, "Set it: timedatectl set-ntp true")
    return Result("clock", True, f"{now:%Y-%m-%d %H:%M} UTC")


def file(path: Path) -> tuple[Config | None, list[Result]]:
    """Where the configuration is, whether it is right, and who may change it."""
    examination = config.examine(path)
    results = []
    errors = examination.errors
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        results.append(
            Result("configuration", False, f"{errors[0]}{more}", f"mailrules check --config {path}")
        )
    else:
        found = examination.config
        assert found is not None
        words = f"{path}: {_count(found)}, without errors"
        results.append(Result("configuration", True, words))
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return examination.config, results
    if mode & 0o002:
        words = f"anybody on this machine may change {path} (mode {mode:04o})"
        results.append(Result("configuration", False, words, f"chmod o-w {path}"))
    return examination.config, results


def state_directory(state: State) -> Iterator[Result]:
    """Whether the state can be written, whose it is, who may read it, and how much room it has."""
    directory = state.directory
    there = directory
    while not there.exists() and there != there.parent:
        there = there.parent
    owner = there.stat().st_uid
    if not os.access(there, os.W_OK | os.X_OK):
        yield Result(
            "state",
            False,
            f"{state} can't be written by {_user(os.geteuid())}; it is {_user(owner)}'s",
            f"Run as {_user(owner)}, or name another one: --state DIRECTORY.",
        )
    elif there != directory:
        yield Result("state", True, f"{state} is not there yet; `mailrules run` or `apply` makes it")
    elif stat.S_IMODE(directory.stat().st_mode) & 0o077:
        words = f"{state} is open to others: subjects of your mail are in it"
        yield Result("state", False, words, f"chmod 700 {directory}")
    elif owner != os.geteuid() == 0:
        yield Result("state", True, f"{state} is {_user(owner)}'s: as root, change it by way of its worker")
    elif owner != os.geteuid():
        yield Result(
            "state",
            False,
            f"{state} is {_user(owner)}'s, and you are {_user(os.geteuid())}: files made now will be yours",
            f"Run the commands as {_user(owner)}, or by way of a running worker.",
        )
    else:
        yield Result("state", True, f"{state} is {_user(owner)}'s")
    free = shutil.disk_usage(there).free
    words = f"{free / 2**20:,.0f} MB free for the state"
    yield Result("disk", free >= LOW, words, "" if free >= LOW else f"Make room: {LOW // 2**20} MB at least.")


def journal(state: State) -> Result:
    """Whether the journal is whole, and can be read by this version."""
    if not state.exists:
        return Result("journal", True, "there is none yet")
    path = state.directory / "journal.db"
    wrong = unsound(path)
    if wrong:
        return Result(
            "journal", False, f"{path} is damaged: {wrong}", "Put a copy back: docs/operations.md, Restore."
        )
    try:
        with Store.open(state.directory, read_only=True):
            pass
    except MailrulesError as error:
        return Result("journal", False, f"{error}", "See docs/operations.md, State.")
    return Result("journal", True, f"{path} is whole ({path.stat().st_size / 2**20:,.1f} MB)")


def waiting(state: State) -> Iterator[Result]:
    """What the journal has that is not done: no fault, but not well either. Nothing if there is none."""
    if not state.exists:
        return
    try:
        with Store.open(state.directory, read_only=True) as store:
            counts = store.counts()
    except MailrulesError:
        return  # `journal` says why
    if counts:
        each = ", ".join(f"{number:,} {word}" for word, number in sorted(counts.items()))
        words = f"effects in the journal that are not done: {each}; `mailrules status` says more"
        yield Result(WAITING, True, words)


def worker(state: State) -> Result:
    """Whether a worker runs and answers. That none runs is no fault."""
    try:
        client = control.connect(state)
        if client is not None:
            list(client.request("status"))
    except MailrulesError as error:
        return Result("worker", False, f"{error}", "Ask as its user, or look at its log.")
    if client is None:
        return Result("worker", True, "none is running; `mailrules run` starts one")
    holder = state.holder()
    return Result("worker", True, f"running{f': {holder}' if holder is not None else ''}")


def files(found: Config) -> Result:
    """Whether this process may open as many files as there may be connections."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    needed = sum(account.connections for account in found.accounts.values()) + SPARE
    if hard != resource.RLIM_INFINITY and hard < needed:
        words = f"{hard:,} open files are allowed, and {needed:,} may be needed"
        return Result("open files", False, words, "Raise it: ulimit -Hn, or LimitNOFILE= in the unit.")
    return Result(
        "open files", True, f"{'any number' if hard < 0 else f'{hard:,}'} allowed, {needed:,} may be needed"
    )


def scripts(found: Config) -> Iterator[Result]:
    """Whether the programs that rules run stand where the file says. Nothing if no path to one is certain:
    a bare name is looked for in the PATH of whoever runs the worker, and only they see some directories."""
    named: dict[Path, list[str]] = {}
    for rule in found.rules:
        if rule.enabled:
            for file in dict.fromkeys(_programs(rule)):
                named.setdefault(file, []).append(rule.name)
    well = []
    for file, rules in named.items():
        wrong = _not_runnable(file)
        if wrong is not None:
            who = f"rule{'' if len(rules) == 1 else 's'} {', '.join(map(repr, rules))}"
            yield Result("scripts", False, f"{who}: {wrong[0]}", wrong[1])
        elif os.path.isfile(file):  # noqa: PTH113 - Path's own raises where we may not look
            well.append(str(file))
    if well:
        yield Result("scripts", True, f"can be run: {', '.join(well)}")


def _programs(rule: Rule) -> Iterator[Path]:
    """The paths of the programs that a rule asks and runs."""
    asked = [fact.argument for fact in rule.when.facts() if isinstance(fact.argument, Question)]
    for question in sorted(asked):
        if "/" in question.run[0]:
            yield Path(question.base or ".", question.run[0]).absolute()
    for action in rule.then:
        if isinstance(action, Script) and action.run[0].literal and "/" in action.run[0].source:
            yield Path(action.base or ".", action.run[0].source).absolute()


def _not_runnable(file: Path) -> tuple[str, str] | None:
    """Why nobody can run it, and what to do; None if somebody can, or we can't know."""
    try:
        mode = file.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return f"there is no file {file} to run", "Put it there, or mend the rule's `script`."
    except OSError:
        return None
    if not stat.S_ISREG(mode):
        return f"{file} is no file that can be run", "Mend the rule's `script`."
    return None if mode & 0o111 else (f"{file} may not be run", f"chmod +x {shlex.quote(str(file))}")


def accounts(found: Config, *, online: bool) -> Iterator[Result]:
    """For each account: its secrets, and with `online` the way to its servers, up to the login."""
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        for results in pool.map(
            lambda account: list(_account(found, account, online=online)), found.accounts.values()
        ):
            yield from results


def _account(found: Config, account: Account, *, online: bool) -> Iterator[Result]:
    def result(check: str, ok: bool, message: str, step: str = "") -> Result:
        return Result(check, ok, message, step, account.name)

    if account.password.source == "credential" and "CREDENTIALS_DIRECTORY" not in os.environ:
        yield result("secret", True, f"{account.password.where} is for the service alone: no login tried")
        return
    try:
        account.password.read()
    except MailrulesError as error:
        yield result("secret", False, *_parted(error))
    else:
        yield result("secret", True, f"can be read from {account.password.where}")
        if online:
            yield _imap(found, account, result)
    smtp = account.smtp
    if smtp is None:
        return
    if smtp.password is not None and smtp.password != account.password:
        try:
            smtp.password.read()
        except MailrulesError as error:
            yield result("smtp secret", False, *_parted(error))
            return
    if online:
        yield _smtp(account, smtp, result)


def _imap(found: Config, account: Account, result: Callable[..., Result]) -> Result:
    where = f"{account.host}:{account.port}"
    stage = _reached(account.host, account.port)
    if stage is not None:
        return result("imap", False, *stage)
    connection = House(found, None).connect(account.name)
    try:
        connection.open()
    except MailrulesError as error:
        words, step = _parted(error)
        return result("imap", False, f"{where}: {words}", step or "mailrules check --online says more.")
    finally:
        connection.close()
    return result("imap", True, f"logged in to {where} ({account.security}) as {account.username}")


def _smtp(account: Account, smtp: Smtp, result: Callable[..., Result]) -> Result:
    where = f"{smtp.host}:{smtp.port}"
    stage = _reached(smtp.host, smtp.port)
    if stage is not None:
        return result("smtp", False, *stage)
    read = password_of(account) if smtp.auth == "oauth" else smtp.password.read if smtp.password else None
    session = Session(
        SmtpServer(
            host=smtp.host,
            port=smtp.port,
            security=smtp.security,
            username=smtp.username,
            password=read,
            token=read if smtp.auth == "oauth" else None,
            timeout=PATIENCE,
        )
    )
    try:
        session.open()
    except Refused as error:
        return result("smtp", False, f"{where}: {scrub(str(error))}", "Check smtp's username and password.")
    except MailrulesError as error:
        words, step = _parted(error)
        return result("smtp", False, f"{where}: {words}", step or "Check smtp's host, port and security.")
    finally:
        session.part()
    who = f" as {smtp.username}" if smtp.username else ", without a login"
    return result("smtp", True, f"{where} ({smtp.security}) takes mail{who}")


def _reached(host: str, port: int) -> tuple[str, str] | None:
    """What keeps us from a connection, and what to do about it; None if nothing does."""
    try:
        socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        words = f"the name {host} can't be resolved: {getattr(error, 'strerror', None) or error}"
        return words, "Check `host`, and this machine's network and DNS."
    try:
        socket.create_connection((host, port), timeout=PATIENCE).close()
    except OSError as error:
        words = f"{host}:{port} does not answer: {error.strerror or error}"
        return words, "Check `port` and `security`, and firewalls on the way."
    return None


def _parted(error: MailrulesError) -> tuple[str, str]:
    """An error's last sentence is what to do next, as a rule."""
    words, dot, step = str(error).rstrip().rpartition(". ")
    return (words, step) if dot else (step, "")


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _count(found: Config) -> str:
    numbers = ((len(found.accounts), "account"), (len(found.rules), "rule"))
    return ", ".join(f"{number} {word}{'' if number == 1 else 's'}" for number, word in numbers)
