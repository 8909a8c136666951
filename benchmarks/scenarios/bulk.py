"""A whole mailbox at once: sorted, nothing left to do, over a slow link, and what goes over the wire."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.contenders import APPLY, AUTOFILER, FAR, FLOOR, IDIOMATIC, ONCE, TUNED, Floor, Measured, Runs
from benchmarks.report import COLUMNS, Result, Target, at_least, at_most, compared, size

_ROUND_TRIP = 0.02


def sort(bench: Bench) -> list[Result]:
    """A fifth of the mailbox goes to ten mailboxes; then once more, with nothing left to do."""
    count = bench.sizes.messages
    first, second = bench.compete(
        (FLOOR, APPLY, ONCE, TUNED, IDIOMATIC, AUTOFILER), messages=count, again=True
    )
    ours = first.median(APPLY.name)
    targets = [
        *_faster("≥ 6x faster than tuned imapfilter", first, TUNED.name, 6),
        *_faster("≥ 15x faster than idiomatic imapfilter", first, IDIOMATIC.name, 15),
        at_most("≤ 2x the floor", first.ratios(APPLY.name, FLOOR.name), 2),
        at_most("peak RSS ≤ 80 MB", ours.rss, 80e6, size(ours.rss)),
    ]
    again = _faster("second pass: ≥ 15x faster than tuned imapfilter", second, TUNED.name, 15)
    megabytes = size(bench.lab().mailbox(count).size)
    title = f"{count:,} messages ({megabytes}), 50 rules, {ours.moved:,} moved to ten mailboxes"
    return [
        Result("sort", title, COLUMNS, compared(first), tuple(targets), fewer(first)),
        Result("sort", "The same again: nothing to do", COLUMNS, compared(second), tuple(again)),
    ]


def link(bench: Bench) -> list[Result]:
    """The server is 20 ms away."""
    count = bench.sizes.few
    runs, _ = bench.compete((FLOOR, APPLY, TUNED, IDIOMATIC), messages=count, round_trip=_ROUND_TRIP)
    ours = runs.median(APPLY.name)
    trips = ours.trips or 0
    targets = (
        *_faster("≥ 60x faster than tuned imapfilter", runs, TUNED.name, 60),
        at_most("≤ 25 round trips", trips, 25, f"{trips}"),
    )
    title = f"{count:,} messages, the server {_ROUND_TRIP * 1000:.0f} ms away (there and back)"
    return [Result("link", title, COLUMNS, compared(runs), targets, fewer(runs))]


def wire(bench: Bench) -> list[Result]:
    """Bytes and round trips of the big sort, counted by a proxy, on a server that can compress."""
    count = bench.sizes.messages
    floor = Floor(name="floor, compressed", compress=True)
    lab = bench.lab(compress=True)
    runs, _ = bench.compete((FLOOR, floor, FAR, TUNED), messages=count, lab=lab, round_trip=0, turns=1)
    targets: list[Target] = []
    tuned = _median(runs, TUNED.name)
    if tuned is not None:
        ratio = _bytes(runs.median(FAR.name)) / _bytes(tuned)
        targets.append(at_most("bytes ≤ 0.35x tuned imapfilter's", ratio, 0.35))
    title = f"{count:,} messages, bytes as they went over the wire; the server offers COMPRESS=DEFLATE"
    notes = (
        *fewer(runs),
        "Wall times of this table are not for comparing: the proxy takes its share of every round trip.",
    )
    return [Result("bytes", title, COLUMNS, compared(runs), tuple(targets), notes)]


def fewer(runs: Runs) -> tuple[str, ...]:
    """Why imapfilter moves less than the others, where it does."""
    ours, theirs = _median(runs, FLOOR.name), _median(runs, TUNED.name)
    less = ours.moved - theirs.moved if ours is not None and theirs is not None else 0
    if less <= 0:
        return ()
    return (
        f"imapfilter moves {less:,} fewer: its regexes see a Subject as it was sent, and find nothing in one "
        "that is encoded (RFC 2047); the others decode it.",
    )


def _bytes(run: Measured) -> int:
    return (run.sent or 0) + (run.received or 0)


def _median(runs: Runs, name: str) -> Measured | None:
    return runs.median(name) if name in runs else None


def _faster(promised: str, runs: Runs, peer: str, limit: float) -> list[Target]:
    """Turn by turn, how many times faster `apply` is."""
    if peer not in runs:
        return [Target(promised, "the peer was left out", None)]
    return [at_least(promised, runs.ratios(peer, APPLY.name), limit)]
