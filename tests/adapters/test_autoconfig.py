"""mailrules.adapters.autoconfig: what a domain says of its servers, and what is not believed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from mailrules.adapters.autoconfig import PLACES, Endpoint, ask, read

XML = """<?xml version="1.0"?>
<clientConfig version="1.1"><emailProvider id="example.org">
  <incomingServer type="pop3"><hostname>pop.example.org</hostname><port>995</port>
    <socketType>SSL</socketType></incomingServer>
  <incomingServer type="imap"><hostname>imap.example.org</hostname><port>{port}</port>
    <socketType>{security}</socketType><username>{username}</username>
    <authentication>{authentication}</authentication></incomingServer>
  <outgoingServer type="smtp"><hostname>smtp.example.org</hostname><port>587</port>
    <socketType>STARTTLS</socketType></outgoingServer>
</emailProvider></clientConfig>"""


def xml(
    *, port: object = 993, security: str = "SSL", username: str = "%EMAILLOCALPART%",
    authentication: str = "password-cleartext",
) -> bytes:  # fmt: skip
    return XML.format(port=port, security=security, username=username, authentication=authentication).encode()


@pytest.fixture
def web() -> Iterator[Any]:
    """A web server; `pages` by path, `asked` are the paths."""

    class Web:
        pages: dict[str, tuple[int, bytes]] = {}
        asked: list[str] = []
        url = ""

    found = Web()
    found.pages, found.asked = {}, []

    class Door(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            status, body = found.pages.get(self.path.partition("?")[0], (404, b""))
            self.send_response(status)
            if status == 302:
                self.send_header("Location", body.decode())
                body = b""
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:
                pass  # it was enough

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    found.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()


def places(web: Any) -> tuple[str, ...]:
    return (f"{web.url}/first?emailaddress={{address}}", f"{web.url}/second/{{domain}}")


def test_the_first_who_knows_is_believed(web: Any) -> None:
    """Servers, security and user name; who does not know is passed over."""
    web.pages["/second/example.org"] = (200, xml())
    found = ask("me+x@Example.org", places=places(web))
    assert found is not None
    assert found.imap == Endpoint("imap.example.org", 993, "tls")
    assert found.smtp == Endpoint("smtp.example.org", 587, "starttls")
    assert found.username == "me+x"
    assert not found.oauth
    assert found.source == f"{web.url}/second/example.org"
    assert web.asked == ["/first?emailaddress=me%2Bx@Example.org", "/second/example.org"]


def test_nobody_knows(web: Any) -> None:
    """Nor is anybody there: no error, and no long wait."""
    web.pages["/first"] = (200, b"<html>Welcome!")
    assert ask("me@example.org", places=[*places(web), "http://127.0.0.1:9/", "http://[/"]) is None


def test_a_page_without_end_is_given_up(web: Any) -> None:
    """64 KB are more than any of them needs."""
    web.pages["/first"] = (200, xml() + b" " * 10_000_000)
    assert ask("me@example.org", places=places(web)[:1]) is None


def test_only_https_is_asked() -> None:
    """Whoever can change the answer is given the password next."""
    assert all(place.startswith("https://") for place in PLACES)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"<", b"{}", b"<clientConfig/>",
        xml(security="plain"), xml(port="x"), xml(port=0), xml(port=70000),
        xml().replace(b"imap.example.org", b"imap.example.org/../x"),
        xml().replace(b'"1.0"', b'"1.0" encoding="no-such"'),
        xml().replace(b'"1.0"', b'"1.0" encoding="euc-jp"'), xml().decode().encode("utf-16"),
        b'<!DOCTYPE x [<!ENTITY a "b">]>' + xml()[22:],
    ],
)  # fmt: skip
def test_what_is_not_believed(text: bytes) -> None:
    """Servers without TLS, nonsense, and entities."""
    assert read(text, "me@example.org", source="x") is None


@pytest.mark.parametrize(
    ("pattern", "username"),
    [
        ("%EMAILADDRESS%", "me@example.org"), ("%EMAILLOCALPART%.%EMAILDOMAIN%", "me.example.org"),
        ("fixed", "fixed"), ("%REALNAME%", "me@example.org"),
    ],
)  # fmt: skip
def test_user_names(pattern: str, username: str) -> None:
    """Patterns are filled; what we do not know leaves the address."""
    found = read(xml(username=pattern), "me@example.org", source="x")
    assert found is not None
    assert found.username == username


def test_tokens_only() -> None:
    """A server that takes OAuth alone is known for it."""
    found = read(xml(authentication="OAuth2"), "me@example.org", source="x")
    assert found is not None
    assert found.oauth
