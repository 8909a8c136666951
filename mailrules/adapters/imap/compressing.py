"""Whether what is going to come is to come compressed (COMPRESS, RFC 4978); deflate.py is how."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mailrules.adapters.imap.connection import Connection


def compress(connection: Connection) -> None:
    """Have it compressed from here on, where that is worth it.

    Not at login: a connection that idles would keep 45 KB for it, and has nothing to compress.
    The password has gone over the wire before.
    """
    wire = connection.client.wire
    if wire.compressed or connection.compress_refused or "COMPRESS=DEFLATE" not in connection.capabilities:
        return
    wanted = connection.login.compress
    if wanted is False or (wanted is None and wire.local):
        return
    if connection.send(b"COMPRESS DEFLATE").ok:
        wire.compress()
    else:
        connection.compress_refused = True
