"""COMPRESS=DEFLATE (RFC 4978): both directions of a connection, as octets in and octets out.

Nothing here reads a socket. What inflates is given out in pieces, so that whoever counts octets can stop
at the limit: a few kilobytes may inflate to a thousand times as many.
"""

from __future__ import annotations

import zlib

PIECE = 262_144
"""Octets that come out at once, at most."""


class Garbled(Exception):
    """What came is no deflate stream, or the stream has ended. `str()` says which."""


class Deflate:
    """The state of a compressed connection. Costs 45 KB, nearly all of it the server's window."""

    def __init__(self) -> None:
        # The smallest window: what is sent is short, and zlib's defaults cost 256 KB a connection.
        self._out = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -10, 2)
        self._in = zlib.decompressobj(-zlib.MAX_WBITS)
        self._waiting = b""
        self._more = False  # zlib holds octets that did not fit into the last piece

    def deflate(self, data: bytes) -> bytes:
        """What to send, complete: the server can inflate all of it at once."""
        return self._out.compress(data) + self._out.flush(zlib.Z_SYNC_FLUSH)

    def feed(self, data: bytes) -> None:
        """What came from the server."""
        self._waiting += data

    def piece(self) -> bytes:
        """The next octets, at most PIECE; none if more has to come first. Raises Garbled."""
        while self._waiting or self._more:
            if self._in.eof:
                raise Garbled("the compressed stream has ended")
            try:
                data = self._in.decompress(self._waiting, PIECE)
            except zlib.error as error:
                raise Garbled(str(error)) from None
            self._waiting = self._in.unconsumed_tail
            self._more = len(data) == PIECE
            if data:
                return data
            if self._in.eof or not self._waiting:
                break
        if self._in.eof:
            raise Garbled("the compressed stream has ended")
        return b""
