"""What a running worker answers on its control socket: the service's side of `status`, `reload`, `apply`.

Each answer imports what it needs: `apply` by itself is answered here as well, and needs no service.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mailrules.adapters.store import timestamp
from mailrules.core.decision import Decision
from mailrules.core.errors import TransientError
from mailrules.house import House
from mailrules.planning.planned import Compared, Event, LeftOut, Look, Planned, Selection
from mailrules.planning.planner import Planner

if TYPE_CHECKING:
    from mailrules import operations
    from mailrules.control import ControlServer
    from mailrules.planning.planfile import PlanWriter
    from mailrules.undoing.undo import Undoer
    from mailrules.watching.service import Service


def register(server: ControlServer, service: Service) -> None:
    """Offer everything a running worker can be asked."""
    from mailrules import operations

    house = service.house

    def resume(arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
        events = list(operations.resume(house.store, names_of(house), arguments))
        service.forgive()  # also a refused login: `resume ACCOUNT` says the password is mended
        return events

    operations.register(server, house.store, names=lambda: names_of(house), changed=service.wake)
    server.register("resume", resume)
    server.register("status", lambda _: operations.status(house.store, live=live(service)))
    server.register("reload", lambda _: service.reload())
    server.register("rules", lambda _: {"rules_hash": house.config.text_hash})
    server.register("apply", lambda arguments: apply(house, arguments))
    server.register("undo", lambda arguments: undoer_of(house, arguments).undo())


def names_of(house: House) -> operations.Names:
    """The rules and accounts of the file in force."""
    from mailrules import operations

    return operations.Names(
        frozenset(rule.name for rule in house.config.rules), frozenset(house.config.accounts)
    )


def live(service: Service) -> operations.Live:
    """What only a running worker knows: who it is, and where each connection stands."""
    from mailrules import operations

    worker = {
        "pid": os.getpid(),
        "since": timestamp(service.started),
        "config": str(service.house.config.path),
        "dry_run": service.house.dry_run,
    }
    connections = [
        {**connection, "since": timestamp(connection["since"])} for connection in service.connections()
    ]
    return operations.Live(worker, connections, names_of(service.house))


def selection_of(arguments: Mapping[str, Any]) -> Selection:
    """From what a request carries: `rules`, `accounts`, `mailboxes`, `since`, `scheduled`, `again`."""
    since = arguments.get("since")
    return Selection(
        rules=_names(arguments.get("rules")),
        accounts=_names(arguments.get("accounts")),
        mailboxes=_names(arguments.get("mailboxes")),
        since=datetime.fromisoformat(since) if isinstance(since, str) else None,
        scheduled=bool(arguments.get("scheduled")),
        traced=bool(arguments.get("traced")),
        again=bool(arguments.get("again")),
        afresh=bool(arguments.get("afresh")),
    )


def apply(house: House, arguments: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """`apply`, as events: one for each message that is acted on, progress, and the result at the end.

    `file`: the descriptor of a kept plan, which is then all that is done; `name` is what it is called.
    """
    descriptor = arguments.get("file")
    over_brakes = bool(arguments.get("over_brakes"))
    if not isinstance(descriptor, int):
        planner = Planner(house, selection_of(arguments))
        yield from as_events(planner, planner.apply(over_brakes=over_brakes))
        return
    from mailrules.planning.applying import Replay
    from mailrules.planning.planfile import SavedPlan

    with os.fdopen(os.dup(descriptor), "rb") as file:
        saved = SavedPlan(file, str(arguments.get("name") or "the plan"))
        replay = Replay(house, saved)
        yield from as_events(replay, replay.apply(over_brakes=over_brakes))


def undoer_of(house: House, arguments: Mapping[str, Any]) -> Undoer:
    """An Undoer from what a request carries: the fields of `UndoSelection`."""
    from mailrules.undoing.undo import Undoer, UndoSelection

    run = arguments.get("run")
    message_id = arguments.get("message_id")
    return Undoer(
        house,
        UndoSelection(
            ids=tuple(int(id_) for id_ in arguments.get("ids") or ()),
            run=run if isinstance(run, int) else None,
            rules=_names(arguments.get("rules")),
            message_id=message_id if isinstance(message_id, str) else None,
            accounts=_names(arguments.get("accounts")),
            mailboxes=_names(arguments.get("mailboxes")),
            since=_moment(arguments.get("since")),
            until=_moment(arguments.get("until")),
            force=bool(arguments.get("force")),
        ),
    )


def as_events(
    planner: Planner, events: Iterable[Event], *, keep: PlanWriter | None = None
) -> Iterator[dict[str, Any]]:
    """What a Planner yields, as plain data; the last one is its result. `keep`: what the plan is written to,
    which is whole only if the planner came to its end."""
    for event in events:
        if keep is not None and isinstance(event, Planned):
            keep.add(event)
        yield _as_event(event)
    summary = planner.summary
    if keep is not None and not summary.stopped:
        keep.end(summary)
    begun = {}
    if summary.stopped:
        unfinished = planner.house.store.unfinished_of(summary.runs) if summary.runs else 0
        begun = {"begun": summary.begun, "unfinished": unfinished}
    yield {
        "result": {
            **begun,
            "summary": summary.as_json(),
            "states": dict(summary.states),
            "runs": list(summary.runs),
            "left": summary.left.as_json(),
            "deferred": summary.deferred,
            "braked": summary.braked,
            "brakes": planner.forecast.lines(),
            "created": [[account, name, many] for (account, name), many in sorted(summary.created.items())],
            "stopped": summary.stopped,
            "errors": summary.errors,
            "passing": isinstance(planner.failed, TransientError),
        }
    }


def _as_event(event: Event) -> dict[str, Any]:
    if isinstance(event, Planned):
        return {
            "planned": event.as_json(),
            "subject": event.identity.subject,
            "sender": event.identity.sender,
            "troubles": _troubles(event.decision) | _before(event),
        }
    if isinstance(event, Compared):
        return {
            "compared": event.as_json(),
            "subject": event.identity.subject,
            "sender": event.identity.sender,
            "troubles": {"old": _troubles(event.old), "new": _troubles(event.new)},
        }
    if isinstance(event, LeftOut):
        return {
            "left_out": {
                "account": event.account, "mailbox": event.mailbox, "uid": event.uid,
                "message_id": event.message_id, "reason": event.reason, "done": event.known,
            },
            "subject": event.subject,
            "sender": event.sender,
        }  # fmt: skip
    if isinstance(event, Look):
        return {"look": {"account": event.account, "mailbox": event.mailbox, "words": event.words}}
    return {
        "progress": {
            "account": event.account, "mailbox": event.mailbox, "done": event.done, "total": event.total,
            "phase": event.phase, "states": dict(event.states), "run": event.run,
        }
    }  # fmt: skip


def _before(planned: Planned) -> dict[str, list[str]]:
    """By rule, what was done to the message before and is not done again."""
    found: dict[str, list[str]] = {}
    for effect in planned.before:
        found.setdefault(effect.rule, []).append(f"{effect.action} not again: done before, or waiting")
    return found


def _troubles(decision: Decision) -> dict[str, list[str]]:
    """By rule, why effects that were asked for are not among the actions."""
    found: dict[str, list[str]] = {}
    for effect in decision.effects:
        if effect.state in ("failed", "skipped"):
            found.setdefault(effect.rule, []).append(f"{effect.action} {effect.state}: {effect.because}")
    return found


def exit_status(result: Mapping[str, Any]) -> int:
    """0 fine; 75 a server could not be asked now; 1 something else went wrong or was stopped."""
    troubles = {"failed", "unknown"} & result["states"].keys()
    if troubles or result["braked"] or (result["errors"] and not result["passing"]):
        return 1
    return 75 if result["errors"] or result["deferred"] or result["states"].get("later") else 0


def _moment(value: Any) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else None


def _names(value: Any) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, Sequence) and value else ()
