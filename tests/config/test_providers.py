"""mailrules.config.providers: who a domain's mail belongs to."""

from __future__ import annotations

import pytest

from mailrules.config import providers
from mailrules.config.providers import PROVIDERS


@pytest.mark.parametrize(
    ("domain", "name"),
    [
        ("gmail.com", "gmail"), ("GMAIL.COM", "gmail"), ("hotmail.com", "outlook"), ("gmx.de", "gmx"),
        ("me.com", "icloud"), ("proton.me", "proton-bridge"), ("example.org", None), ("notgmail.com", None),
    ],
)  # fmt: skip
def test_by_domain(domain: str, name: str | None) -> None:
    """In any case, and whole."""
    assert providers.of_domain(domain) == name


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("aspmx.l.google.com", "gmail"), ("smtp.google.com.", "gmail"),
        ("example-org.mail.protection.outlook.com", "outlook"), ("in1-smtp.messagingengine.com", "fastmail"),
        ("mx1.mail.icloud.com", "icloud"), ("mx.example.org", None), ("evilgoogle.com", None),
    ],
)  # fmt: skip
def test_by_mail_exchanger(host: str, name: str | None) -> None:
    """Other people's domains that a provider serves."""
    assert providers.of_exchanger(host) == name


def test_no_domain_is_claimed_twice() -> None:
    """Each address leads to one provider."""
    domains = [domain for provider in PROVIDERS.values() for domain in provider.domains]
    assert len(domains) == len(set(domains))


@pytest.mark.parametrize("name", PROVIDERS)
def test_what_needs_something_says_what(name: str) -> None:
    """Where the password a person knows is not enough, there are words for it; OAuth has its addresses."""
    provider = PROVIDERS[name]
    if provider.auth != "password":
        assert len(provider.note) > 20
    if provider.auth == "oauth":
        assert provider.oauth is not None
    if provider.oauth is not None:
        for url in (provider.oauth.authorize_url, provider.oauth.token_url):
            assert url.startswith("https://")
