"""adapters/webhook.py, against a server on loopback that does as it is told."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mailrules.adapters import webhook
from mailrules.core.actions.base import Outcome
from tests.lab.ca import LabCA
from tests.lab.web import WebSink


@pytest.fixture
def web() -> Iterator[WebSink]:
    with WebSink() as sink:
        yield sink


def call(url: str, body: bytes | None = b"{}", *, commits: list[str] | None = None, **more: Any) -> Outcome:
    options = {name: more.pop(name) for name in ("context", "stop", "commit") if name in more}
    arguments = {"url": url, "method": "POST", "headers": {}, "timeout": 5.0, **more}
    commit: Callable[[], None] = options.pop("commit", lambda: (commits or []).append("commit"))
    return webhook.call(arguments, body=body, effect_key="key234", commit=commit, **options)


def test_a_call(web: WebSink) -> None:
    """The request has the key, the body and the headers; 2xx is done."""
    outcome = call(f"{web.url}/a%20b?c=d", webhook.json_body({"ü": 1}), headers={"X-A": "é"})
    assert outcome.state == "done" and outcome.detail["status"] == 200
    [request] = web.requests
    assert request.line == "POST /a%20b?c=d HTTP/1.1"
    assert request.headers["idempotency-key"] == "key234"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["x-a"].encode("latin-1").decode() == "é"
    assert json.loads(request.body) == {"ü": 1}


@pytest.mark.parametrize(
    ("answer", "state", "retry_after"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", "done", None),
        (b"HTTP/1.1 429 Slow\r\nRetry-After: 120\r\n\r\n", "later", 120.0),
        (b"HTTP/1.1 503 Busy\r\nRetry-After: 1e99\r\n\r\n", "later", 86400.0),
        (b"HTTP/1.1 500 Oops\r\nRetry-After: soon\r\n\r\n", "later", None),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nno\x1b!", "failed", None),
        (b"HTTP/1.1 401 Who\r\n\r\n", "failed", None),
        (b"garbage\r\n\r\n", "unknown", None),
    ],
)
def test_answers(web: WebSink, answer: bytes, state: str, retry_after: float | None) -> None:
    """2xx is done, 429 and 5xx later when Retry-After says, others failed; what is no answer is unknown."""
    web.answer = answer
    outcome = call(web.url)
    assert (outcome.state, outcome.retry_after) == (state, retry_after)
    assert "\x1b" not in str(outcome.detail) and outcome.detail.get("error", "x")


def test_redirects_are_not_followed(web: WebSink) -> None:
    """A redirect is a failure that says where it leads; nobody else is called."""
    web.answer = f"HTTP/1.1 302 Found\r\nLocation: {web.url}/other\r\n\r\n".encode()
    outcome = call(web.url)
    assert outcome.state == "failed" and "/other" in outcome.detail["error"] and len(web.requests) == 1


def test_the_commit_point(web: WebSink) -> None:
    """Commit comes when the connection stands and before anything is said; what it raises comes through."""
    seen: list[int] = []
    assert call(web.url, commit=lambda: seen.append(len(web.requests))).state == "done"
    assert seen == [0]

    def fenced() -> None:
        raise RuntimeError("fenced")

    with pytest.raises(RuntimeError):
        call(web.url, commit=fenced)
    time.sleep(0.05)
    assert len(web.requests) == 1


def test_nobody_there() -> None:
    """No connection, no name: later, and nothing was committed."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    commits: list[str] = []
    for url in (f"http://127.0.0.1:{port}/", "https://nobody.invalid/"):
        outcome = call(url, commits=commits)
        assert (outcome.state, outcome.unreached) == ("later", True)
    assert commits == []


def test_cut_off(web: WebSink) -> None:
    """A server that hangs up without an answer: it may have arrived."""
    web.answer = b""
    outcome = call(web.url)
    assert outcome.state == "unknown" and "may have arrived" in outcome.detail["error"]


def test_a_server_that_drips(web: WebSink) -> None:
    """The whole call ends in its time, however slowly the answer comes."""
    web.drip = 0.2
    started = time.monotonic()
    outcome = call(web.url, timeout=1.0)
    assert outcome.state == "unknown" and "took too long" in outcome.detail["error"]
    assert time.monotonic() - started < 4


def test_an_endless_answer(web: WebSink) -> None:
    """Of an answer only the beginning is read."""
    web.answer = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (8 << 20)
    assert call(web.url).state == "done"


def test_a_large_body(web: WebSink) -> None:
    """More than 1 MB is not sent."""
    assert call(web.url, b"x" * ((1 << 20) + 1)).state == "failed"
    assert web.requests == []


def test_tls_is_verified(lab_ca: LabCA) -> None:
    """A certificate that nobody vouches for, or for another name: nothing is sent."""
    trusted = ssl.create_default_context(cafile=str(lab_ca.ca_file))
    good, other = lab_ca.issue("localhost"), lab_ca.issue("other", names=("other.example",))
    for issued, context, state in ((good, trusted, "done"), (good, None, "later"), (other, trusted, "later")):
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(issued.cert, issued.key)
        with WebSink(tls=server) as web:
            outcome = call(f"https://localhost:{web.port}/", context=context)
            assert outcome.state == state and len(web.requests) == (state == "done")


def test_a_name_that_leads_inside(web: WebSink, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that points at this machine or a private network is refused unless the rule says `private`."""
    told = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", web.port))]
    monkeypatch.setattr(webhook.socket, "getaddrinfo", lambda *a, **k: told)
    url = f"http://hooks.example:{web.port}/"
    outcome = call(url)
    assert outcome.state == "failed" and "private: true" in outcome.detail["error"]
    assert web.requests == []
    assert call(url, private=True).state == "done"
    assert web.requests[0].headers["host"] == f"hooks.example:{web.port}"


def test_secrets(web: WebSink, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """A token is read when it is needed, and not shown when the server repeats it."""
    monkeypatch.setenv("HOOK_TOKEN", "hunter22hunter22")
    (tmp_path / "token").write_text("another-secret\n")
    (tmp_path / "token").chmod(0o600)
    web.answer = b"HTTP/1.1 403 No\r\n\r\nhunter22hunter22 is wrong"
    headers = {"Authorization": {"env": "HOOK_TOKEN"}, "X-Key": {"file": "token"}}
    outcome = call(web.url, headers=headers, base=str(tmp_path))
    assert web.requests[0].headers["authorization"] == "hunter22hunter22"
    assert web.requests[0].headers["x-key"] == "another-secret"
    assert "hunter22" not in str(outcome.detail)
    assert call(web.url, headers={"A": {"env": "NOT_SET_HERE"}}).state == "failed"


def test_a_worker_that_stops(web: WebSink) -> None:
    """No call begins when the worker is shutting down."""
    stop = threading.Event()
    stop.set()
    assert call(web.url, stop=stop).state == "later" and web.requests == []
