"""mailrules with a fault in its own process: `python -m tests.faults.poisoned FAULT run …`.

What a bug in a parser written in C does, or the kernel when memory is short, is done here to messages with
POISON in their subject: the process ends, with no word to anybody.
"""

from __future__ import annotations

import resource
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

POISON = "poison"


def die() -> None:
    signal.raise_signal(signal.SIGSEGV)  # of this thread: it must not get any further


def hang() -> None:
    time.sleep(600)


def around(owner: Any, name: str, *, before: Callable[..., None] | None = None, after: Any = None) -> None:
    """Have a function do something more."""
    real = getattr(owner, name)

    def function(*args: Any, **kwargs: Any) -> Any:
        if before is not None:
            before(*args, **kwargs)
        result = real(*args, **kwargs)
        if after is not None:
            after(*args, **kwargs)
        return result

    setattr(owner, name, function)


def prepare(fault: str) -> None:
    """Before anything else of mailrules is imported."""
    from mailrules.adapters import smtp
    from mailrules.adapters.imap.mailbox import Mailbox
    from mailrules.core import compose, decision

    def judged(then: Callable[[], None]) -> Callable[..., None]:
        def before(_rules: Any, message: Any, _situation: Any) -> None:
            if any(POISON in str(value) for value in message.facts.values()):
                then()

        return before

    def moved(self: Mailbox, uids: list[int], *_: Any, **__: Any) -> None:
        found = self.fetch(uids, [SUBJECT], body_limit=0)
        if any(POISON in str(facts.get(SUBJECT)) for facts in found.values()):
            die()

    def composed(raw: bytes, **_: Any) -> None:
        if POISON.encode() in raw:
            die()

    def sent(_server: Any, outgoing: Any, **_: Any) -> None:
        if POISON.encode() in outgoing.data:
            die()

    from mailrules.core.message import header_fact

    SUBJECT = header_fact("subject")
    match fault:
        case "judging":
            around(decision, "decide", before=judged(die))
        case "hanging":
            around(decision, "decide", before=judged(hang))
        case "moving":
            around(Mailbox, "move", before=moved)
        case "composing":
            around(compose, "forward_message", before=composed)
        case "sent":
            around(smtp, "send", after=sent)
        case _:
            raise SystemExit(f"no such fault: {fault}")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    prepare(sys.argv.pop(1))
    from mailrules.__main__ import main

    sys.exit(main())
