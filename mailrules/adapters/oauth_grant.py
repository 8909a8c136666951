"""How a person lets mailrules in: by a browser on this machine, or by a code typed elsewhere.

The authorization code goes with PKCE (RFC 7636) to a socket on 127.0.0.1 that lives as long as the request
(RFC 8252); the device grant is RFC 8628.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from mailrules import clock
from mailrules.adapters.oauth import Tokens, post
from mailrules.core.errors import PermanentError, TransientError

PATIENCE = 300.0
"""Seconds that a person has."""
_THANKS = (
    b"<!doctype html><meta charset=utf-8><title>mailrules</title>"
    b"<p>Thank you. You may close this window and go back to the terminal."
)


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks, and where. `device_url` may be ""."""

    client_id: str
    authorize_url: str
    token_url: str
    device_url: str
    scope: str
    client_secret: str = ""

    def tokens(self, answer: dict[str, Any]) -> Tokens:
        empty = Tokens("", "", 0.0, 0.0, self.token_url, self.client_id, self.client_secret)
        return Tokens.from_answer(answer, empty)

    def form(self, **fields: str) -> dict[str, str]:
        secret = {"client_secret": self.client_secret} if self.client_secret else {}
        return {"client_id": self.client_id, **secret, **fields}


class Request:
    """One request for an authorization code: the address to open, and what comes back from it."""

    def __init__(self, client: Client, *, username: str, redirect: str) -> None:
        self._client = client
        self._redirect = redirect
        self._state = secrets.token_urlsafe(24)
        self._verifier = secrets.token_urlsafe(64)
        challenge = urlsafe_b64encode(hashlib.sha256(self._verifier.encode()).digest()).decode().rstrip("=")
        query = {
            "client_id": client.client_id,
            "response_type": "code",
            "redirect_uri": redirect,
            "scope": client.scope,
            "state": self._state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "login_hint": username,
            # Google gives a token for renewal only when it is asked for one, and agreed to anew.
            "access_type": "offline",
            "prompt": "consent",
        }
        joint = "&" if urlsplit(client.authorize_url).query else "?"
        self.url = client.authorize_url + joint + urlencode(query)

    def belongs(self, returned: str) -> bool:
        """Whether this address is an answer to this request."""
        state = parse_qs(urlsplit(returned).query).get("state", [""])[0]
        return hmac.compare_digest(state.encode(), self._state.encode())

    def redeem(self, returned: str) -> Tokens:
        """Tokens for the code in the address that came back. Raises PermanentError, TransientError."""
        if not self.belongs(returned):
            raise PermanentError("that is not the answer to this request. Say `mailrules login` again.")
        answer = parse_qs(urlsplit(returned).query)
        if "code" not in answer:
            said = answer.get("error_description", answer.get("error", ["it gave no code"]))[0]
            raise PermanentError(f"the provider says: {said}. Nothing was kept.")
        form = self._client.form(
            grant_type="authorization_code",
            code=answer["code"][0],
            redirect_uri=self._redirect,
            code_verifier=self._verifier,
        )
        given, error = post(self._client.token_url, form)
        if error:
            raise PermanentError(f"the provider gives no token: {error}. Check the client id and its secret.")
        return self._client.tokens(given)


def by_browser(
    client: Client, *, username: str, show: Callable[[str], None], patience: float = PATIENCE
) -> Tokens:
    """Let a browser on this machine come back to us. `show` gets the address that is to be opened."""
    came: list[str] = []

    class Door(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            ours = request.belongs(self.path)
            self.send_response(200 if ours else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            if ours:
                self.wfile.write(_THANKS)
                came.append(self.path)

        def log_message(self, format: str, *args: Any) -> None:
            """The code is in the path: it is not logged."""

    with HTTPServer(("127.0.0.1", 0), Door) as server:
        redirect = f"http://127.0.0.1:{server.server_port}"
        if "microsoft" in (urlsplit(client.authorize_url).hostname or ""):
            redirect = f"http://localhost:{server.server_port}"  # the one it registers without a port
        request = Request(client, username=username, redirect=redirect)
        show(request.url)
        deadline = clock.timer() + patience
        while not came and (left := deadline - clock.timer()) > 0:
            server.timeout = min(left, 1.0)
            server.handle_request()
    if not came:
        raise TransientError(f"nobody came back within {patience:.0f} s. Say `mailrules login` again.")
    return request.redeem(came[0])


def by_paste(client: Client, *, username: str, show: Callable[[str], None], ask: Callable[[], str]) -> Tokens:
    """A browser on another machine: it ends at an address that opens nowhere, and `ask` gives us that."""
    request = Request(client, username=username, redirect="http://localhost:1")
    show(request.url)
    return request.redeem(ask())


def by_device(client: Client, *, show: Callable[[str, str], None], patience: float = 900.0) -> Tokens:
    """A code typed elsewhere. `show` gets the address and the code. Raises PermanentError, TransientError."""
    if not client.device_url:
        raise PermanentError(
            "this provider has no device login for mail. Leave --device out, or use --paste."
        )
    answer, error = post(client.device_url, {"client_id": client.client_id, "scope": client.scope})
    try:
        code, shown = str(answer["device_code"]), str(answer["user_code"])
        where = str(answer.get("verification_uri") or answer["verification_url"])
        pause = float(answer.get("interval") or 5)
        until = clock.timer() + min(patience, float(answer.get("expires_in") or patience))
    except (KeyError, TypeError, ValueError):
        raise PermanentError(
            f"the provider gives no code: {error or 'no such answer'}. Check the client id."
        ) from None
    show(where, shown)
    form = client.form(grant_type="urn:ietf:params:oauth:grant-type:device_code", device_code=code)
    while clock.timer() < until:
        time.sleep(pause)
        answer, error = post(client.token_url, form)
        if not error:
            return client.tokens(answer)
        if answer["error"] == "slow_down":
            pause += 5
        elif answer["error"] != "authorization_pending":
            raise PermanentError(f"the provider says: {error}. Nothing was kept.")
    raise TransientError("the code was not used in time. Say `mailrules login` again.")
