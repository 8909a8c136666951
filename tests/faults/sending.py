"""What the tests of sending share: rules whose message also leaves, and a look at what became of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tests.faults.stage import SCENARIOS, Scenario, Stage, number_of

ExpectClean = Callable[..., None]
LOGIN = "security: none, username: ann, password: {env: LAB_PASSWORD}"


def leaving(name: str) -> Scenario:
    """A scenario in whose end the message also leaves: it must not while the sending is open."""
    scenario = SCENARIOS[name]
    return replace(
        scenario,
        name=f"{name}-leaving",
        rules=scenario.rules.replace("example.test\n", "example.test\n      - move: There\n"),
        where=("There",),
    )


def states(stage: Stage, action: str = "forward") -> dict[int, str]:
    return {number_of(e["subject"]): e["state"] for e in stage.entries() if e["action"] == action}


def places(stage: Stage, number: int) -> list[str]:
    return [mailbox for mailbox, found in stage.look().items() for n, _ in found if n == number]


def entry_of(entries: list[dict[str, Any]], number: int, action: str) -> dict[str, Any]:
    return next(e for e in entries if number_of(e["subject"]) == number and e["action"] == action)


def ids_of(contents: Sequence[bytes], header: bytes) -> set[bytes]:
    """The values that a header of the message itself, not of one inside, has."""
    found = [
        re.search(rb"^%s: *(.*)\r$" % header, c.partition(b"\r\n\r\n")[0], re.M | re.I) for c in contents
    ]
    return {match[1] if match else b"" for match in found}
