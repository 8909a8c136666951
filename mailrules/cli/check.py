"""`mailrules check`: whether the file is right, and with `--online` whether the servers agree."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mailrules import config as configuration
from mailrules.cli.options import Common
from mailrules.cli.output import emit, say
from mailrules.config import Config, Examination, Finding
from mailrules.core.values import parse_duration

if TYPE_CHECKING:
    from mailrules.adapters.imap.connection import Connection

FINE, FAILED, LATER, WRONG = 0, 1, 75, 78
_STYLES = {"error": "red", "warning": "yellow", "info": "dim"}


def command(
    common: Common,
    *,
    online: Annotated[
        bool, typer.Option("--online", help="Log in to the accounts and compare. Changes nothing.")
    ] = False,
    search: Annotated[
        bool,
        typer.Option(
            "--search", help="With --online: probe SEARCH on every account, also without trust_search."
        ),
    ] = False,
    hits: Annotated[
        str | None,
        typer.Option(
            "--hits", metavar="DURATION", help="Also name rules that matched nothing for so long, as in 30d."
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if there is a warning.")] = False,
) -> int:
    """Say whether the file is right; if not, every error with line and column, and what to do.

    Then warn of what is right and can't be meant. Passwords are read with --online only; -v says where
    each would come from.

    Example: mailrules check --strict --hits 90d
    """
    within = None
    if hits is not None:
        try:
            within = parse_duration(hits)
        except ValueError as error:
            raise typer.BadParameter(f"{error}", param_hint="--hits") from None
    return check(
        common.config_path(),
        as_json=common.json,
        verbose=common.verbose > 0,
        online=online or search,
        probe_search=search,
        quiet=None if within is None else partial(_quiet, common, within),
        strict=strict,
    )


def _quiet(common: Common, within: timedelta, config: Config) -> list[Finding]:
    """Rules without hits; the journal is opened to read only."""
    from mailrules import clock
    from mailrules.adapters.store import Store
    from mailrules.setup.hits import quiet

    state = common.locate(config)
    if not state.exists:
        raise state.missing()
    with Store.open(state.directory, read_only=True) as store:
        return quiet(config, store, now=clock.now(), within=within)


def check(
    path: Path,
    *,
    as_json: bool = False,
    verbose: bool = False,
    online: bool = False,
    probe_search: bool = False,
    environ: Mapping[str, str] = os.environ,
    connect: Callable[[str], Connection] | None = None,
    quiet: Callable[[Config], Sequence[Finding]] | None = None,
    strict: bool = False,
) -> int:
    """Check a file and say what was found. No password is read without `online`.

    Returns 0, 78 where the file is wrong, with `online` 1 where a server differs and 75 where one can't be
    reached now; with `strict` 1 for a warning, too. `connect` replaces the way to a server, for tests.
    `quiet` finds the rules that matched nothing for long.
    """
    examination = configuration.examine(path, environ=environ)
    report = _Json() if as_json else _Words(verbose=verbose)
    if quiet is not None and examination.config is not None:
        examination = replace(examination, findings=(*examination.findings, *quiet(examination.config)))
    for finding in examination.findings:
        place = finding.place
        report.finding(
            {
                "severity": finding.severity,
                "file": place.file,
                "line": place.line,
                "column": place.column,
                "message": finding.message,
            }
        )
    remarks = []
    if online and examination.config is not None:
        remarks = _online(examination.config, connect=connect, probe_search=probe_search)
        for remark in remarks:
            report.finding(
                {
                    "severity": remark.severity,
                    "account": remark.account,
                    "mailbox": remark.mailbox,
                    "message": remark.message,
                }
            )
    failed = [remark for remark in remarks if remark.severity == "error"]
    warned = sum(remark.severity == "warning" for remark in remarks)
    report.summary(path, examination, failed=len(failed), warned=warned)
    if examination.config is None:
        return WRONG
    if not failed:
        warned += len(examination.findings)
        return FAILED if strict and warned else FINE
    return LATER if all(remark.passing for remark in failed) else FAILED


def _online(config: Config, *, connect: Callable[[str], Connection] | None, probe_search: bool) -> list[Any]:
    from mailrules.house import House
    from mailrules.setup.online import inspect

    return inspect(config, connect or House(config, None).connect, probe_search=probe_search)


class _Json:
    """One JSON object a line: every finding, then a summary."""

    def finding(self, found: Mapping[str, Any]) -> None:
        emit(found)

    def summary(self, path: Path, examination: Examination, *, failed: int, warned: int) -> None:
        config = examination.config
        errors = len(examination.errors)
        emit(
            {
                "summary": {
                    "file": str(path),
                    "errors": errors + failed,
                    "warnings": len(examination.findings) - errors + warned,
                    "accounts": len(config.accounts) if config else None,
                    "rules": len(config.rules) if config else None,
                }
            }
        )


class _Words:
    """Lines for people."""

    def __init__(self, *, verbose: bool) -> None:
        self._verbose = verbose

    def finding(self, found: Mapping[str, Any]) -> None:
        severity = found["severity"]
        if "file" in found:
            where = f"{found['file']}:{found['line']}:{found['column']}"
        else:
            where = found["account"] + (f"/{found['mailbox']}" if found["mailbox"] else "")
        word = "" if severity == "error" and "file" in found else f"{severity}: "
        say(f"{where}: {word}{found['message']}", style=_STYLES[severity])

    def summary(self, path: Path, examination: Examination, *, failed: int, warned: int) -> None:
        errors = len(examination.errors)
        warnings = _count(len(examination.findings) - errors + warned, "warning")
        config = examination.config
        if config is None:
            say(f"{path}: {_count(errors, 'error')}, {warnings}.")
            return
        if self._verbose:
            for account in config.accounts.values():
                say(
                    f"{account.name}: {account.username} at {account.host}:{account.port} "
                    f"({account.security}), password from {account.password.where}"
                )
        if failed:
            say(f"{path} is right, but {_count(failed, 'thing')} on the servers must be seen to.")
            return
        accounts, rules = _count(len(config.accounts), "account"), _count(len(config.rules), "rule")
        say(f"{path} is right: {accounts}, {rules}, {warnings}.")


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
