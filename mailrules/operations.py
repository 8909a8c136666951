"""What a person decides and asks: retry, skip, pause, resume, status.

A running worker registers these on its control socket (`register`). A command calls `perform`, which asks
the worker if there is one, and else takes the state's lock and calls the same functions.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from mailrules import clock
from mailrules.adapters.store import LogQuery, Store, in_words, timestamp
from mailrules.control import ControlClient, ControlServer, connect
from mailrules.core.errors import PermanentError
from mailrules.core.rule import Schedule
from mailrules.core.timetable import due_time, zone_of
from mailrules.state import State, StateLocked

Event = dict[str, Any]

LOCK_WAIT = 10.0
"""Seconds to wait for another command to end, or for a worker that is starting to listen."""


@dataclass(frozen=True, slots=True)
class Names:
    """The rules, accounts and mailboxes (`ACCOUNT/MAILBOX`) that a person may mean."""

    rules: frozenset[str] = frozenset()
    accounts: frozenset[str] = frozenset()

    def with_recorded(self, store: Store) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
        """Also those that the file does not have any more, but the journal."""
        mailboxes = store.mailboxes()
        return (
            self.rules | frozenset(store.rules_recorded()),
            self.accounts | frozenset(m.account for m in mailboxes),
            frozenset(f"{m.account}/{m.name}" for m in mailboxes),
        )


def target_of(text: str, names: Names, store: Store) -> str:
    """What `pause` and `resume` mean by a word: a target of the store. Raises PermanentError.

    `rule:NAME`, `account:NAME` and `mailbox:ACCOUNT/NAME` say it outright, where a word could be two things.
    """
    rules, accounts, mailboxes = names.with_recorded(store)
    kinds = {"rule": rules, "account": accounts, "mailbox": mailboxes}
    kind, colon, name = text.partition(":")
    if colon and kind in kinds and name in kinds[kind]:
        return text
    meant = [kind for kind, known in kinds.items() if text in known]
    if len(meant) > 1:
        choices = " or ".join(f"{kind}:{text}" for kind in meant)
        raise PermanentError(f"'{text}' is both {' and '.join(meant)}. Say {choices}.")
    if meant:
        return f"{meant[0]}:{text}"
    account, slash, _ = text.partition("/")
    if slash and account in accounts:
        return f"mailbox:{text}"  # not watched yet, or a name of the server's we have not seen
    near = difflib.get_close_matches(text, sorted(rules | accounts | mailboxes), n=1)
    hint = f" Did you mean '{near[0]}'?" if near else " `mailrules status` lists them."
    raise PermanentError(f"there is no rule, account or mailbox '{text}'.{hint}")


# -- the operations: (store, names, arguments) -> events ----------------------------------------------
def retry(store: Store, names: Names, arguments: Mapping[str, Any]) -> Iterator[Event]:
    """`ids`: try these effects again. One log object each."""
    rows = store.retry(_ids(arguments), at=clock.now())
    yield from store.log(LogQuery(ids=tuple(row.id for row in rows)))


def skip(store: Store, names: Names, arguments: Mapping[str, Any]) -> Iterator[Event]:
    """`ids`, or all that is held of `rule`: do without these effects. One log object each."""
    if "rule" in arguments:
        target = target_of(f"rule:{arguments['rule']}", names, store)
        ids = store.held_of(target.partition(":")[2])
        if not ids:
            return
    else:
        ids = _ids(arguments)
    rows = store.skip(ids, at=clock.now())
    yield from store.log(LogQuery(ids=tuple(row.id for row in rows)))


def pause(store: Store, names: Names, arguments: Mapping[str, Any]) -> Iterator[Event]:
    """`targets` (empty: everything): hold their effects. One event each: `{"target", "changed"}`."""
    for target in _targets(store, names, arguments):
        changed = store.pause(target, reason=str(arguments.get("reason") or "by hand"), at=clock.now())
        yield {"target": target, "what": in_words(target), "changed": changed}


def resume(store: Store, names: Names, arguments: Mapping[str, Any]) -> Iterator[Event]:
    """`targets` (empty: everything): end their pauses. `{"target", "changed", "planned"}` each."""
    for target in _targets(store, names, arguments):
        changed, planned = store.resume(target, at=clock.now())
        yield {"target": target, "what": in_words(target), "changed": changed, "planned": planned}


def _ids(arguments: Mapping[str, Any]) -> list[int]:
    ids = arguments.get("ids")
    if not isinstance(ids, list) or not all(isinstance(id_, int) for id_ in ids):
        raise PermanentError("name the effects by their numbers; `mailrules log` shows them.")
    return ids


def _targets(store: Store, names: Names, arguments: Mapping[str, Any]) -> list[str]:
    words = arguments.get("targets") or []
    # All are looked up before the first is changed.
    return [target_of(str(word), names, store) for word in words] or ["*"]


Operation = Callable[[Store, Names, Mapping[str, Any]], Iterator[Event]]

OPERATIONS: Mapping[str, Operation] = {"retry": retry, "skip": skip, "pause": pause, "resume": resume}
"""By the name of their command and of their request."""


def register(
    server: ControlServer, store: Store, *, names: Callable[[], Names], changed: Callable[[], None]
) -> None:
    """Offer them on a worker's socket. `changed` is called after each: there may be work to do now."""
    for name, operation in OPERATIONS.items():

        def handle(arguments: Mapping[str, Any], operation: Operation = operation) -> Iterable[Event]:
            events = list(operation(store, names(), arguments))
            changed()
            return events

        server.register(name, handle)


def perform(name: str, state: State, *, names: Callable[[], Names], **arguments: Any) -> Iterator[Event]:
    """Do it by way of the worker that runs, else under the lock. Raises StateLocked, and what it raises.

    `names` is asked only without a worker: the worker has its own.
    """
    deadline = clock.timer() + LOCK_WAIT
    while True:
        client = connect(state)
        if client is not None:
            yield from client.request(name, **arguments)
            return
        if not state.exists:
            raise state.missing()
        try:
            lock = state.lock(name)
        except StateLocked:
            if clock.timer() >= deadline:
                raise
            time.sleep(0.1)  # a command that ends soon, or a worker that does not listen yet
            continue
        with lock, Store.open(state.directory) as store:
            yield from list(OPERATIONS[name](store, names(), arguments))
        return


# -- status -------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Live:
    """What only a running worker knows.

    `connections`: one mapping each with account, mailboxes, missing (of them), state, error, since.
    `worker`: about itself.
    """

    worker: Mapping[str, Any]
    connections: Sequence[Mapping[str, Any]] = ()
    names: Names = field(default_factory=Names)


WATCHING = frozenset({"watching", "polling"})
CONNECTED = WATCHING | {"connected"}


def status(store: Store, *, live: Live | None = None, names: Names | None = None) -> Event:
    """How everything is: one object, `docs/json/status.schema.json`."""
    now = clock.now()
    names = live.names if live is not None else (names or Names())
    rules, account_names, _ = names.with_recorded(store)
    paused = store.paused()
    hits = {h.rule: h for h in store.rule_hits()}
    held = store.held_by_rule()
    schedules = _schedules(store, now)
    room = store.room()
    return {
        "worker": dict(live.worker) if live is not None else None,
        "state": str(store.path.parent),
        "room": {"enough": room.enough, "free": room.free, "needed": room.needed},
        "accounts": [_account(store, name, live, paused, now) for name in sorted(account_names)],
        "rules": [
            {
                "rule": name,
                "hits": hits[name].hits if name in hits else 0,
                "last_hit": timestamp(hits[name].last_at) if name in hits else None,
                "paused": bool({"*", f"rule:{name}"} & paused),
                "held": held.get(name, 0),
                "schedule": schedules.get(name),
            }
            for name in sorted(rules | set(hits))
        ],
        "paused": [
            {"target": p.target, "since": timestamp(p.since), "reason": p.reason} for p in store.pauses()
        ],
        "counts": store.counts(),
        "next_try": timestamp(store.next_try()),
        "held": store.open_log("held"),
        "unknown": store.open_log("unknown"),
        "failed": store.open_log("failed"),
        "quarantined": [
            {
                "account": t.account,
                "mailbox": t.mailbox,
                "uid": t.uid,
                "message_id": t.message_id,
                "subject": t.subject,
                "tries": t.tries,
                "error": t.error,
            }
            for t in store.troubled("quarantined")
        ],
    }


def _schedules(store: Store, now: datetime) -> dict[str, Event]:
    """Of each scheduled rule: its schedule, its last run and its next, over all accounts."""
    found: dict[str, Event] = {}
    for row in store.schedules():
        told = found.setdefault(
            row.rule,
            {"schedule": row.schedule, "running": False, "last": None, "next": None, "trouble": None},
        )
        due = due_time(Schedule.of(row.schedule), row.since, now, zone_of(row.timezone))
        told["running"] = told["running"] or row.begun_at is not None
        told["last"] = max(filter(None, (told["last"], timestamp(row.last_at))), default=None)
        told["next"] = min(filter(None, (told["next"], timestamp(due))), default=None)
        told["trouble"] = told["trouble"] or (f"{row.account}: {row.trouble}" if row.trouble else None)
    return found


def _account(
    store: Store, name: str, live: Live | None, paused: frozenset[str], now: datetime
) -> dict[str, Any]:
    connections = [c for c in live.connections if c["account"] == name] if live is not None else []
    waiting = [t for t in store.troubled("waiting") if t.account == name]
    errors = [c["error"] for c in connections if c.get("error")]
    watched = {m: c for c in connections for m in c.get("mailboxes", ())}
    missing = {m for c in connections for m in c.get("missing", ())}
    rows = {row.name: row for row in store.mailboxes(name)}
    return {
        "account": name,
        "connected": None if live is None else any(c["state"] in CONNECTED for c in connections),
        "watching": None
        if live is None
        else bool(connections) and all(c["state"] in WATCHING for c in connections),
        "error": errors[0] if errors else None,
        "paused": bool({"*", f"account:{name}"} & paused),
        "lag": _lag([t.since for t in waiting], now),
        "mailboxes": [
            {
                "mailbox": mailbox,
                "watching": None
                if live is None
                else mailbox in watched.keys() - missing and watched[mailbox]["state"] in WATCHING,
                "missing": None if live is None else mailbox in missing,
                "paused": bool({"*", f"account:{name}", f"mailbox:{name}/{mailbox}"} & paused),
                "last_sweep": timestamp(rows[mailbox].last_sweep) if mailbox in rows else None,
                "waiting": sum(t.mailbox == mailbox for t in waiting),
                "lag": _lag([t.since for t in waiting if t.mailbox == mailbox], now),
            }
            for mailbox in sorted(rows.keys() | watched.keys())
        ],
    }


def _lag(since: Sequence[datetime], now: datetime) -> float:
    """Seconds that the oldest unjudged message has waited; 0 if none does."""
    return max(((now - moment).total_seconds() for moment in since), default=0.0)


def ask_status(state: State, *, names: Callable[[], Names]) -> Event:
    """The status: from the worker if one runs, else from the journal."""
    client: ControlClient | None = connect(state)
    if client is not None:
        return next(iter(client.request("status")))
    if not state.exists:
        raise state.missing()
    with Store.open(state.directory, read_only=True) as store:
        return status(store, names=names())
