"""Many bad servers at once: each on a loopback address of its own, all in one thread.

::

    with BadHosts(70, FROZEN) as bad:
        bad.hosts           # 127.0.1.1, 127.0.1.2, ...; every one on bad.port
"""

from __future__ import annotations

import itertools
import selectors
import socket
import threading
import time
from typing import Literal

Manner = Literal["frozen", "drips"]
_nets = itertools.count(1)


class BadHosts:
    """`frozen`: accepts, and never says a word. `drips`: sends its greeting a byte a second, for ever."""

    def __init__(self, count: int, manner: Manner) -> None:
        net = next(_nets)
        self.hosts = [f"127.{net}.{n // 250}.{n % 250 + 1}" for n in range(count)]
        self.manner = manner
        self.port = 0
        self.accepted = 0
        self._selector = selectors.DefaultSelector()
        self._clients: list[socket.socket] = []
        self._listeners: list[socket.socket] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bad-hosts", daemon=True)

    def __enter__(self) -> BadHosts:
        for host in self.hosts:
            listener = socket.create_server((host, self.port), backlog=16)
            self.port = listener.getsockname()[1]
            self._selector.register(listener, selectors.EVENT_READ)
            self._listeners.append(listener)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopping.set()
        self._thread.join(10)
        for each in (*self._clients, *self._listeners):
            each.close()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stopping.is_set():
            for key, _ in self._selector.select(0.1):
                client, _ = key.fileobj.accept()  # type: ignore[union-attr]
                self.accepted += 1
                self._clients.append(client)
                if self.manner == "drips":
                    client.sendall(b"* OK ")
            if self.manner == "drips" and time.monotonic() > due:
                due = time.monotonic() + 1
                for client in list(self._clients):
                    try:
                        client.send(b"z")
                    except OSError:
                        client.close()
                        self._clients.remove(client)
