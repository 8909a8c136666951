"""Events of a plan as they come: shown, with a progress bar on a terminal; Ctrl-C ends them at any moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mailrules.cli import output
from mailrules.core.safe import cut

NOTHING: dict[str, Any] = {
    "summary": {"messages": 0, "matched": 0, "rules": {}, "effects": {}}, "states": {}, "runs": [],
    "left": {}, "deferred": 0, "braked": [], "brakes": [],
    "created": [], "errors": [], "passing": False, "stopped": True,
}  # fmt: skip
"""The result of what was cut off before it gave one."""


def follow(
    events: Iterable[Mapping[str, Any]], take: Callable[[Mapping[str, Any]], None], *, verbose: bool = False
) -> dict[str, Any]:
    """Hand on every event but progress, which becomes a bar on stderr. Returns the result, the last event.

    Its `acting` is how many messages of how many were acted on, `looked` whether any mailbox was reached.
    """
    result: dict[str, Any] = dict(NOTHING)
    acting: dict[tuple[str, str], tuple[int, int, Mapping[str, int]]] = {}
    looked = False
    runs: list[int] = []
    with _bar() as advance:
        try:
            for event in events:
                looked = looked or "result" not in event
                if "progress" in event:
                    at = event["progress"]
                    advance(at)
                    if at["phase"] == "acting":
                        acting[at["account"], at["mailbox"]] = (at["done"], at["total"], at["states"])
                        if at.get("run") and at["run"] not in runs:
                            runs.append(at["run"])
                elif "look" in event:
                    if verbose:
                        look = event["look"]
                        output.note(f"{look['account']}/{look['mailbox']}: {look['words']}")
                elif "result" in event:
                    result = dict(event["result"])
                else:
                    take(event)
        except KeyboardInterrupt:
            close = getattr(events, "close", None)
            if close is not None:
                close()
            states: dict[str, int] = {}
            for _, _, told in acting.values():
                for state, many in told.items():
                    states[state] = states.get(state, 0) + many
            result = dict(NOTHING, states=states, runs=runs)
    result["looked"] = looked
    result["acting"] = (sum(a[0] for a in acting.values()), sum(a[1] for a in acting.values()))
    return result


@contextmanager
def _bar() -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """What moves the bar; where there is no terminal, nothing does."""
    if output.plain(stderr=True):
        yield lambda at: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    tasks: dict[tuple[str, ...], Any] = {}

    def advance(at: Mapping[str, Any]) -> None:
        key = (at["account"], at["mailbox"], at["phase"])
        if key not in tasks:
            words = f"{at['account']}/{at['mailbox']} {at['phase']}"
            tasks[key] = bar.add_task(cut(words, 30), total=at["total"])
        bar.update(tasks[key], completed=at["done"], total=at["total"])

    where = output.console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=where,
        transient=True,
        disable=not where.is_terminal,
    ) as bar:
        yield advance
