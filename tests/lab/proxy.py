"""A TCP proxy that breaks things, in a thread of its own.

::

    with FaultProxy(("127.0.0.1", server.imap_port)) as proxy:
        connect("127.0.0.1", proxy.port)
        proxy.cut_after(s2c=1000, rst=True)     # 1,000 more bytes reach the client, then a reset
        proxy.on(rb"UID MOVE", "c2s", lambda connection: connection.cut())

"c2s" is what the client sends, "s2c" what the server sends. TLS passes through, unread;
`on`, `rewrite` and `inject` need plaintext.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

Direction = Literal["c2s", "s2c"]
DROP = "drop"


@dataclass
class _Faults:
    """What is to go wrong in one direction."""

    delay: float = 0.0
    budget: int | None = None  # bytes that still pass before the cut
    rewrite: Callable[[bytes], bytes] | None = None
    gate: asyncio.Event | None = None  # closed while stalled


@dataclass(eq=False)
class Connection:
    """One client and its connection to the server. `log` has the bytes that came, each way."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    log: dict[Direction, bytearray] = field(default_factory=lambda: {"c2s": bytearray(), "s2c": bytearray()})
    alive: bool = True

    def cut(self, *, rst: bool = False) -> None:
        """Close both sides now; only from the proxy's own thread (an `on` action is there)."""
        self.alive = False
        for writer in (self.client, self.server):
            _close(writer, rst=rst)


class FaultProxy:
    def __init__(self, upstream: tuple[str, int], *, host: str = "127.0.0.1") -> None:
        self.upstream = upstream
        self.host = host
        self.port = 0
        self.connections: list[Connection] = []
        self.accepted = 0
        self._refusing = False
        self._rst = False
        self._hooks: list[tuple[re.Pattern[bytes], Direction, Callable[[Connection], Any], bool]] = []
        self._faults: dict[Direction, _Faults] = {"c2s": _Faults(), "s2c": _Faults()}
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)

    # -- life ---------------------------------------------------------------------------------
    def __enter__(self) -> FaultProxy:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *exc: object) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, self.host, 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))

    def _in_loop(self, action: Callable[[], Any]) -> None:
        done = threading.Event()

        def call() -> None:
            try:
                action()
            finally:
                done.set()

        self._loop.call_soon_threadsafe(call)
        assert done.wait(10)

    # -- what can go wrong; from any thread ---------------------------------------------------
    @property
    def last(self) -> Connection:
        return self.connections[-1]

    def delay(self, *, c2s: float = 0.0, s2c: float = 0.0) -> None:
        """Every chunk comes so many seconds late."""
        self._faults["c2s"].delay, self._faults["s2c"].delay = c2s, s2c

    def cut_after(self, *, c2s: int | None = None, s2c: int | None = None, rst: bool = False) -> None:
        """So many more bytes pass in that direction, then both sides are closed."""
        self._rst = rst
        self._faults["c2s"].budget, self._faults["s2c"].budget = c2s, s2c

    def unspent(self, direction: Direction) -> bool:
        """Whether the budget that `cut_after` gave was not used up: nothing was cut."""
        return self._faults[direction].budget is not None

    def cut(self, *, rst: bool = False) -> None:
        """Close all connections now."""
        self._in_loop(lambda: [c.cut(rst=rst) for c in self.connections if c.alive])

    def stall(self, *directions: Direction) -> None:
        """Nothing passes any more, and nobody is told."""

        def close_gates() -> None:
            for direction in directions or ("c2s", "s2c"):
                self._faults[direction].gate = self._faults[direction].gate or asyncio.Event()

        self._in_loop(close_gates)

    def unstall(self) -> None:
        def open_gates() -> None:
            for faults in self._faults.values():
                if faults.gate is not None:
                    faults.gate.set()
                    faults.gate = None

        self._in_loop(open_gates)

    def refuse(self, on: bool = True) -> None:
        """New connections are reset at once."""
        self._refusing = on

    def rewrite(self, direction: Direction, change: Callable[[bytes], bytes] | None) -> None:
        """Every chunk goes through `change`."""
        self._faults[direction].rewrite = change

    def on(
        self, pattern: bytes, direction: Direction, action: Callable[[Connection], Any], *, once: bool = True
    ) -> None:
        """Before a chunk with `pattern` is passed on, call `action`; if that says DROP, the chunk is lost."""
        self._hooks.append((re.compile(pattern, re.I | re.S), direction, action, once))

    def inject(self, data: bytes) -> None:
        """Bytes to every client, as if the server had sent them."""
        self._in_loop(lambda: [c.client.write(data) for c in self.connections if c.alive])

    # -- the data -----------------------------------------------------------------------------
    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self._refusing:
            _close(writer, rst=True)
            return
        try:
            server_reader, server_writer = await asyncio.open_connection(*self.upstream)
        except OSError:
            _close(writer, rst=True)
            return
        connection = Connection(writer, server_writer)
        self.connections.append(connection)
        await asyncio.gather(
            self._pump(connection, "c2s", reader, server_writer),
            self._pump(connection, "s2c", server_reader, writer),
        )

    async def _pump(
        self,
        connection: Connection,
        direction: Direction,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        faults = self._faults[direction]
        try:
            while connection.alive:
                data = await reader.read(65536)
                while faults.gate is not None:
                    await faults.gate.wait()
                if not data:
                    connection.cut()
                    return
                connection.log[direction] += data
                if faults.delay:
                    await asyncio.sleep(faults.delay)
                dropped = self._call_hooks(connection, direction, data)
                if not connection.alive:
                    return
                if dropped:
                    continue
                if faults.rewrite is not None:
                    data = faults.rewrite(data)
                if faults.budget is not None:
                    data, rest = data[: faults.budget], len(data) >= faults.budget
                    faults.budget = None if rest else faults.budget - len(data)
                    if rest:
                        if data:
                            writer.write(data)
                            await writer.drain()
                        connection.cut(rst=self._rst)
                        return
                writer.write(data)
                await writer.drain()
        except OSError:
            if connection.alive:
                connection.cut(rst=True)

    def _call_hooks(self, connection: Connection, direction: Direction, data: bytes) -> bool:
        dropped = False
        for hook in list(self._hooks):
            pattern, wanted, action, once = hook
            if wanted == direction and pattern.search(data):
                if once:
                    self._hooks.remove(hook)
                dropped |= action(connection) == DROP
        return dropped


def _close(writer: asyncio.StreamWriter, *, rst: bool) -> None:
    if rst:
        transport_socket = writer.get_extra_info("socket")
        if transport_socket is not None:
            try:
                transport_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            except OSError:
                pass
        writer.transport.abort()
    else:
        writer.close()
