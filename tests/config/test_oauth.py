"""mailrules.config.oauth: which accounts log in with tokens, and where those come from."""

from __future__ import annotations

import pytest

from mailrules import config
from mailrules.config.providers import MICROSOFT
from mailrules.core.errors import ConfigError

BASE = "accounts: {work: {username: me@example.org, password: {file: t}, %s}}\nrules: []\n"


def account(text: str) -> config.Account:
    return config.parse(BASE % text, environ={}).accounts["work"]


def test_a_password_unless_it_says_otherwise() -> None:
    """Also for a provider that knows both."""
    assert account("host: a.example").auth == "password"
    assert account("provider: gmail").auth == "password"
    found = account("provider: gmail, auth: oauth, oauth: {client_id: x}")
    assert found.auth == "oauth"
    assert found.oauth.client_id == "x"
    assert found.oauth.token_url.startswith("https://")
    assert found.smtp is not None
    assert found.smtp.auth == "oauth"


def test_a_provider_may_want_tokens() -> None:
    """Outlook takes nothing else; the file's own addresses count before the provider's."""
    found = account("provider: outlook")
    assert (found.auth, found.oauth.token_url) == ("oauth", MICROSOFT.token_url)
    own = account("provider: outlook, oauth: {token_url: 'https://login.example/t', scope: a b}")
    assert (own.oauth.token_url, own.oauth.scope) == ("https://login.example/t", "a b")
    assert own.oauth.authorize_url == MICROSOFT.authorize_url


def test_smtp_with_a_password_of_its_own() -> None:
    """That is no token."""
    found = account("provider: outlook, smtp: {password: {env: X}}")
    assert found.smtp is not None
    assert found.smtp.auth == "password"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("auth: oauht", "Did you mean 'oauth'?"),
        ("oauth: {clientid: x}", "Did you mean 'client_id'?"),
        ("oauth: {client_secret: hunter2}", "does not stand in the file"),
        ("oauth: {token_url: 'http://login.example/t'}", "begins with https://"),
        ("oauth: {device_url: login.example}", "begins with https://"),
    ],
)
def test_mistakes(text: str, words: str) -> None:
    """Each is said, and a secret is not repeated."""
    with pytest.raises(ConfigError) as caught:
        account(f"host: a.example, {text}")
    assert words in str(caught.value.lines)
    assert "hunter2" not in str(caught.value.lines)


def test_a_loopback_needs_no_tls() -> None:
    """There is nobody on the way."""
    found = account("host: a.example, oauth: {token_url: 'http://127.0.0.1:1/t'}")
    assert found.oauth.token_url == "http://127.0.0.1:1/t"
