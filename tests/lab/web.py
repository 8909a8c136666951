"""A web server on loopback that keeps what it is asked and answers as it is told."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from dataclasses import dataclass


@dataclass
class Request:
    """One request as it came; header names in lower case."""

    line: str
    headers: dict[str, str]
    body: bytes


class WebSink:
    """`answer` is sent to each request, b"" hangs up; `answers` come first, each once. `drip`: seconds for
    each byte of it.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        self.answers: list[bytes] = []
        self.drip = 0.0
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> WebSink:
        threading.Thread(target=self._accept, name="web-sink", daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), contextlib.closing(client):
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
            received = b""
            while b"\r\n\r\n" not in received:
                data = client.recv(65536)
                if not data:
                    return
                received += data
            head, _, body = received.partition(b"\r\n\r\n")
            line, *fields = head.decode("latin-1").split("\r\n")
            headers = {n.lower(): v.strip() for n, _, v in (field.partition(":") for field in fields)}
            while len(body) < int(headers.get("content-length", "0")):
                body += client.recv(65536)
            self.requests.append(Request(line, headers, body))
            answer = self.answers.pop(0) if self.answers else self.answer
            if self.drip:
                for octet in answer:
                    client.sendall(bytes([octet]))
                    time.sleep(self.drip)
            else:
                client.sendall(answer)
            client.close()
