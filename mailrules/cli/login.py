"""`mailrules login`: OAuth tokens for an account, kept where its password would be."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mailrules.cli.options import Common
from mailrules.cli.output import emit, note, say

if TYPE_CHECKING:
    from mailrules.adapters.oauth import Tokens
    from mailrules.adapters.oauth_grant import Client
    from mailrules.config import Account

FAILED, USAGE = 1, 2


def command(
    common: Common,
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's name in the file.")],
    *,
    device: Annotated[
        bool, typer.Option("--device", help="With a code that you type in a browser elsewhere.")
    ] = False,
    paste: Annotated[
        bool, typer.Option("--paste", help="With a browser elsewhere, whose last address you paste here.")
    ] = False,
    client_id: Annotated[
        str | None, typer.Option("--client-id", metavar="ID", help="Default: the account's oauth.client_id.")
    ] = None,
    client_secret_file: Annotated[
        Path | None,
        typer.Option("--client-secret-file", metavar="FILE", help="Default: oauth.client_secret."),
    ] = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Only show the address; you open it yourself.")
    ] = False,
) -> int:
    """Let mailrules into an account that wants OAuth (Outlook, and Gmail with `auth: oauth`).

    You need a client id of your own from the provider. A browser asks you, the tokens go where the
    account's password: says (keyring or file), and are renewed by themselves from then on.

    Example: mailrules login work --device
    """
    from mailrules.adapters.secret import Secret

    config = common.load()
    settings = config.accounts.get(account)
    if settings is None:
        known = ", ".join(config.accounts) or "none"
        note(f"mailrules: there is no account '{account}' in {config.path}. There are: {known}.")
        return USAGE
    if settings.auth != "oauth":
        note(
            f"mailrules: account '{account}' logs in with a password. If its provider wants OAuth, "
            "write auth: oauth there."
        )
        return USAGE
    if not settings.password.writable:
        note(
            f"mailrules: tokens can't be kept in {settings.password.where}. "
            "Write password: {keyring: mailrules} or {file: PATH}."
        )
        return USAGE
    secret = Secret("file", (str(client_secret_file),)) if client_secret_file is not None else None
    client = client_of(settings, client_id=client_id, secret=secret)
    tokens = obtain(client, username=settings.username, device=device, paste=paste, browser=not no_browser)
    settings.password.write(tokens.as_text())
    note(f"The tokens are kept in {settings.password.where}, and renewed by themselves.")
    return try_it(settings, as_json=common.json)


def client_of(account: Account, *, client_id: str | None = None, secret: object = None) -> Client:
    """As whom tokens are asked for. Raises PermanentError that says what is missing."""
    from mailrules.adapters.oauth_grant import Client
    from mailrules.adapters.secret import Secret
    from mailrules.config import providers
    from mailrules.core.errors import PermanentError

    said = account.oauth
    client_id = client_id or said.client_id
    if not client_id:
        provider = providers.find(account.provider or "")
        where = f" Get one: {provider.oauth.register}." if provider and provider.oauth else ""
        raise PermanentError(
            f"account '{account.name}' has no client id.{where} "
            "Then write oauth: {client_id: …} there, or say --client-id."
        )
    if not (said.token_url and said.authorize_url and said.scope):
        raise PermanentError(
            f"account '{account.name}' does not say where its tokens come from. "
            "Write oauth: {authorize_url: …, token_url: …, scope: …} there."
        )
    kept = secret if isinstance(secret, Secret) else said.client_secret
    return Client(
        client_id=client_id,
        client_secret=kept.read() if kept is not None else "",
        authorize_url=said.authorize_url,
        token_url=said.token_url,
        device_url=said.device_url,
        scope=said.scope,
    )


def obtain(client: Client, *, username: str, device: bool, paste: bool, browser: bool) -> Tokens:
    """Have the person agree, in the way that was asked for. Raises PermanentError, TransientError."""
    from mailrules.adapters.oauth_grant import by_browser, by_device, by_paste

    if device:
        return by_device(
            client, show=lambda where, code: note(f"Open {where} in any browser and enter the code {code}")
        )
    if paste:
        return by_paste(client, username=username, show=_show, ask=_pasted)
    return by_browser(client, username=username, show=_open if browser else _show)


def _show(url: str) -> None:
    note("Open this address in a browser, and agree there:")
    sys.stderr.write(f"{url}\n")  # whole, not wrapped: it is to be copied
    sys.stderr.flush()


def _open(url: str) -> None:
    import webbrowser

    _show(url)
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or sys.platform == "darwin":
        webbrowser.open(url)
    else:
        note("(No browser here? Ctrl-C, and say --device or --paste.)", style="dim")


def _pasted() -> str:
    note("The browser ends at an address that begins with http://localhost:1 and does not open.")
    return str(typer.prompt("Paste it here", err=True)).strip()


def try_it(account: Account, *, as_json: bool) -> int:
    """Log in with what is kept now, and say how it went. Raises what the login raises."""
    from mailrules.adapters.imap.connection import Connection
    from mailrules.ahead import login_of

    connection = Connection(login_of(account))
    try:
        connection.open()
    finally:
        connection.close()
    if as_json:
        emit({"account": account.name, "host": account.host, "username": account.username, "kept": True})
    else:
        say(f"Logged in to {account.host} as {account.username}.", style="green")
        say(f"Next: mailrules plan --account {account.name}")
    return 0
