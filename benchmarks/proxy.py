"""A TCP proxy that counts, and delays: a process of its own, so that it takes no time from a contender's.

A round trip is a turn of the conversation: bytes of the client that come after bytes of the server.
A client that pipelines makes one trip of many commands. The greeting and the login count as well.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from dataclasses import dataclass

from benchmarks.beside import Beside

_CHUNK = 1 << 18


@dataclass(frozen=True, slots=True)
class Counted:
    sent: int
    received: int
    trips: int


class Proxy(Beside):
    """A context manager; `port` leads to `upstream`, `round_trip` seconds away."""

    def __init__(self, upstream: int, *, round_trip: float = 0.0) -> None:
        super().__init__("benchmarks.proxy", str(upstream), str(round_trip))

    def counted(self) -> Counted:
        """What passed since the last time."""
        return Counted(**self.ask("?"))


class _Counter:
    def __init__(self) -> None:
        self.sent = self.received = self.trips = 0

    def take(self) -> dict[str, int]:
        taken = {"sent": self.sent, "received": self.received, "trips": self.trips}
        self.__init__()  # type: ignore[misc]
        return taken


async def _main(upstream: int, round_trip: float) -> None:
    counter = _Counter()
    loop = asyncio.get_running_loop()

    async def pump(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, turn: list[str], side: str
    ) -> None:
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def send() -> None:
            while True:
                at, data = await queue.get()
                wait = at - loop.time()
                if wait > 0:
                    await asyncio.sleep(wait)
                if not data:
                    writer.close()
                    return
                writer.write(data)
                await writer.drain()

        sender = asyncio.create_task(send()) if round_trip else None
        try:
            while data := await reader.read(_CHUNK):
                if side == "client":
                    counter.sent += len(data)
                    counter.trips += turn[0] == "server"
                else:
                    counter.received += len(data)
                turn[0] = side
                if sender is None:
                    writer.write(data)
                    await writer.drain()
                else:
                    queue.put_nowait((loop.time() + round_trip / 2, data))
        except OSError:
            pass
        if sender is None:
            writer.close()
        else:
            queue.put_nowait((loop.time() + round_trip / 2, b""))
            await sender

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", upstream, limit=_CHUNK)
        for each in (writer, forth):
            each.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        turn = [""]
        await asyncio.gather(pump(reader, forth, turn, "client"), pump(back, writer, turn, "server"))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=_CHUNK)
    print(server.sockets[0].getsockname()[1], flush=True)
    asked = asyncio.Event()

    def ask() -> None:
        if not os.read(0, 100):
            asked.set()
        else:
            print(json.dumps(counter.take()), flush=True)

    loop.add_reader(0, ask)
    await asked.wait()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), float(sys.argv[2])))
