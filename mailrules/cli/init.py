"""`mailrules init`: from a mail address to a first rules.yaml."""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mailrules.cli.conversation import (
    agree,
    ask_address,
    ask_password,
    ask_place,
    ask_servers,
    given_password,
    keep,
    kept,
    log_in,
    refuse,
)
from mailrules.cli.options import Common
from mailrules.cli.output import emit, note, say, table

if TYPE_CHECKING:
    from mailrules.setup.discovery import Servers
    from mailrules.setup.starter import Start

SHOWN = 12
"""Mailboxes that are listed for people."""

Text = str | None
_SERVER = "Server"
_PASSWORD = "Password"  # noqa: S105 - a heading


def _option(name: str, words: str, *, metavar: str, panel: str) -> Any:
    return typer.Option(name, metavar=metavar, help=words, rich_help_panel=panel)


def command(
    common: Common,
    *,
    address: Annotated[Text, typer.Option("--address", metavar="ADDRESS", help="Your mail address.")] = None,
    account: Annotated[
        Text, typer.Option("--account", metavar="NAME", help="What to call it. Default: after its domain.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Default: rules.yaml, here.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Put an older file aside as FILE.old, unasked.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
    no_login: Annotated[bool, typer.Option("--no-login", help="Write the file without logging in.")] = False,
    provider: Annotated[
        Text, _option("--provider", "gmail, outlook, fastmail, …", metavar="NAME", panel=_SERVER)
    ] = None,
    host: Annotated[
        Text, _option("--host", "Default: what the address leads to.", metavar="HOST", panel=_SERVER)
    ] = None,
    port: Annotated[
        int | None, _option("--port", "Default: 993, or 143.", metavar="PORT", panel=_SERVER)
    ] = None,
    security: Annotated[
        Text, _option("--security", "Default: tls.", metavar="tls|starttls|none", panel=_SERVER)
    ] = None,
    username: Annotated[
        Text, _option("--username", "Default: the address.", metavar="NAME", panel=_SERVER)
    ] = None,
    password_file: Annotated[
        Text, _option("--password-file", "A file that only you can read.", metavar="FILE", panel=_PASSWORD)
    ] = None,
    password_command: Annotated[
        Text,
        _option(
            "--password-command", "What prints it: 'pass show mail'.", metavar="COMMAND", panel=_PASSWORD
        ),
    ] = None,
    password_env: Annotated[
        Text, _option("--password-env", "An environment variable.", metavar="NAME", panel=_PASSWORD)
    ] = None,
    password_keyring: Annotated[
        Text, _option("--password-keyring", "A keyring's service.", metavar="SERVICE", panel=_PASSWORD)
    ] = None,
    client_id: Annotated[
        Text, _option("--client-id", "For OAuth; see `mailrules login`.", metavar="ID", panel=_PASSWORD)
    ] = None,
) -> int:
    """Make a first rules.yaml: find the servers, log in, and write three rules that fit your mail.

    The rules only say what they would do (dry_run) until you let them. The password goes into the
    keyring, or into a file that only you can read; never into rules.yaml. In a pipe or with --yes it asks
    nothing.

    Example: mailrules init --address me@example.org --password-command "pass show mail"
    """
    from mailrules.setup import first_look

    given = given_password(
        file=password_file, command=password_command, env=password_env, keyring=password_keyring
    )
    asking = not (yes or common.json) and sys.stdin.isatty() and sys.stderr.isatty()
    place = ask_place(output or common.config or Path("rules.yaml"), overwrite=overwrite, asking=asking)
    address = ask_address(address, asking=asking)
    servers = ask_servers(
        address, provider=provider, host=host, port=port, security=security, username=username, asking=asking
    )
    name = account or _account_name(servers, address)
    start = _start(name, address, servers, client_id=client_id or "")
    secret, typed = ask_password(start, servers, given, place=place, asking=asking, no_login=no_login)
    if start.oauth and asking and given is None and not no_login and not kept(secret):
        start, secret = agree(start, secret, place)
    logged_in = False
    mailboxes: list[dict[str, Any]] = []
    messages: int | None = None
    if not no_login and not (start.oauth and typed is None and not kept(secret)):
        connection, start, typed = log_in(start, servers, secret, typed, asking=asking)
        try:
            start, mailboxes, messages = first_look.look(connection, start)
        finally:
            connection.close()
        logged_in = True
        if not common.json:
            _show(start, mailboxes, messages)
    secret = replace(secret, username=start.username)
    if typed is not None:
        secret = keep(secret, typed, start, place)
    written = first_look.as_written(secret, place)
    start = replace(start, password=written, schema=_schema(place))
    first_look.write(place, start)
    return _report(common, start, servers, place, mailboxes, messages, logged_in=logged_in)


def _account_name(servers: Servers, address: str) -> str:
    domain = address.rpartition("@")[2]
    labels = [label for label in domain.split(".")[:-1] if label not in ("mail", "co", "com")] or ["mail"]
    return servers.provider or re.sub(r"[^A-Za-z0-9_-]", "-", labels[-1]).strip("-") or "mail"


def _start(name: str, address: str, servers: Servers, *, client_id: str) -> Start:
    from mailrules.config.accounts import _account_name_problem
    from mailrules.setup.starter import Start

    problem = _account_name_problem(name)
    if problem:
        refuse(f"--account: {problem}")
    return Start(
        account=name,
        address=address,
        username=servers.username,
        imap=servers.imap,
        password=("file", ""),
        smtp=servers.smtp,
        provider=servers.provider,
        oauth=servers.oauth,
        client_id=client_id,
    )


def _show(start: Start, mailboxes: list[dict[str, Any]], messages: int | None) -> None:
    many = "1 mailbox" if len(mailboxes) == 1 else f"{len(mailboxes)} mailboxes"
    say(f"Logged in. {many}, {messages} messages in INBOX.", style="green")
    first = sorted(mailboxes, key=lambda one: (one["name"] != "INBOX", one["special_use"] is None))[:SHOWN]
    table(
        ("mailbox", "for"),
        [(one["name"], (one["special_use"] or "").lstrip("\\").lower()) for one in first],
    )
    if len(mailboxes) > SHOWN:
        say(f"… and {len(mailboxes) - SHOWN} more", style="dim")


def _schema(place: Path) -> str:
    from mailrules.setup.first_look import write_schema

    try:
        return write_schema(place)
    except OSError as error:
        note(f"The schema could not be written: {error}. `mailrules schema` prints it.", style="yellow")
        return ""


def _report(
    common: Common,
    start: Start,
    servers: Servers,
    place: Path,
    mailboxes: list[dict[str, Any]],
    messages: int | None,
    *,
    logged_in: bool,
) -> int:
    from mailrules.setup.starter import chosen

    rules = [pattern.name for pattern in chosen(start)]
    config = "" if place == Path("rules.yaml") else f" --config {shlex.quote(str(place))}"
    step = "plan" if logged_in or not start.oauth else f"login {shlex.quote(start.account)}"
    following = f"mailrules {step}{config}"
    if common.json:
        smtp = start.smtp
        emit(
            {
                "file": str(place),
                "schema": str(place.with_name(start.schema)) if start.schema else None,
                "account": start.account,
                "address": start.address,
                "username": start.username,
                "provider": start.provider,
                "source": servers.source,
                "imap": {"host": start.imap.host, "port": start.imap.port, "security": start.imap.security},
                "smtp": {"host": smtp.host, "port": smtp.port, "security": smtp.security} if smtp else None,
                "password": start.password[0],
                "logged_in": logged_in,
                "mailboxes": mailboxes,
                "messages": messages,
                "rules": rules,
                "next": following,
            }
        )
        return 0
    say(f"Wrote {place}: account '{start.account}', and the rules {', '.join(rules)}.")
    if start.schema:
        say(f"Wrote {place.with_name(start.schema)}: by it, editors complete and check the file.")
    if start.oauth and not logged_in and not start.client_id:
        say("It wants OAuth: write oauth: {client_id: …} into the account first.")
    way, where = start.password
    if way == "file" and isinstance(where, str) and not start.oauth and not (place.parent / where).exists():
        say(f"Type the password into {where}, for you alone to read: (umask 077; cat > {shlex.quote(where)})")
    say(f"Nothing was changed in your mail. Next: {following}", style="bold")
    return 0
