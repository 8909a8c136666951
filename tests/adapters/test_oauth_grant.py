"""mailrules.adapters.oauth_grant: a person agrees, by browser, by pasting, or by a code."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from mailrules.adapters.oauth_grant import Client, by_browser, by_device, by_paste
from mailrules.core.errors import PermanentError, TransientError
from tests.lab.oauth import OAuthProvider


@pytest.fixture
def provider() -> Iterator[OAuthProvider]:
    with OAuthProvider("u0") as running:
        yield running


def client(provider: OAuthProvider, *, device: bool = True) -> Client:
    return Client(
        client_id="me", authorize_url=f"{provider.url}/authorize", token_url=f"{provider.url}/token",
        device_url=f"{provider.url}/device" if device else "", scope="mail", client_secret="hush",
    )  # fmt: skip


class Browser:
    """Opens what it is shown, in a thread, and follows where it leads."""

    def __init__(self) -> None:
        self.opened = ""

    def __call__(self, url: str) -> None:
        self.opened = url
        threading.Thread(target=lambda: httpx.get(url, follow_redirects=True), daemon=True).start()


def test_a_browser_comes_back_with_a_code(provider: OAuthProvider) -> None:
    """With PKCE: the provider of the lab gives nothing to who does not know the verifier."""
    browser = Browser()
    tokens = by_browser(client(provider), username="u0@example.test", show=browser)
    assert tokens.refresh == "refresh-1"
    assert tokens.token_url == f"{provider.url}/token"
    query = parse_qs(urlsplit(browser.opened).query)
    assert query["code_challenge_method"] == ["S256"]
    assert query["login_hint"] == ["u0@example.test"]
    assert urlsplit(query["redirect_uri"][0]).hostname == "127.0.0.1"
    (form,) = provider.requests
    assert (form["client_id"], form["client_secret"], form["code"]) == ("me", "hush", "the-code")


def test_somebody_elses_answer_counts_for_nothing(provider: OAuthProvider) -> None:
    """Another state is not taken for ours, and the door stays open for the right one."""
    statuses: list[int] = []

    def show(url: str) -> None:
        redirect = parse_qs(urlsplit(url).query)["redirect_uri"][0]

        def knock() -> None:
            statuses.append(httpx.get(f"{redirect}/?code=evil&state=wrong").status_code)
            statuses.append(httpx.get(url, follow_redirects=True).status_code)

        threading.Thread(target=knock, daemon=True).start()

    assert by_browser(client(provider), username="u", show=show).refresh == "refresh-1"
    assert statuses[0] == 404
    assert [form["code"] for form in provider.requests] == ["the-code"]


def test_nobody_comes_back(provider: OAuthProvider) -> None:
    """After a while it is said."""
    with pytest.raises(TransientError, match="nobody came back"):
        by_browser(client(provider), username="u", show=lambda url: None, patience=0.05)


def test_a_no_is_said(provider: OAuthProvider) -> None:
    """Whoever does not agree has nothing kept."""
    shown: list[str] = []

    def ask() -> str:
        state = parse_qs(urlsplit(shown[0]).query)["state"][0]
        return f"http://localhost:1/?error=access_denied&error_description=No+thanks&state={state}"

    with pytest.raises(PermanentError, match="No thanks"):
        by_paste(client(provider), username="u", show=shown.append, ask=ask)


def test_an_address_can_be_pasted(provider: OAuthProvider) -> None:
    """From a browser on another machine."""
    shown: list[str] = []

    def ask() -> str:
        return httpx.get(shown[0]).headers["Location"]

    assert by_paste(client(provider), username="u", show=shown.append, ask=ask).refresh == "refresh-1"
    with pytest.raises(PermanentError, match="not the answer"):
        by_paste(client(provider), username="u", show=shown.append, ask=lambda: "http://localhost:1/?code=x")


def test_a_code_is_typed_elsewhere(provider: OAuthProvider) -> None:
    """It is asked for until the person has done it."""
    provider.waits = 2
    shown: list[tuple[str, str]] = []
    tokens = by_device(client(provider), show=lambda where, code: shown.append((where, code)))
    assert shown == [(f"{provider.url}/enter", "WDJB-MJHT")]
    assert tokens.refresh == "refresh-1"
    assert len(provider.requests) == 3


def test_a_refusal_of_the_code_is_said(provider: OAuthProvider) -> None:
    """Also where a provider has no such thing."""
    provider.refuse = "access_denied"
    with pytest.raises(PermanentError, match="access_denied"):
        by_device(client(provider), show=lambda where, code: None)
    with pytest.raises(PermanentError, match="--paste"):
        by_device(client(provider, device=False), show=lambda where, code: None)
