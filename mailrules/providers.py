"""Mail providers by name: what `provider: gmail` fills in. The values are from their own help pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Security = Literal["tls", "starttls", "none"]


@dataclass(frozen=True, slots=True)
class Provider:
    """Where a provider's servers are, and what it wants for a password.

    `auth`: "password" is the one a person knows; "app password" is made for a program in the provider's
    settings; "oauth" means that the provider takes no password at all.
    """

    host: str
    smtp_host: str
    port: int = 993
    security: Security = "tls"
    smtp_port: int = 465
    smtp_security: Security = "tls"
    auth: Literal["password", "app password", "oauth"] = "password"
    note: str = ""


PROVIDERS: dict[str, Provider] = {
    "gmail": Provider(
        "imap.gmail.com",
        "smtp.gmail.com",
        auth="app password",
        note="Needs two-step verification and an app password: https://myaccount.google.com/apppasswords",
    ),
    "outlook": Provider(
        "outlook.office365.com",
        "smtp.office365.com",
        smtp_port=587,
        smtp_security="starttls",
        auth="oauth",
        note="Takes no passwords, only OAuth tokens: let password: {command: …} print one.",
    ),
    "yahoo": Provider(
        "imap.mail.yahoo.com",
        "smtp.mail.yahoo.com",
        auth="app password",
        note="Needs an app password (Account security). Has no IDLE: it is polled.",
    ),
    "aol": Provider(
        "imap.aol.com",
        "smtp.aol.com",
        auth="app password",
        note="Needs an app password (Account security). Has no IDLE: it is polled.",
    ),
    "icloud": Provider(
        "imap.mail.me.com",
        "smtp.mail.me.com",
        smtp_port=587,
        smtp_security="starttls",
        auth="app password",
        note="Needs an app-specific password: https://account.apple.com",
    ),
    "fastmail": Provider(
        "imap.fastmail.com",
        "smtp.fastmail.com",
        auth="app password",
        note="Needs an app password (Settings, Privacy & Security).",
    ),
    "gmx": Provider("imap.gmx.net", "mail.gmx.net", note="POP3/IMAP must be allowed in GMX's settings."),
    "gmx.com": Provider("imap.gmx.com", "mail.gmx.com", note="POP3/IMAP must be allowed in GMX's settings."),
    "web.de": Provider(
        "imap.web.de",
        "smtp.web.de",
        smtp_port=587,
        smtp_security="starttls",
        note="POP3/IMAP must be allowed in WEB.DE's settings.",
    ),
    "zoho": Provider(
        "imap.zoho.com",
        "smtp.zoho.com",
        note="IMAP must be allowed in Zoho's settings; with two-factor sign-in it needs an app password.",
    ),
    "zoho.eu": Provider(
        "imap.zoho.eu",
        "smtp.zoho.eu",
        note="IMAP must be allowed in Zoho's settings; with two-factor sign-in it needs an app password.",
    ),
    "yandex": Provider(
        "imap.yandex.com",
        "smtp.yandex.com",
        auth="app password",
        note="IMAP must be allowed in Yandex's settings, and it needs an app password.",
    ),
    "mailbox.org": Provider("imap.mailbox.org", "smtp.mailbox.org"),
    "posteo": Provider("posteo.de", "posteo.de"),
    "migadu": Provider("imap.migadu.com", "smtp.migadu.com"),
    "t-online": Provider(
        "secureimap.t-online.de",
        "securesmtp.t-online.de",
        auth="app password",
        note="Needs the e-mail password made in the customer centre, not the login's.",
    ),
    "mail.ru": Provider("imap.mail.ru", "smtp.mail.ru", auth="app password", note="Needs an app password."),
    "proton-bridge": Provider(
        "127.0.0.1",
        "127.0.0.1",
        port=1143,
        security="starttls",
        smtp_port=1025,
        smtp_security="starttls",
        note="The password is the Bridge's own; its certificate must be exported and trusted by this system.",
    ),
}

ALIASES = {
    "google": "gmail",
    "googlemail": "gmail",
    "office365": "outlook",
    "microsoft": "outlook",
    "hotmail": "outlook",
    "apple": "icloud",
    "me.com": "icloud",
    "webde": "web.de",
    "proton": "proton-bridge",
    "protonmail": "proton-bridge",
    "mailbox": "mailbox.org",
}


def find(name: str) -> Provider | None:
    """A provider by its name or another name it is known by, in any case."""
    name = name.lower()
    return PROVIDERS.get(ALIASES.get(name, name))
