"""An OAuth provider on loopback, whose tokens a Dovecot of ours accepts (HS256, validated there)."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from base64 import b64encode, urlsafe_b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

KEY = b"a key that only the lab has, 32+"


def _encoded(value: bytes) -> str:
    return urlsafe_b64encode(value).decode().rstrip("=")


def token_for(user: str, *, lifetime: float = 3600) -> str:
    """A JWT that the lab's Dovecot takes for this user."""
    now = int(time.time())
    head = _encoded(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    body = _encoded(
        json.dumps({"sub": user, "iat": now - 1, "exp": now + int(lifetime), "jti": time.time_ns()}).encode()
    )
    return f"{head}.{body}.{_encoded(hmac.digest(KEY, f'{head}.{body}'.encode(), 'sha256'))}"


def dovecot_extra(directory: Path) -> str:
    """The lines of dovecot.conf that make it take these tokens. `directory` must be readable by it."""
    keys = directory / "keys" / "default" / "HS256"
    keys.mkdir(parents=True)
    (keys / "default").write_text(b64encode(KEY).decode())
    settings = directory / "oauth.conf.ext"
    settings.write_text(
        "introspection_mode = local\nusername_attribute = sub\n"
        f"local_validation_key_dict = fs:posix:prefix={directory}/keys/\n"
    )
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o755)
    return (
        "auth_mechanisms = plain login xoauth2 oauthbearer\n"
        f"passdb {{\n  driver = oauth2\n  mechanisms = xoauth2 oauthbearer\n  args = {settings}\n}}\n"
    )


class OAuthProvider:
    """A context manager. `user`: whose tokens are given. `requests`: the forms that were posted to /token."""

    def __init__(self, user: str) -> None:
        self.user = user
        self.lifetime = 3600.0
        self.waits = 0
        """How often a device is told that the person has not typed the code yet."""
        self.refuse: str = ""
        self.status = 200
        self.rotate = True
        self.requests: list[dict[str, str]] = []
        self._codes: dict[str, dict[str, str]] = {}
        self._refresh = 0
        provider = self

        class Door(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = {k: v[0] for k, v in parse_qs(urlsplit(self.path).query).items()}
                provider._codes["the-code"] = query
                back = urlencode({"code": "the-code", "state": query["state"]})
                self.send_response(302)
                self.send_header("Location", f"{query['redirect_uri']}/?{back}")
                self.end_headers()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                form = {k: v[0] for k, v in parse_qs(body).items()}
                status, answer = provider.device() if self.path == "/device" else provider.token(form)
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> OAuthProvider:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def device(self) -> tuple[int, dict[str, Any]]:
        return 200, {
            "device_code": "dev", "user_code": "WDJB-MJHT", "verification_uri": f"{self.url}/enter",
            "interval": 0.01, "expires_in": 60,
        }  # fmt: skip

    def token(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        self.requests.append(form)
        if self.status != 200:
            return self.status, {}
        if self.refuse:
            return 400, {"error": self.refuse, "error_description": "not any more"}
        if form["grant_type"] == "authorization_code":
            asked = self._codes.pop(form["code"], None)
            digest = _encoded(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
            if asked is None or asked["code_challenge"] != digest:
                return 400, {"error": "invalid_grant"}
        elif form["grant_type"].endswith("device_code") and self.waits:
            self.waits -= 1
            return 400, {"error": "authorization_pending"}
        answer: dict[str, Any] = {
            "access_token": token_for(self.user, lifetime=self.lifetime), "expires_in": self.lifetime,
            "token_type": "Bearer",
        }  # fmt: skip
        if self.rotate or form["grant_type"] != "refresh_token":
            self._refresh += 1
            answer["refresh_token"] = f"refresh-{self._refresh}"
        return 200, answer
