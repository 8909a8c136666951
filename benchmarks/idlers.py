"""The floor of watching: a client that idles on every account and moves whatever comes, unseen.

It keeps no journal and looks at nothing, so its latency is that of the machine and of the server at that
moment: `python -m benchmarks.idlers PORT COUNT CA_FILE PASSWORD`.
"""

from __future__ import annotations

import asyncio
import ssl
import sys

_AT_ONCE = 50


async def _watch(
    port: int, user: str, password: str, trusted: ssl.SSLContext, door: asyncio.Semaphore
) -> None:
    async with door:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=trusted, server_hostname="localhost"
        )
        for command in (f"LOGIN {user} {password}", "CREATE Seen", "SELECT INBOX"):
            writer.write(f"x {command}\r\n".encode())
            while not (await reader.readline()).startswith(b"x OK"):
                pass
        writer.write(b"i IDLE\r\n")
    while line := await reader.readline():
        if line.endswith(b" EXISTS\r\n") and not line.startswith(b"* 0 "):
            writer.write(b"DONE\r\nx UID MOVE 1:* Seen\r\ni IDLE\r\n")


async def _main(port: str, count: str, ca_file: str, password: str) -> None:
    trusted = ssl.create_default_context(cafile=ca_file)
    door = asyncio.Semaphore(_AT_ONCE)
    users = (f"u{number}" for number in range(int(count)))
    await asyncio.gather(*(_watch(int(port), user, password, trusted, door) for user in users))


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
