"""Calling a web service about one message, with the point of no return where the journal knows it.

Name, connection and TLS come first: what fails there has told nobody, and is tried again later. Then the
journal says `commit`, then the request goes, and from there on a lost answer is `unknown`. Every try has
the same Idempotency-Key, so a webhook that says it is idempotent is called again (RELIABILITY R5).

Where a name leads is looked at before it is called, and exactly the address that was looked at is called
(A14): a name that points into a private network needs the rule's consent. Redirects are not followed. No
proxy is asked: the environment's proxies are for browsers.
"""

from __future__ import annotations

import functools
import http.client
import ipaddress
import json
import math
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

from mailrules import __version__, clock
from mailrules.adapters.secret import Secret, scrub
from mailrules.core.actions.base import Commit, Outcome
from mailrules.core.errors import PermanentError, TransientError

LARGEST_BODY = 1 << 20
LARGEST_ANSWER = 64 * 1024
CONNECT = 10.0
LONGEST_RETRY_AFTER = 24 * 3600.0
_SHOWN = 300
_SAFE = "/%:=&?~#+!$,;'@()*[]|"


def call(
    arguments: Mapping[str, Any],
    *,
    body: bytes | None,
    effect_key: str,
    commit: Commit,
    stop: threading.Event | None = None,
    context: ssl.SSLContext | None = None,
) -> Outcome:
    """Perform one `webhook` effect: `arguments` as the journal has them. Only `commit` raises."""
    try:
        url = urlsplit(arguments["url"])
        headers = _headers(arguments, body, effect_key)
        if body is not None and len(body) > LARGEST_BODY:
            raise PermanentError(f"the body has {len(body)} bytes; at most {LARGEST_BODY} are sent.")
        if stop is not None and stop.is_set():
            raise TransientError("the worker is shutting down")
        sock = _connect(url, private=bool(arguments.get("private")), context=context)
    except PermanentError as error:
        return Outcome("failed", {"error": str(error)})
    except TransientError as error:
        return Outcome("later", {"error": str(error)}, unreached=True)
    try:
        commit()
        with _Deadline(sock, arguments["timeout"]) as deadline:
            return _exchange(sock, url, arguments["method"], headers, body, deadline)
    finally:
        sock.close()


def json_body(value: Any) -> bytes:
    """JSON as it is sent."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


# -- before the point of no return -----------------------------------------------------------------------
def _headers(arguments: Mapping[str, Any], body: bytes | None, effect_key: str) -> dict[str, bytes]:
    """All but Host, in order. Raises what a secret raises."""
    named = {
        name: _secret(value, str(arguments.get("base", ""))) if isinstance(value, Mapping) else str(value)
        for name, value in arguments["headers"].items()
    }
    ours = {"User-Agent": f"mailrules/{__version__}", "Accept": "application/json, */*"}
    if body is not None:
        ours["Content-Type"] = "application/json"
    given = {name.lower() for name in named}
    found = {name: value for name, value in ours.items() if name.lower() not in given} | named
    found |= {"Idempotency-Key": effect_key, "Connection": "close", "Accept-Encoding": "identity"}
    if body is not None:
        found["Content-Length"] = str(len(body))
    wire = {name: value.encode("utf-8", "replace") for name, value in found.items()}
    if any(c < 0x20 or c == 0x7F for value in wire.values() for c in value):
        raise PermanentError("a header has a control character.")
    return wire


def _secret(kept: Mapping[str, str], base: str) -> str:
    ((source, argument),) = kept.items()
    if source == "file":
        return Secret("file", (str(Path(base) / Path(argument).expanduser()),)).read()
    return Secret("env", (argument,)).read()


def _connect(url: SplitResult, *, private: bool, context: ssl.SSLContext | None) -> socket.socket:
    """A connection to the host, in TLS where the URL says so. Raises PermanentError, TransientError."""
    host = str(url.hostname)
    port = url.port or (443 if url.scheme == "https" else 80)
    trouble: Exception = OSError("it has no address")
    for address in _addresses(host, port, private=private):
        try:
            sock = socket.create_connection((address, port), timeout=CONNECT)
        except OSError as error:
            trouble = error
            continue
        if url.scheme == "http":
            return sock
        try:
            return (context or _context()).wrap_socket(sock, server_hostname=host)
        except (OSError, ValueError) as error:
            sock.close()
            trouble = error
    if isinstance(trouble, ssl.SSLCertVerificationError):
        why = getattr(trouble, "verify_message", "") or str(trouble)
        raise TransientError(f"{host} has no certificate that can be trusted: {why}. Nothing was sent.")
    raise TransientError(f"can't connect to {host}:{port}: {trouble}")


def _addresses(host: str, port: int, *, private: bool) -> list[str]:
    """The addresses of the host, all of them fit to be called. An address that is written out is meant."""
    try:
        ipaddress.ip_address(host)
        return [host]
    except ValueError:
        pass
    try:
        told = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise TransientError(f"{host} is not known: {error}") from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in told))
    meant = private or host.lower().rstrip(".") == "localhost"
    for address in addresses:
        if not meant and not ipaddress.ip_address(address.partition("%")[0]).is_global:
            raise PermanentError(
                f"{host} is {address}, which is not in the public network. If that is meant, write"
                " 'private: true' under 'webhook'."
            )
    return addresses


@functools.cache
def _context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
    return context


# -- past it ---------------------------------------------------------------------------------------------
class _Deadline:
    """Ends the connection when the time is over: a server that drips would never time out."""

    def __init__(self, sock: socket.socket, seconds: float) -> None:
        self._sock, self._seconds = sock, seconds
        self.over = False
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> _Deadline:
        self._sock.settimeout(self._seconds)
        self._timer.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._timer.cancel()

    def _cut(self) -> None:
        self.over = True
        try:
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
        except OSError:
            pass  # closed meanwhile


class _Connection(http.client.HTTPConnection):
    """http.client's requests and answers on a socket of ours."""

    def __init__(self, sock: socket.socket, host: str) -> None:
        super().__init__(host)
        self.sock = sock

    def connect(self) -> None:
        raise ConnectionError("the connection was closed")


def _exchange(
    sock: socket.socket,
    url: SplitResult,
    method: str,
    headers: Mapping[str, bytes],
    body: bytes | None,
    deadline: _Deadline,
) -> Outcome:
    connection = _Connection(sock, str(url.hostname))
    started = clock.timer()
    target = quote(url.path or "/", safe=_SAFE) + (f"?{quote(url.query, safe=_SAFE)}" if url.query else "")
    try:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", url.netloc.encode("idna") if not url.netloc.isascii() else url.netloc)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        with connection.getresponse() as answer:
            said = answer.read(LARGEST_ANSWER)
            status, retry_after = answer.status, answer.headers.get("Retry-After")
            location = answer.headers.get("Location", "")
    except (OSError, http.client.HTTPException, UnicodeError, ValueError) as error:
        why = "it took too long" if deadline.over or isinstance(error, TimeoutError) else _words(error)
        return Outcome("unknown", {"error": f"no answer from {url.hostname}: {why}. It may have arrived."})
    detail: dict[str, Any] = {"status": status, "seconds": round(clock.timer() - started, 3)}
    if 200 <= status < 300:
        return Outcome("done", detail)
    reason = f"{url.hostname} answered {status}"
    if 300 <= status < 400:
        where = _shown(location.encode("utf-8", "replace"))
        detail["error"] = f"{reason}, which leads to {where or 'another place'}. Redirects are not followed."
        return Outcome("failed", detail)
    text = _shown(said)
    detail["error"] = f"{reason}: {text}" if text else reason
    if status == 429 or status >= 500:
        return Outcome("later", detail, retry_after=_seconds(retry_after))
    return Outcome("failed", detail)


def _words(error: Exception) -> str:
    return str(error).strip()[:200] or type(error).__name__


def _shown(said: bytes) -> str:
    """The beginning of an answer, for the log: on one line, without secrets."""
    text = scrub(said[: 4 * _SHOWN].decode("utf-8", "replace"))
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:_SHOWN]


def _seconds(text: str | None) -> float | None:
    """Retry-After: seconds, or a date (RFC 9110 section 10.2.3)."""
    if text is None:
        return None
    readings: tuple[Callable[[str], float], ...] = (float, _until)
    for read in readings:
        try:
            seconds = read(text.strip())
        except (ValueError, TypeError, OverflowError):
            continue
        return min(max(seconds, 0.0), LONGEST_RETRY_AFTER) if math.isfinite(seconds) else None
    return None


def _until(text: str) -> float:
    moment = parsedate_to_datetime(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - clock.now()).total_seconds()
