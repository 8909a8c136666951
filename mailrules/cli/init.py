"""`mailrules init`: from a mail address to a first rules.yaml."""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from mailrules.cli.options import Common
from mailrules.cli.output import emit, note, say, table

if TYPE_CHECKING:
    from mailrules.adapters.imap.connection import Connection
    from mailrules.adapters.secret import Secret
    from mailrules.discovery import Servers
    from mailrules.starter import Start

FAILED, USAGE = 1, 2
TRIES = 3
"""Times that a password may be typed."""
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
    from mailrules import first_look

    given = _given_password(
        file=password_file, command=password_command, env=password_env, keyring=password_keyring
    )
    asking = not (yes or common.json) and sys.stdin.isatty() and sys.stderr.isatty()
    place = _place(output or common.config or Path("rules.yaml"), overwrite=overwrite, asking=asking)
    address = _address(address, asking=asking)
    servers = _servers(
        address, provider=provider, host=host, port=port, security=security, username=username, asking=asking
    )
    name = account or _account_name(servers, address)
    start = _start(name, address, servers, client_id=client_id or "")
    secret, typed = _password(start, servers, given, place=place, asking=asking, no_login=no_login)
    if start.oauth and asking and given is None and not no_login and not _kept(secret):
        start, secret = _agree(start, secret, place)
    logged_in = False
    mailboxes: list[dict[str, Any]] = []
    messages: int | None = None
    if not no_login and not (start.oauth and typed is None and not _kept(secret)):
        connection, start, typed = _log_in(start, servers, secret, typed, asking=asking)
        try:
            start, mailboxes, messages = first_look.look(connection, start)
        finally:
            connection.close()
        logged_in = True
        if not common.json:
            _show(start, mailboxes, messages)
    secret = replace(secret, username=start.username)
    if typed is not None:
        secret = _keep(secret, typed, start, place)
    written = first_look.as_written(secret, place)
    start = replace(start, password=written, schema=_schema(place))
    first_look.write(place, start)
    return _report(common, start, servers, place, mailboxes, messages, logged_in=logged_in)


# -- what is asked, where it was not said ----------------------------------------------------------------
def _refuse(words: str, status: int = USAGE) -> NoReturn:
    note(f"mailrules init: {words}")
    raise typer.Exit(status)


def _given_password(**said: str | None) -> Secret | None:
    from mailrules.adapters.secret import Secret

    sources = [(source, value) for source, value in said.items() if value is not None]
    if len(sources) > 1:
        _refuse("exactly one of --password-file, --password-command, --password-env, --password-keyring.")
    if not sources:
        return None
    source, value = sources[0]
    try:
        argument = tuple(shlex.split(value)) if source == "command" else (value,)
    except ValueError as error:
        _refuse(f"--password-command: {error}. Quote it as a shell would.")
    if not argument or not argument[0]:
        _refuse(f"--password-{source} is empty.")
    if source == "file":
        argument = (str(Path(value).expanduser().absolute()),)
    return Secret(source, argument)  # type: ignore[arg-type]


def _place(path: Path, *, overwrite: bool, asking: bool) -> Path:
    """Where the file goes, before anybody has typed a password in vain."""
    if not path.parent.is_dir():
        _refuse(f"there is no directory {path.parent}. Make it first, or say --output FILE.")
    if path.is_dir():
        _refuse(f"{path} is a directory. Say --output FILE.")
    if path.exists() and not overwrite:
        if not asking:
            _refuse(f"there is a {path} already, and it stays. Say --output FILE, or --overwrite.", FAILED)
        if not typer.confirm(f"There is a {path} already. Put it aside as {path.name}.old?", err=True):
            _refuse(f"{path} stays as it is. Say --output FILE for another one.", FAILED)
    return path


def _address(said: str | None, *, asking: bool) -> str:
    while True:
        if said is None:
            if not asking:
                _refuse("whose mail? Nobody can be asked here: say --address me@example.org.")
            said = str(typer.prompt("Your mail address", err=True)).strip()
        if re.fullmatch(r"[^\s@<>,;\"]+@[^\s@<>,;\"]+", said):
            return said
        if not asking:
            _refuse(f"'{said}' is not a mail address. Say --address me@example.org.")
        note(f"'{said}' is not a mail address, such as me@example.org.")
        said = None


def _servers(
    address: str,
    *,
    provider: str | None,
    host: str | None,
    port: int | None,
    security: str | None,
    username: str | None,
    asking: bool,
) -> Servers:
    from mailrules import discovery, providers
    from mailrules.adapters.autoconfig import Endpoint

    if security not in (None, "tls", "starttls", "none"):
        _refuse(f"--security: '{security}' is not known. Write tls, starttls or none.")
    if port is not None and not 0 < port < 65536:
        _refuse(f"--port: {port} is out of range. It is a number from 1 to 65535.")
    if provider is not None:
        found = discovery.of_provider(provider, address, source="--provider")
        if found is None:
            _refuse(f"--provider: '{provider}' is not known. Known: {', '.join(providers.PROVIDERS)}.")
    elif host is None:
        domain = address.rpartition("@")[2]
        note(f"Looking for the servers of {domain} …", style="dim")
        found = discovery.discover(address)
        if found is None:
            if not asking:
                _refuse(f"nobody knows the mail servers of {domain}. Say --host imap.{domain}.", FAILED)
            note(f"Nobody knows the mail servers of {domain}. Your provider's help pages do.")
            host = str(typer.prompt("IMAP server", default=f"imap.{domain}", err=True)).strip()
        else:
            _confirm(found, domain, asking=asking)
    if host is not None:
        kind: Any = security or ("starttls" if port == 143 else "tls")
        endpoint = Endpoint(host, port or (993 if kind == "tls" else 143), kind)
        found = discovery.Servers(endpoint, address, "--host")
    assert found is not None
    if username is not None:
        found = replace(found, username=username)
    _check_security(found)
    return found


def _confirm(found: Servers, domain: str, *, asking: bool) -> None:
    """DNS is not signed: a host elsewhere that it alone names is shown before a password goes there."""
    where = f"{found.imap.host}:{found.imap.port}"
    note(f"Found {where} ({found.imap.security}), by {found.source}.")
    foreign = not found.imap.host.endswith(f".{domain.lower()}") and found.imap.host != domain.lower()
    if not found.provider and foreign and found.source.startswith("the DNS"):
        if not asking:
            _refuse(
                f"only DNS says so, which can be forged. If it is right: --host {found.imap.host}.", FAILED
            )
        if not typer.confirm("Only DNS says so, which can be forged. Is it right?", err=True):
            _refuse("then say --host.", FAILED)


def _check_security(found: Servers) -> None:
    from mailrules.config_server import is_loopback

    if found.imap.security == "none" and not is_loopback(found.imap.host):
        _refuse(
            f"--security none would send the password in the clear to {found.imap.host}. Say tls or starttls."
        )


def _account_name(servers: Servers, address: str) -> str:
    domain = address.rpartition("@")[2]
    labels = [label for label in domain.split(".")[:-1] if label not in ("mail", "co", "com")] or ["mail"]
    return servers.provider or re.sub(r"[^A-Za-z0-9_-]", "-", labels[-1]).strip("-") or "mail"


def _start(name: str, address: str, servers: Servers, *, client_id: str) -> Start:
    from mailrules.config_accounts import _account_name_problem
    from mailrules.starter import Start

    problem = _account_name_problem(name)
    if problem:
        _refuse(f"--account: {problem}")
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


# -- the password ----------------------------------------------------------------------------------------
def _password(
    start: Start, servers: Servers, given: Secret | None, *, place: Path, asking: bool, no_login: bool
) -> tuple[Secret, str | None]:
    """Where it is kept, and the password itself if it was typed and is not kept there yet."""
    from mailrules.adapters.secret import Secret, keyring_works

    if servers.advice:
        note(f"{start.provider}: {servers.advice}")
    if given is not None:
        return replace(given, username=start.username), None
    if keyring_works():
        place_of_it = Secret("keyring", ("mailrules",), username=start.username)
    else:
        place_of_it = _beside(start, place)
        path = Path(place_of_it.argument[0])
        if path.exists() and not start.oauth:
            _refuse(
                f"there is a {path} already. If the password is in it: --password-file {path.name}.", FAILED
            )
    if start.oauth:
        return place_of_it, None
    if not asking:
        if no_login:
            return place_of_it, None
        _refuse(
            "nobody can be asked for the password here. "
            "Say --password-file, --password-command, --password-env or --password-keyring."
        )
    return place_of_it, _typed(start)


def _beside(start: Start, place: Path) -> Secret:
    from mailrules.adapters.secret import Secret

    path = place.absolute().with_name(f"{start.account}.{'token' if start.oauth else 'password'}")
    return Secret("file", (str(path),), username=start.username)


def _keep(secret: Secret, value: str, start: Start, place: Path) -> Secret:
    """Keep it; a keyring that takes nothing after all is no reason to type it again."""
    from mailrules.core.errors import PermanentError

    try:
        secret.write(value)
    except PermanentError as error:
        beside = _beside(start, place)
        if secret.source == "file" or Path(beside.argument[0]).exists():
            raise
        note(f"{error}", style="yellow")
        secret = beside
        secret.write(value)
    what = "tokens are" if start.oauth else "password is"
    where = (
        f"{Path(secret.argument[0]).name}, which only you can read"
        if secret.source == "file"
        else secret.where
    )
    note(f"The {what} kept in {where}.")
    return secret


def _agree(start: Start, secret: Secret, place: Path) -> tuple[Start, Secret]:
    """Have the person get tokens now, if there is a client id to ask with."""
    from mailrules import providers
    from mailrules.adapters.oauth_grant import Client
    from mailrules.cli.login import obtain

    provider = providers.find(start.provider or "")
    server = provider.oauth if provider is not None else None
    if server is None:
        return start, secret
    if not start.client_id:
        note(f"A client id of your own comes from {server.register}. Leave it empty to do that later.")
        asked = typer.prompt("Client id", default="", show_default=False, err=True)
        start = replace(start, client_id=str(asked).strip())
    if not start.client_id:
        return start, secret
    client = Client(
        client_id=start.client_id,
        authorize_url=server.authorize_url,
        token_url=server.token_url,
        device_url=server.device_url,
        scope=server.scope,
    )
    tokens = obtain(
        client, username=start.username, device=bool(server.device_url), paste=False, browser=True
    )
    return start, _keep(secret, tokens.as_text(), start, place)


def _typed(start: Start) -> str:
    words = f"Password for {start.username} at {start.imap.host}"
    password = str(typer.prompt(words, hide_input=True, err=True))
    from mailrules.adapters.secret import remember

    remember(password)
    return password


def _kept(secret: Secret) -> bool:
    from mailrules.core.errors import MailrulesError

    try:
        return bool(secret.read())
    except MailrulesError:
        return False


def _log_in(
    start: Start, servers: Servers, secret: Secret, typed: str | None, *, asking: bool
) -> tuple[Connection, Start, str | None]:
    """An open connection. A typed password may be mended. Raises what the login raises."""
    from mailrules.adapters.imap.connection import LoginRefused
    from mailrules.first_look import connect

    for attempt in range(1, TRIES + 1):
        connection = connect(start, secret, typed)
        try:
            note(f"Logging in to {start.imap.host} as {start.username} …", style="dim")
            connection.open()
        except LoginRefused as refused:
            connection.close()
            if typed is None or not asking or attempt == TRIES:
                if servers.advice:
                    note(f"{start.provider}: {servers.advice}")
                raise
            note(f"{refused}", style="yellow")
            name = str(typer.prompt("User name", default=start.username, err=True)).strip()
            start = replace(start, username=name)
            typed = _typed(start)
        except BaseException:
            connection.close()
            raise
        else:
            return connection, start, typed
    raise AssertionError("unreachable")


# -- what is there ---------------------------------------------------------------------------------------
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
    from mailrules.first_look import write_schema

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
    from mailrules.starter import chosen

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
    if start.oauth and not logged_in and not start.client_id:
        say("It wants OAuth: write oauth: {client_id: …} into the account first.")
    say(f"Nothing was changed in your mail. Next: {following}", style="bold")
    return 0
