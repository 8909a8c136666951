"""One helper that speaks the domain: what an action comes to on a message."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from mailrules.core.actions import parse_then
from mailrules.core.actions.base import Action, ActionContext, RenderContext
from mailrules.core.errors import Report
from mailrules.core.message import FLAGS, INTERNALDATE, SIZE, Fact, Message, MessageKey, header_fact

CONTEXT = ActionContext(group_names={"name": False}, vars=frozenset({"team"}), base_dir="/etc/mailrules")
RENDER = RenderContext(
    account="work",
    rule="r",
    match={"name": "bob"},
    vars={"team": "sales"},
    address="me@our.example",
    timezone="UTC",
)


def message(**headers: str) -> Message:
    """A message with these headers (`list_id` is List-Id); the others are absent."""
    names = ("subject", "from", "to", "cc", "list-id", "date", "message-id")
    facts: dict[Fact, Any] = {header_fact(name): () for name in names}
    facts |= {header_fact(n.strip("_").replace("_", "-")): (v.encode(),) for n, v in headers.items()}
    facts |= {
        INTERNALDATE: datetime(2026, 3, 1, tzinfo=UTC),
        SIZE: 10,
        FLAGS: frozenset({"\\Seen", "$Todo"}),
    }
    return Message(MessageKey("work", "INBOX", 1, 7), datetime(2026, 3, 2, tzinfo=UTC), facts)


def actions(*then: Any, context: ActionContext = CONTEXT) -> tuple[Action, ...]:
    """The actions of a `then` that is right."""
    report = Report()
    found = parse_then(list(then), path=("rules", 0, "then"), report=report, context=context)
    assert [p.message for p in report.problems] == []
    return found


def effect(entry: Any, *, context: RenderContext = RENDER, **headers: str) -> tuple[str, dict[str, Any]]:
    """(action, arguments) of one entry on a message."""
    [action] = actions(entry)
    name, arguments, _ = action.render(message(**headers), context)
    return name, arguments


def problem(*then: Any, context: ActionContext = CONTEXT) -> tuple[tuple[Any, ...], str]:
    """(path below `then`, words) of the only problem."""
    report = Report()
    parse_then(list(then), path=("rules", 0, "then"), report=report, context=context)
    assert len(report.problems) == 1, report.problems
    [found] = report.problems
    return found.path[3:], found.message
