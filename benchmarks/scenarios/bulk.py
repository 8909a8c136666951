"""A whole mailbox at once: sorted, nothing left to do, over a slow link, and what goes over the wire."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.contenders import APPLY, AUTOFILER, FLOOR, IDIOMATIC, ONCE, TUNED, Floor, Measured, Runs
from benchmarks.report import COLUMNS, Result, Target, at_least, at_most, compared, size

_ROUND_TRIP = 0.02


def sort(bench: Bench) -> list[Result]:
    """A fifth of the mailbox goes to ten mailboxes; then once more, with nothing left to do."""
    count = bench.sizes.messages
    first, second = bench.compete(
        (FLOOR, APPLY, ONCE, TUNED, IDIOMATIC, AUTOFILER), messages=count, again=True
    )
    ours, floor, tuned = first.median(APPLY.name), first.median(FLOOR.name), _median(first, TUNED.name)
    idiomatic = _median(first, IDIOMATIC.name)
    targets = [
        *_faster("≥ 6x faster than tuned imapfilter", tuned, ours, 6),
        *_faster("≥ 15x faster than idiomatic imapfilter", idiomatic, ours, 15),
        at_most("≤ 2x the floor", ours.wall / floor.wall, 2),
        at_most("peak RSS ≤ 80 MB", ours.rss, 80e6, size(ours.rss)),
    ]
    again = _faster(
        "second pass: ≥ 15x faster than tuned imapfilter",
        _median(second, TUNED.name), second.median(APPLY.name), 15,
    )  # fmt: skip
    megabytes = size(bench.lab().mailbox(count).size)
    title = f"{count:,} messages ({megabytes}), 50 rules, {ours.moved:,} moved to ten mailboxes"
    return [
        Result("sort", title, COLUMNS, compared(first), tuple(targets)),
        Result("sort", "The same again: nothing to do", COLUMNS, compared(second), tuple(again)),
    ]


def link(bench: Bench) -> list[Result]:
    """The server is 20 ms away."""
    count = bench.sizes.few
    runs, _ = bench.compete((FLOOR, APPLY, TUNED, IDIOMATIC), messages=count, round_trip=_ROUND_TRIP)
    ours = runs.median(APPLY.name)
    trips = ours.trips or 0
    targets = (
        *_faster("≥ 60x faster than tuned imapfilter", _median(runs, TUNED.name), ours, 60),
        at_most("≤ 25 round trips", trips, 25, f"{trips}"),
    )
    title = f"{count:,} messages, the server {_ROUND_TRIP * 1000:.0f} ms away (there and back)"
    return [Result("link", title, COLUMNS, compared(runs), targets)]


def wire(bench: Bench) -> list[Result]:
    """Bytes and round trips of the big sort, counted by a proxy, on a server that can compress."""
    count = bench.sizes.messages
    floor = Floor(name="floor, compressed", compress=True)
    lab = bench.lab(compress=True)
    runs, _ = bench.compete((FLOOR, floor, APPLY, TUNED), messages=count, lab=lab, round_trip=0, turns=1)
    targets: list[Target] = []
    tuned = _median(runs, TUNED.name)
    if tuned is not None:
        ratio = _bytes(runs.median(APPLY.name)) / _bytes(tuned)
        targets.append(at_most("bytes ≤ 0.35x tuned imapfilter's", ratio, 0.35))
    title = f"{count:,} messages, bytes as they went over the wire; the server offers COMPRESS=DEFLATE"
    notes = (
        "Wall times of this table are not for comparing: the proxy takes its share of every round trip.",
    )
    return [Result("bytes", title, COLUMNS, compared(runs), tuple(targets), notes)]


def _bytes(run: Measured) -> int:
    return (run.sent or 0) + (run.received or 0)


def _median(runs: Runs, name: str) -> Measured | None:
    return runs.median(name) if name in runs else None


def _faster(promised: str, peer: Measured | None, ours: Measured, limit: float) -> list[Target]:
    if peer is None:
        return [Target(promised, "the peer was left out", None)]
    return [at_least(promised, peer.wall / ours.wall, limit)]
