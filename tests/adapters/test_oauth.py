"""mailrules.adapters.oauth: tokens are fresh when they are needed, kept safely, and never shown."""

from __future__ import annotations

import stat
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mailrules import clock
from mailrules.adapters.oauth import NeedsLogin, Tokens, access_token
from mailrules.adapters.secret import Secret, scrub
from mailrules.core.errors import PermanentError, TransientError
from tests.lab.oauth import OAuthProvider


@pytest.fixture
def provider() -> Iterator[OAuthProvider]:
    with OAuthProvider("u0") as running:
        yield running


@pytest.fixture
def secret(tmp_path: Path) -> Secret:
    return Secret("file", (str(tmp_path / "token"),))


def kept(provider: OAuthProvider, secret: Secret, *, left: float) -> Tokens:
    """Tokens whose hour is over in so many seconds."""
    tokens = Tokens(
        "access-0-of-the-lab", "refresh-0-of-the-lab", clock.now().timestamp() + left, 3600,
        f"{provider.url}/token", "client",
    )  # fmt: skip
    secret.write(tokens.as_text())
    return tokens


def test_a_fresh_token_is_used_as_it_is(provider: OAuthProvider, secret: Secret) -> None:
    """Nobody is asked."""
    kept(provider, secret, left=3000)
    assert access_token(secret, account="work") == "access-0-of-the-lab"
    assert provider.requests == []


def test_a_bare_token_is_used_as_it_is(secret: Secret) -> None:
    """Other programs keep theirs fresh themselves."""
    secret.write("ya29.somebody-elses")
    assert access_token(secret, account="work") == "ya29.somebody-elses"


@pytest.mark.parametrize("left", [-100, 600])
def test_one_that_is_about_to_expire_is_renewed_and_kept(
    provider: OAuthProvider, secret: Secret, left: float
) -> None:
    """With a fifth of its life left; the new one, and the new way to renew it, are kept for their owner."""
    kept(provider, secret, left=left)
    token = access_token(secret, account="work")
    assert provider.requests == [
        {"grant_type": "refresh_token", "refresh_token": "refresh-0-of-the-lab", "client_id": "client"}
    ]
    after = Tokens.from_text(secret.read())
    assert after is not None
    assert (after.access, after.refresh) == (token, "refresh-1")
    assert after.fresh
    assert stat.S_IMODE(Path(secret.argument[0]).stat().st_mode) == 0o600
    assert access_token(secret, account="work") == token
    assert len(provider.requests) == 1


def test_what_is_not_rotated_stays(provider: OAuthProvider, secret: Secret) -> None:
    """Google's answer to a renewal has no refresh token: the old one goes on."""
    provider.rotate = False
    kept(provider, secret, left=-1)
    access_token(secret, account="work")
    after = Tokens.from_text(secret.read())
    assert after is not None
    assert after.refresh == "refresh-0-of-the-lab"


def test_many_threads_renew_once(provider: OAuthProvider, secret: Secret) -> None:
    """All connections of an account come back at once after its hour."""
    kept(provider, secret, left=-1)
    got: list[str] = []
    threads = [
        threading.Thread(target=lambda: got.append(access_token(secret, account="work"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(got)) == 1
    assert len(got) == 8
    assert len(provider.requests) == 1


def test_a_grant_that_is_gone_needs_its_person(provider: OAuthProvider, secret: Secret) -> None:
    """The error says what to do; what is kept is not touched."""
    before = kept(provider, secret, left=-1)
    provider.refuse = "invalid_grant"
    with pytest.raises(NeedsLogin, match="mailrules login work"):
        access_token(secret, account="work")
    assert Tokens.from_text(secret.read()) == before


def test_a_provider_that_is_not_well_is_asked_later(provider: OAuthProvider, secret: Secret) -> None:
    """503, and nobody there at all."""
    tokens = kept(provider, secret, left=-1)
    provider.status = 503
    with pytest.raises(TransientError, match="503"):
        access_token(secret, account="work")
    secret.write(replace(tokens, token_url="http://127.0.0.1:9/token").as_text())
    with pytest.raises(TransientError, match="can't be reached"):
        access_token(secret, account="work")


def test_an_answer_without_a_token_is_no_answer(provider: OAuthProvider, secret: Secret) -> None:
    """A wrong address is said to be one."""
    tokens = kept(provider, secret, left=-1)
    with pytest.raises(PermanentError, match="right address"):
        Tokens.from_answer({"hello": 1}, tokens)


def test_tokens_are_never_shown(provider: OAuthProvider, secret: Secret) -> None:
    """Neither by repr nor in a log, once they were read."""
    tokens = kept(provider, secret, left=3000)
    access_token(secret, account="work")
    assert "of-the-lab" not in repr(tokens)
    assert scrub("NO Bearer access-0-of-the-lab refresh-0-of-the-lab") == "NO Bearer *** ***"


def test_where_nothing_can_be_written_it_is_remembered(
    provider: OAuthProvider, secret: Secret, caplog: pytest.LogCaptureFixture
) -> None:
    """A read-only place is said once, and not a reason to renew at each login; new tokens there count."""
    tokens = kept(provider, secret, left=-1)
    environ = {"TOKENS": tokens.as_text()}
    fixed = Secret("env", ("TOKENS",), environ=environ)
    provider.lifetime = 3600
    first = access_token(fixed, account="work")
    assert access_token(fixed, account="work") == first
    assert len(provider.requests) == 1
    assert caplog.text.count("could not be kept") == 1
    provider.lifetime = 0.001
    environ["TOKENS"] = replace(tokens, access="given-anew", expires=tokens.expires + 7200).as_text()
    assert access_token(fixed, account="work") == "given-anew"
