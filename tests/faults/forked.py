"""A stage whose passes are processes of their own, which may die at any step (crash.py)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tests.faults.checker import Verdict, check
from tests.faults.stage import Stage
from tests.faults.zygote import Pass, Zygote


@dataclass
class ForkedStage(Stage):
    """`run(at=n)` dies at its n-th step. `mutation`: a bug that every pass has (mutations.py)."""

    zygote: Zygote | None = None
    mutation: str | None = None
    deaths: dict[int, list[str]] = field(default_factory=dict)
    """The steps at which a process died with this message, by number."""

    def run(self, at: int | None = None) -> Pass:  # type: ignore[override]
        assert self.zygote is not None
        self.close()
        done = self.zygote.ask(
            self.directory / "rules.yaml", self.state, at=at, mutation=self.mutation
        )  # fmt: skip
        if done.died and self.numbers:
            self.deaths.setdefault(self.numbers[-1], []).append(done.points[-1])
        assert done.died or not done.errors, done.errors
        return done

    def baseline(self) -> None:
        self.configure()
        self.run()

    def check(self) -> Verdict:
        """The checker's verdict; each note says where the process died with that message."""
        verdict = check(self)
        verdict.notes = [note + self._where(note) for note in verdict.notes]
        return verdict

    def _where(self, note: str) -> str:
        number = re.search(r"\d+", note)
        steps = self.deaths.get(int(number[0]), []) if number else []
        return f" (died at: {'; then at: '.join(steps)})" if steps else ""
