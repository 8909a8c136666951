"""How a server is reached: host, security, port; and `smtp`, where mail is handed in."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Literal, cast

from mailrules.adapters.secret import Secret
from mailrules.config.providers import Provider
from mailrules.config.reader import Section
from mailrules.config.secret import Secrets

Security = Literal["tls", "starttls", "none"]
SECURITIES = ("tls", "starttls", "none")
IMAP_PORTS = {"tls": 993, "starttls": 143, "none": 143}
SMTP_PORTS = {"tls": 465, "starttls": 587, "none": 25}
SMTP_KEYS = ("host", "port", "security", "username", "password", "from")
_ADDRESS = re.compile(r"[^\s@<>,;\"]+@[^\s@<>,;\"]+")


@dataclass(frozen=True, slots=True)
class Smtp:
    """Where mail is handed in. Without a username there is no login. `auth`: as for the account."""

    host: str
    port: int
    security: Security
    username: str | None
    password: Secret | None
    from_address: str
    auth: Literal["password", "oauth"] = "password"


def read_smtp(
    account: Section,
    *,
    provider: Provider | None,
    secrets: Secrets,
    username: str | None,
    password: Secret | None,
    auth: Literal["password", "oauth"] = "password",
    address: str,
) -> Smtp | None:
    """What `smtp` of an account says, filled up from its provider and its own login."""
    if "smtp" in account.data and account.data["smtp"] is None:
        return None  # `smtp: ~`: not this account, whatever defaults or provider say
    if "smtp" not in account and provider is None:
        return None
    path = (*account.path, "smtp")
    section = Section(
        account.data.get("smtp"), path=path, report=account.report, known=SMTP_KEYS, what="smtp"
    )
    host = host_name(section) or (provider.smtp_host if provider else None)
    if host is None and section.lacks("host"):
        section.missing("smtp has no 'host'. Write host: smtp.example.org")
    preset = provider if provider and "host" not in section else None
    security = security_of(section, host, preset.smtp_security if preset else "tls")
    port = port_of(section, preset.smtp_port if preset else SMTP_PORTS[security])
    # A relay on this machine takes mail without a login, and a password is not for plain text.
    login = not (security == "none" and "password" not in section) and not (
        "username" in section.data and section.data["username"] is None
    )
    own_name = section.text("username")
    own_password = secrets.read(section, own_name or username or "")
    sender = mail_address(section, "from") or address
    if host is None:
        return None
    return Smtp(
        host=host,
        port=port,
        security=security,
        username=(own_name or username) if login else None,
        password=(own_password or password) if login else None,
        from_address=sender,
        auth=auth if own_password is None else "password",
    )


def host_name(section: Section) -> str | None:
    host = section.text("host")
    if host is None:
        return None
    if "://" in host:
        section.error("host", "host: a name, not a URL. Write imap.example.org, and the port under 'port'.")
    elif re.fullmatch(r"[^:\s]+:\d+", host):
        section.error("host", f"host: the port stands under 'port'. Write host: {host.split(':')[0]}")
    elif re.search(r"[\s/@\[\]]", host):
        section.error("host", "host: this is not a host name. Write a name like imap.example.org")
    else:
        return host
    return None


def security_of(section: Section, host: str | None, default: Security) -> Security:
    security = cast(Security, section.choice("security", SECURITIES, default))
    if security == "none" and host is not None and not is_loopback(host):
        section.error(
            "security",
            f"security: none would send the password in the clear to {host}. "
            "Write tls or starttls: none is for this machine only (localhost).",
        )
    return security


def is_loopback(host: str) -> bool:
    """Whether this is surely this machine: `localhost`, 127.0.0.0/8, ::1."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def port_of(section: Section, default: int) -> int:
    return section.integer("port", default, low=1, high=65_535) or default


def mail_address(section: Section, key: str) -> str | None:
    address = section.text(key)
    if address is not None and not _ADDRESS.fullmatch(address):
        section.error(key, f"{key}: '{address}' is not a mail address. Write me@example.org")
        return None
    return address
