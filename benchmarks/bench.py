"""What the scenarios share: sizes, servers, and how contenders take turns."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.contenders import Contender, Job, Measured, Missing, Runs, measure, through
from benchmarks.lab import Lab
from benchmarks.proxy import Proxy
from benchmarks.report import Result
from benchmarks.rules import Rule, fifty


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything."""

    messages: int = 100_000
    few: int = 5_000
    rules: int = 1_000
    accounts: int = 2_000
    rate: int = 50
    seconds: float = 30
    repeat: int = 3
    slow: bool = True
    """With the peers that take minutes."""

    @staticmethod
    def quick() -> Sizes:
        """For a smoke run in less than a minute: says nothing about speed."""
        return Sizes(messages=400, few=100, rules=100, accounts=20, rate=20, seconds=2, repeat=1, slow=False)


class Bench:
    """A context manager; servers are started when a scenario asks for them first."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self._stack = ExitStack()
        self._labs: dict[bool, Lab] = {}

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *exc: Any) -> None:
        self._stack.close()

    def lab(self, *, compress: bool = False) -> Lab:
        if compress not in self._labs:
            self._labs[compress] = lab = Lab(compress=compress)
            self._stack.enter_context(lab)
        return self._labs[compress]

    def say(self, words: str) -> None:
        """To whoever waits."""
        print(words, file=sys.stderr, flush=True)

    # -- taking turns -----------------------------------------------------------------------------
    def compete(
        self,
        contenders: Sequence[Contender],
        *,
        messages: int,
        rules: Iterable[Rule] | None = None,
        lab: Lab | None = None,
        round_trip: float | None = None,
        again: bool = False,
        turns: int | None = None,
    ) -> tuple[Runs, Runs]:
        """Every contender on a copy of the same mailbox, in turns (ABAB); and, `again`, with nothing to do.

        With a `round_trip` (which may be 0) they go through a proxy that counts.
        """
        lab = lab or self.lab()
        mailbox = lab.mailbox(messages)
        rules = list(rules or fifty())
        first, second = Runs(), Runs()
        with self._proxy(lab, round_trip) as run:
            for turn in range(turns or self.sizes.repeat):
                for contender in contenders:
                    if contender.slow and (turn or not self.sizes.slow):
                        continue
                    try:
                        with lab.folder() as folder:
                            user = lab.copy(mailbox.user)
                            job = Job(folder, lab, user, lab.imap_port, rules, mailbox)
                            first.add(self._told(run(contender, job)))
                            if again and not contender.slow:
                                second.add(self._told(run(contender, replace(job, second=True))))
                            lab.drop(user)
                    except Missing as missing:
                        self.say(f"LEFT OUT: {missing}")
        return first, second

    def _told(self, measured: Measured) -> Measured:
        self.say(
            f"  {measured.name}: {measured.wall:.2f} s, {measured.moved} moved (load {measured.load:.0f})"
        )
        return measured

    @contextmanager
    def _proxy(self, lab: Lab, round_trip: float | None) -> Iterator[Callable[[Contender, Job], Measured]]:
        if round_trip is None:
            yield measure
            return
        with Proxy(lab.imap_port, round_trip=round_trip) as proxy:
            yield lambda contender, job: through(proxy, contender, job)


Scenario = Callable[[Bench], list[Result]]
