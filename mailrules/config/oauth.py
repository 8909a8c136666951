"""`auth` and `oauth`: whether an account logs in with tokens, and as which client they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from mailrules.adapters.secret import Secret
from mailrules.config.providers import Provider
from mailrules.config.reader import Section
from mailrules.config.secret import Secrets
from mailrules.config.server import is_loopback

Auth = Literal["password", "oauth"]
AUTHS = ("password", "oauth")
OAUTH_KEYS = ("client_id", "client_secret", "authorize_url", "token_url", "device_url", "scope")


@dataclass(frozen=True, slots=True)
class OAuth:
    """As whom and where `mailrules login` asks for tokens. "" for what the file and provider don't say."""

    client_id: str = ""
    client_secret: Secret | None = None
    authorize_url: str = ""
    token_url: str = ""
    device_url: str = ""
    scope: str = ""


def read_auth(section: Section, provider: Provider | None) -> Auth:
    """`auth` of an account: what it says, else what its provider wants, else a password."""
    default = "oauth" if provider is not None and provider.auth == "oauth" else "password"
    return cast(Auth, section.choice("auth", AUTHS, default))


def read_oauth(account: Section, *, provider: Provider | None, secrets: Secrets) -> OAuth:
    """`oauth` of an account, filled up from its provider."""
    section = Section(
        account.data.get("oauth"),
        path=(*account.path, "oauth"),
        report=account.report,
        known=OAUTH_KEYS,
        what="oauth",
    )
    preset = provider.oauth if provider is not None else None
    secret = secrets.read(section, "", key="client_secret")
    return OAuth(
        client_id=section.text("client_id") or "",
        client_secret=secret,
        authorize_url=_url(section, "authorize_url") or (preset.authorize_url if preset else ""),
        token_url=_url(section, "token_url") or (preset.token_url if preset else ""),
        device_url=_url(section, "device_url") or (preset.device_url if preset else ""),
        scope=section.text("scope") or (preset.scope if preset else ""),
    )


def _url(section: Section, key: str) -> str | None:
    from urllib.parse import urlsplit

    url = section.text(key)
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
    except ValueError:
        safe = False
    if not safe:
        section.error(key, f"{key}: tokens go there, so it begins with https://. Copy it from your provider.")
        return None
    return url
