"""The floor: a client that asks for three headers of every message in one command, and moves what it is told.

It does not look at what it is sent, so nothing that judges can be faster:
`python -S -E floor.py PORT USER PASSWORD MOVES.json [compress]`.
"""

import json
import socket
import sys
import zlib
from typing import Any

_HEADERS = b"BODY.PEEK[HEADER.FIELDS (FROM SUBJECT LIST-ID)]"


class Wire:
    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=600)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._deflate: Any = None
        self._inflate: Any = None
        self._socket.recv(65536)

    def compress(self) -> None:
        self.ask(b"COMPRESS DEFLATE")
        self._deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
        self._inflate = zlib.decompressobj(-15)

    def ask(self, command: bytes) -> None:
        """Send it, and read to its end."""
        line = b"x " + command + b"\r\n"
        if self._deflate:
            line = self._deflate.compress(line) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        self._socket.sendall(line)
        end = b"\r\n"
        while True:
            data = self._socket.recv(1 << 18)
            if not data:
                raise EOFError
            end = (end + (self._inflate.decompress(data) if self._inflate else data))[-2000:]
            if end.endswith(b"\r\n") and (at := end.rfind(b"\r\nx ")) >= 0:
                if not end.startswith(b"x OK", at + 2):
                    raise RuntimeError(end)
                return


def main(port: str, user: str, password: str, moves: str, *compress: str) -> None:
    wire = Wire(int(port))
    wire.ask(f"LOGIN {user} {password}".encode())
    if compress:
        wire.compress()
    wire.ask(b"SELECT INBOX")
    wire.ask(b"UID FETCH 1:* (" + _HEADERS + b")")
    with open(moves) as file:
        for mailbox, uids in json.load(file):
            wire.ask(f"UID MOVE {uids} {mailbox}".encode())
    wire.ask(b"LOGOUT")


if __name__ == "__main__":
    main(*sys.argv[1:])
