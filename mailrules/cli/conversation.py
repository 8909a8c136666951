"""What `init` asks of a person, and what it says where nobody can be asked; all of it on stderr."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from mailrules.cli.output import note

if TYPE_CHECKING:
    from mailrules.adapters.imap.connection import Connection
    from mailrules.adapters.secret import Secret
    from mailrules.setup.discovery import Servers
    from mailrules.setup.starter import Start

FAILED, USAGE = 1, 2
TRIES = 3
"""Times that a password may be typed."""


# -- what is asked, where it was not said ----------------------------------------------------------------
def refuse(words: str, status: int = USAGE) -> NoReturn:
    """End here, with words that say what to do. It exits with `status`."""
    note(f"mailrules init: {words}")
    raise typer.Exit(status)


def given_password(**said: str | None) -> Secret | None:
    """Where the password is, if a flag says so."""
    from mailrules.adapters.secret import Secret

    sources = [(source, value) for source, value in said.items() if value is not None]
    if len(sources) > 1:
        refuse("exactly one of --password-file, --password-command, --password-env, --password-keyring.")
    if not sources:
        return None
    source, value = sources[0]
    try:
        argument = tuple(shlex.split(value)) if source == "command" else (value,)
    except ValueError as error:
        refuse(f"--password-command: {error}. Quote it as a shell would.")
    if not argument or not argument[0]:
        refuse(f"--password-{source} is empty.")
    if source == "file":
        argument = (str(Path(value).expanduser().absolute()),)
    return Secret(source, argument)  # type: ignore[arg-type]


def ask_place(path: Path, *, overwrite: bool, asking: bool) -> Path:
    """Where the file goes, before anybody has typed a password in vain."""
    if not path.parent.is_dir():
        refuse(f"there is no directory {path.parent}. Make it first, or say --output FILE.")
    if path.is_dir():
        refuse(f"{path} is a directory. Say --output FILE.")
    if path.exists() and not overwrite:
        if not asking:
            refuse(f"there is a {path} already, and it stays. Say --output FILE, or --overwrite.", FAILED)
        if not typer.confirm(f"There is a {path} already. Put it aside as {path.name}.old?", err=True):
            refuse(f"{path} stays as it is. Say --output FILE for another one.", FAILED)
    return path


def ask_address(said: str | None, *, asking: bool) -> str:
    """The mail address, said or asked."""
    while True:
        if said is None:
            if not asking:
                refuse("whose mail? Nobody can be asked here: say --address me@example.org.")
            said = str(typer.prompt("Your mail address", err=True)).strip()
        if re.fullmatch(r"[^\s@<>,;\"]+@[^\s@<>,;\"]+", said):
            return said
        if not asking:
            refuse(f"'{said}' is not a mail address. Say --address me@example.org.")
        note(f"'{said}' is not a mail address, such as me@example.org.")
        said = None


def ask_servers(
    address: str,
    *,
    provider: str | None,
    host: str | None,
    port: int | None,
    security: str | None,
    username: str | None,
    asking: bool,
) -> Servers:
    """Where the mail is: as the flags say, as it was found, or as the person says."""
    from mailrules.adapters.autoconfig import Endpoint
    from mailrules.config import providers
    from mailrules.setup import discovery

    if security not in (None, "tls", "starttls", "none"):
        refuse(f"--security: '{security}' is not known. Write tls, starttls or none.")
    if port is not None and not 0 < port < 65536:
        refuse(f"--port: {port} is out of range. It is a number from 1 to 65535.")
    if provider is not None:
        found = discovery.of_provider(provider, address, source="--provider")
        if found is None:
            refuse(f"--provider: '{provider}' is not known. Known: {', '.join(providers.PROVIDERS)}.")
    elif host is None:
        domain = address.rpartition("@")[2]
        note(f"Looking for the servers of {domain} …", style="dim")
        found = discovery.discover(address)
        if found is None:
            if not asking:
                refuse(f"nobody knows the mail servers of {domain}. Say --host imap.{domain}.", FAILED)
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
            refuse(
                f"only DNS says so, which can be forged. If it is right: --host {found.imap.host}.", FAILED
            )
        if not typer.confirm("Only DNS says so, which can be forged. Is it right?", err=True):
            refuse("then say --host.", FAILED)


def _check_security(found: Servers) -> None:
    from mailrules.config.server import is_loopback

    if found.imap.security == "none" and not is_loopback(found.imap.host):
        refuse(
            f"--security none would send the password in the clear to {found.imap.host}. Say tls or starttls."
        )


# -- the password ----------------------------------------------------------------------------------------
def ask_password(
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
            refuse(
                f"there is a {path} already. If the password is in it: --password-file {path.name}.", FAILED
            )
    if start.oauth:
        return place_of_it, None
    if not asking:
        if no_login:
            return place_of_it, None
        refuse(
            "nobody can be asked for the password here. "
            "Say --password-file, --password-command, --password-env or --password-keyring."
        )
    return place_of_it, _typed(start)


def _beside(start: Start, place: Path) -> Secret:
    from mailrules.adapters.secret import Secret

    path = place.absolute().with_name(f"{start.account}.{'token' if start.oauth else 'password'}")
    return Secret("file", (str(path),), username=start.username)


def keep(secret: Secret, value: str, start: Start, place: Path) -> Secret:
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


def agree(start: Start, secret: Secret, place: Path) -> tuple[Start, Secret]:
    """Have the person get tokens now, if there is a client id to ask with."""
    from mailrules.adapters.oauth_grant import Client
    from mailrules.cli.login import obtain
    from mailrules.config import providers

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
    return start, keep(secret, tokens.as_text(), start, place)


def _typed(start: Start) -> str:
    words = f"Password for {start.username} at {start.imap.host}"
    password = str(typer.prompt(words, hide_input=True, err=True))
    from mailrules.adapters.secret import remember

    remember(password)
    return password


def kept(secret: Secret) -> bool:
    """Whether something is kept there already."""
    from mailrules.core.errors import MailrulesError

    try:
        return bool(secret.read())
    except MailrulesError:
        return False


def log_in(
    start: Start, servers: Servers, secret: Secret, typed: str | None, *, asking: bool
) -> tuple[Connection, Start, str | None]:
    """An open connection. A typed password may be mended. Raises what the login raises."""
    from mailrules.adapters.imap.connection import LoginRefused
    from mailrules.setup.first_look import connect

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
