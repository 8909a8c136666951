"""OAuth tokens instead of a password: kept where a password would be, fresh whenever somebody logs in.

What is kept is one line of JSON, written by `mailrules login` (oauth_grant.py gets it). A bare token, as
other programs print it, is taken as it is: those keep it fresh themselves.
"""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import dataclass, replace
from typing import Any

from mailrules import clock
from mailrules.adapters.secret import Secret, remember, scrub
from mailrules.core.errors import PermanentError, TransientError

log = logging.getLogger("mailrules.oauth")

PATIENCE = 20.0
"""Seconds for the provider's answer."""
LEFT = 0.2
"""What must be left of a token's life, or a new one is fetched."""


class NeedsLogin(PermanentError):
    """The provider does not know us any more: a person has to say `mailrules login`."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a provider gave. `expires` and `lifetime` in seconds; never shown."""

    access: str
    refresh: str
    expires: float
    lifetime: float
    token_url: str
    client_id: str
    client_secret: str = ""

    def __repr__(self) -> str:
        return f"Tokens(for {self.token_url})"

    @property
    def fresh(self) -> bool:
        return clock.now().timestamp() < self.expires - LEFT * self.lifetime

    def as_text(self) -> str:
        """As it is kept, in one line."""
        names = ("access", "refresh", "expires", "lifetime", "token_url", "client_id", "client_secret")
        return json.dumps({name: getattr(self, name) for name in names})

    @classmethod
    def from_text(cls, text: str) -> Tokens | None:
        """None: this is no token set, but a token."""
        try:
            tokens = cls(**json.loads(text))
        except (ValueError, TypeError):
            return None
        for value in (tokens.access, tokens.refresh, tokens.client_secret):
            remember(value)
        return tokens

    @classmethod
    def from_answer(cls, answer: dict[str, Any], before: Tokens) -> Tokens:
        """What a token endpoint has answered. A refresh token that it does not repeat stays."""
        access = answer.get("access_token")
        if not isinstance(access, str) or not access:
            raise PermanentError(f"{before.token_url} answered without a token. Is this the right address?")
        try:
            lifetime = float(answer.get("expires_in") or 3600)
        except (TypeError, ValueError):
            lifetime = 3600.0
        refresh = answer.get("refresh_token")
        found = replace(
            before,
            access=access,
            refresh=refresh if isinstance(refresh, str) and refresh else before.refresh,
            lifetime=lifetime,
            expires=clock.now().timestamp() + lifetime,
        )
        for value in (found.access, found.refresh):
            remember(value)
        return found


def access_token(secret: Secret, *, account: str) -> str:
    """A token that is good for a login now, fetched anew if what is kept there is about to expire.

    One thread at a time for each place; a new token is kept before it is used. Raises NeedsLogin,
    another PermanentError, or TransientError.
    """
    with _turn(secret):
        kept = secret.read()
        tokens = Tokens.from_text(kept)
        if tokens is None:
            return kept
        where = _name(secret)
        before, unkept = _unkept.get(where, ("", tokens))
        if before == kept:
            tokens = unkept
        if tokens.fresh:
            return tokens.access
        try:
            fresh = refreshed(tokens)
        except NeedsLogin as error:
            again = Tokens.from_text(secret.read())  # somebody else may have been quicker
            if again is not None and again != tokens and again.fresh:
                return again.access
            raise NeedsLogin(f"{error} Say `mailrules login {account}`.") from None
        try:
            secret.write(fresh.as_text())
        except PermanentError as error:
            if where not in _unkept:
                log.warning("%s: the new token could not be kept: %s", account, error)
            _unkept[where] = (kept, fresh)
        return fresh.access


def refreshed(tokens: Tokens) -> Tokens:
    """The same with a new access token (RFC 6749, section 6). Raises NeedsLogin, TransientError."""
    if not tokens.refresh:
        raise NeedsLogin("the token has expired, and the provider gave none to renew it with.")
    form = {"grant_type": "refresh_token", "refresh_token": tokens.refresh, "client_id": tokens.client_id}
    if tokens.client_secret:
        form["client_secret"] = tokens.client_secret
    answer, error = post(tokens.token_url, form)
    if error:
        raise NeedsLogin(f"the provider does not renew the token: {error}.")
    return Tokens.from_answer(answer, tokens)


def post(url: str, form: dict[str, str]) -> tuple[dict[str, Any], str]:
    """Ask an endpoint: its answer, and its error in words ("invalid_grant: …") or "".

    `answer["error"]` is the error's name. Raises TransientError where it can't be reached or is not well.
    """
    import httpx

    try:
        response = httpx.post(url, data=form, timeout=PATIENCE, headers={"Accept": "application/json"})
    except httpx.HTTPError as error:
        raise TransientError(f"{url} can't be reached: {scrub(str(error) or type(error).__name__)}") from None
    except (httpx.InvalidURL, UnicodeError) as error:
        raise PermanentError(f"{url} is no address of a server: {error}") from None
    if response.status_code == 429 or response.status_code >= 500:
        raise TransientError(f"{url} answers {response.status_code}. Try again later.")
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise PermanentError(f"{url} answers {response.status_code}, and no JSON. Is this the right address?")
    if response.status_code >= 400 or "error" in answer:
        name = str(answer.get("error") or response.status_code)
        said = str(answer.get("error_description") or "").partition("\n")[0].strip().rstrip(".")
        return {**answer, "error": name}, scrub(f"{name}: {said}" if said else name)[:300]
    return answer, ""


_guard = threading.Lock()
_turns: dict[str, threading.Lock] = {}
_unkept: dict[str, tuple[str, Tokens]] = {}
"""Where nothing can be written: what is kept there, and the tokens that it has become since."""


def _name(secret: Secret) -> str:
    return f"{secret.where} {secret.username}"


def _turn(secret: Secret) -> threading.Lock:
    """A provider may take back all tokens of a grant that is renewed twice at once."""
    with _guard:
        return _turns.setdefault(_name(secret), threading.Lock())
