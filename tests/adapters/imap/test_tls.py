"""mailrules.adapters.imap.tls: one context for all."""

from __future__ import annotations

import ssl
import threading

from mailrules.adapters.imap import tls


def test_who_comes_at_the_same_moment_shares_one_context() -> None:
    """A start opens many connections at once: none has a context of its own."""
    tls._default_context.cache_clear()
    together, found = threading.Barrier(8), list[ssl.SSLContext]()

    def ask() -> None:
        together.wait(5)
        found.append(tls.default_context())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 8 and len(set(map(id, found))) == 1
