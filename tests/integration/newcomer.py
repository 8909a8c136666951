"""mailrules as a newcomer runs it, but for one thing: whoever is asked for servers names the lab's."""

from __future__ import annotations

import os
import sys

from mailrules.adapters.autoconfig import Endpoint
from mailrules.setup import discovery

ADDRESS = "me@example.org"


def discover(address: str) -> discovery.Servers:
    """What autoconfig.example.org would say."""
    return discovery.Servers(
        Endpoint("127.0.0.1", int(os.environ["LAB_PORT"]), "tls"),
        address,
        "https://autoconfig.example.org/mail/config-v1.1.xml",
    )


if __name__ == "__main__":
    discovery.discover = discover  # type: ignore[assignment]
    from mailrules.__main__ import main

    sys.exit(main())
