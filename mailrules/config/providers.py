"""Mail providers by name: what `provider: gmail` fills in. The values are from their own help pages.

`init` knows them by the domain of an address, and by the mail exchanger of a domain that they serve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Security = Literal["tls", "starttls", "none"]


@dataclass(frozen=True, slots=True)
class OAuthServer:
    """Where a provider gives out tokens for mail (RFC 6749, RFC 8628). "" where it has no such thing."""

    authorize_url: str
    token_url: str
    device_url: str
    scope: str
    register: str  # where people get a client id of their own, in words


GOOGLE = OAuthServer(
    authorize_url="https://accounts.google.com/o/oauth2/v2/auth",
    token_url="https://oauth2.googleapis.com/token",  # noqa: S106 - an address
    device_url="",  # Google's takes no scope for mail
    scope="https://mail.google.com/",
    register="https://console.cloud.google.com/apis/credentials (OAuth client ID, type: Desktop app)",
)
MICROSOFT = OAuthServer(
    authorize_url="https://login.microsoftonline.com/common/oauth2/v2.0/authorize",
    token_url="https://login.microsoftonline.com/common/oauth2/v2.0/token",  # noqa: S106 - an address
    device_url="https://login.microsoftonline.com/common/oauth2/v2.0/devicecode",
    scope=(
        "https://outlook.office.com/IMAP.AccessAsUser.All https://outlook.office.com/SMTP.Send offline_access"
    ),
    register=(
        "https://entra.microsoft.com (App registrations: a public client with the redirect URI "
        "http://localhost)"
    ),
)
YAHOO = OAuthServer(
    authorize_url="https://api.login.yahoo.com/oauth2/request_auth",
    token_url="https://api.login.yahoo.com/oauth2/get_token",  # noqa: S106 - an address
    device_url="",
    scope="mail-w",
    register="https://developer.yahoo.com/apps (access to mail is given on request)",
)


@dataclass(frozen=True, slots=True)
class Provider:
    """Where a provider's servers are, and what it wants for a password.

    `auth`: "password" is the one a person knows; "app password" is made for a program in the provider's
    settings; "oauth" means that the provider takes no password at all. `domains`: of its addresses. `mx`:
    ends of the names of its mail exchangers, which also serve other domains. `note`: what to do first.
    """

    host: str
    smtp_host: str
    port: int = 993
    security: Security = "tls"
    smtp_port: int = 465
    smtp_security: Security = "tls"
    auth: Literal["password", "app password", "oauth"] = "password"
    note: str = ""
    domains: tuple[str, ...] = ()
    mx: tuple[str, ...] = ()
    oauth: OAuthServer | None = None


PROVIDERS: dict[str, Provider] = {
    "gmail": Provider(
        "imap.gmail.com",
        "smtp.gmail.com",
        auth="app password",
        note=(
            "Needs two-step verification and an app password: https://myaccount.google.com/apppasswords "
            "(where a company forbids those: auth: oauth, and `mailrules login`)."
        ),
        domains=("gmail.com", "googlemail.com"),
        mx=("google.com", "googlemail.com"),
        oauth=GOOGLE,
    ),
    "outlook": Provider(
        "outlook.office365.com",
        "smtp.office365.com",
        smtp_port=587,
        smtp_security="starttls",
        auth="oauth",
        note=(
            "Takes no passwords, only OAuth tokens: `mailrules login` gets them, with a client id of your "
            "own; or let password: {command: …} print one."
        ),
        domains=(
            "outlook.com", "hotmail.com", "live.com", "msn.com", "outlook.de", "outlook.fr", "outlook.es",
            "outlook.it", "outlook.jp", "hotmail.co.uk", "hotmail.de", "hotmail.fr", "hotmail.it",
            "hotmail.es", "live.co.uk", "live.de", "live.fr", "live.nl", "live.it", "passport.com",
        ),
        mx=("mail.protection.outlook.com", "mx.microsoft", "olc.protection.outlook.com"),
        oauth=MICROSOFT,
    ),
    "yahoo": Provider(
        "imap.mail.yahoo.com",
        "smtp.mail.yahoo.com",
        auth="app password",
        note=(
            "Needs an app password: https://login.yahoo.com/account/security (Generate app password). "
            "Has no IDLE: it is polled."
        ),
        domains=(
            "yahoo.com", "ymail.com", "rocketmail.com", "yahoo.co.uk", "yahoo.de", "yahoo.fr", "yahoo.it",
            "yahoo.es", "yahoo.ca", "yahoo.co.in", "yahoo.com.br", "yahoo.com.au",
        ),
        mx=("yahoodns.net",),
        oauth=YAHOO,
    ),
    "aol": Provider(
        "imap.aol.com",
        "smtp.aol.com",
        auth="app password",
        note=(
            "Needs an app password: https://login.aol.com/account/security (Generate app password). "
            "Has no IDLE: it is polled."
        ),
        domains=("aol.com", "aim.com", "aol.de", "aol.co.uk"),
    ),
    "icloud": Provider(
        "imap.mail.me.com",
        "smtp.mail.me.com",
        smtp_port=587,
        smtp_security="starttls",
        auth="app password",
        note=(
            "Needs an app-specific password: https://account.apple.com (Sign-In and Security). "
            "If the whole address is refused, the user name is what stands before the @."
        ),
        domains=("icloud.com", "me.com", "mac.com"),
        mx=("mail.icloud.com",),
    ),
    "fastmail": Provider(
        "imap.fastmail.com",
        "smtp.fastmail.com",
        auth="app password",
        note="Needs an app password: https://app.fastmail.com/settings/security/apppasswords (IMAP, SMTP).",
        domains=("fastmail.com", "fastmail.fm", "fastmail.net", "fastmail.org", "sent.com"),
        mx=("messagingengine.com",),
    ),
    "gmx": Provider(
        "imap.gmx.net",
        "mail.gmx.net",
        note="POP3/IMAP must be allowed in GMX's settings (E-Mail, POP3/IMAP Abruf).",
        domains=("gmx.de", "gmx.net", "gmx.at", "gmx.ch"),
    ),
    "gmx.com": Provider(
        "imap.gmx.com",
        "mail.gmx.com",
        note="POP3/IMAP must be allowed in GMX's settings (E-mail, POP3 & IMAP).",
        domains=("gmx.com", "gmx.us", "gmx.co.uk", "gmx.fr", "gmx.es", "gmx.it", "mail.com", "email.com"),
    ),
    "web.de": Provider(
        "imap.web.de",
        "smtp.web.de",
        smtp_port=587,
        smtp_security="starttls",
        note="POP3/IMAP must be allowed in WEB.DE's settings (E-Mail, POP3/IMAP Abruf).",
        domains=("web.de", "email.de"),
    ),
    "zoho": Provider(
        "imap.zoho.com",
        "smtp.zoho.com",
        note="IMAP must be allowed in Zoho's settings; with two-factor sign-in it needs an app password.",
        domains=("zoho.com", "zohomail.com"),
        mx=("zoho.com",),
    ),
    "zoho.eu": Provider(
        "imap.zoho.eu",
        "smtp.zoho.eu",
        note="IMAP must be allowed in Zoho's settings; with two-factor sign-in it needs an app password.",
        domains=("zoho.eu", "zohomail.eu"),
        mx=("zoho.eu",),
    ),
    "yandex": Provider(
        "imap.yandex.com",
        "smtp.yandex.com",
        auth="app password",
        note=(
            "IMAP must be allowed in Yandex's settings, and it needs an app password: "
            "https://id.yandex.com/security/app-passwords"
        ),
        domains=("yandex.com", "yandex.ru", "ya.ru", "yandex.by", "yandex.kz"),
        mx=("yandex.net", "yandex.ru"),
    ),
    "mailbox.org": Provider(
        "imap.mailbox.org", "smtp.mailbox.org", domains=("mailbox.org",), mx=("mailbox.org",),
        note="With two-factor sign-in it needs an application password (Settings, Security).",
    ),
    "posteo": Provider(
        "posteo.de", "posteo.de",
        domains=("posteo.de", "posteo.net", "posteo.org", "posteo.eu", "posteo.ch", "posteo.at"),
    ),
    "migadu": Provider("imap.migadu.com", "smtp.migadu.com", mx=("migadu.com",)),
    "t-online": Provider(
        "secureimap.t-online.de",
        "securesmtp.t-online.de",
        auth="app password",
        note="Needs the e-mail password made in the customer centre, not the login's.",
        domains=("t-online.de", "magenta.de"),
    ),
    "freenet": Provider("mx.freenet.de", "mx.freenet.de", domains=("freenet.de",)),
    "mail.ru": Provider(
        "imap.mail.ru",
        "smtp.mail.ru",
        auth="app password",
        note="Needs an app password: https://account.mail.ru/user/2-step-auth/passwords",
        domains=("mail.ru", "inbox.ru", "list.ru", "bk.ru"),
    ),
    "seznam": Provider("imap.seznam.cz", "smtp.seznam.cz", domains=("seznam.cz", "email.cz", "post.cz")),
    "wp.pl": Provider(
        "imap.wp.pl", "smtp.wp.pl", domains=("wp.pl",), note="IMAP must be allowed in WP's settings."
    ),
    "orange": Provider("imap.orange.fr", "smtp.orange.fr", domains=("orange.fr", "wanadoo.fr")),
    "free.fr": Provider("imap.free.fr", "smtp.free.fr", domains=("free.fr",)),
    "laposte": Provider("imap.laposte.net", "smtp.laposte.net", domains=("laposte.net",)),
    "libero": Provider("imapmail.libero.it", "smtp.libero.it", domains=("libero.it", "iol.it")),
    "comcast": Provider(
        "imap.comcast.net", "smtp.comcast.net", domains=("comcast.net",),
        note="Third-party access must be allowed in Xfinity's e-mail settings.",
    ),
    "ionos": Provider("imap.ionos.de", "smtp.ionos.de", mx=("kundenserver.de", "ionos.com", "1and1.com")),
    "ovh": Provider("ssl0.ovh.net", "ssl0.ovh.net", mx=("mail.ovh.net",)),
    "gandi": Provider("mail.gandi.net", "mail.gandi.net", mx=("mail.gandi.net",)),
    "infomaniak": Provider("mail.infomaniak.com", "mail.infomaniak.com", mx=("infomaniak.ch",)),
    "dreamhost": Provider("imap.dreamhost.com", "smtp.dreamhost.com", mx=("dreamhost.com",)),
    "purelymail": Provider("imap.purelymail.com", "smtp.purelymail.com", mx=("purelymail.com",)),
    "proton-bridge": Provider(
        "127.0.0.1",
        "127.0.0.1",
        port=1143,
        security="starttls",
        smtp_port=1025,
        smtp_security="starttls",
        note=(
            "Proton Mail speaks IMAP by way of the Bridge only, which must run on this machine. "
            "The password is the Bridge's own; its certificate must be exported and trusted by this system."
        ),
        domains=("proton.me", "protonmail.com", "protonmail.ch", "pm.me"),
        mx=("protonmail.ch",),
    ),
}  # fmt: skip

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
    "1and1": "ionos",
}


def find(name: str) -> Provider | None:
    """A provider by its name or another name it is known by, in any case."""
    name = name.lower()
    return PROVIDERS.get(ALIASES.get(name, name))


def of_domain(domain: str) -> str | None:
    """The name of the provider whose addresses end in this domain."""
    domain = domain.lower().rstrip(".")
    return next((name for name, provider in PROVIDERS.items() if domain in provider.domains), None)


def of_exchanger(host: str) -> str | None:
    """The name of the provider whose mail exchanger this is: it serves other people's domains, too."""
    host = "." + host.lower().rstrip(".")
    for name, provider in PROVIDERS.items():
        if any(host.endswith("." + end) for end in provider.mx):
            return name
    return None
