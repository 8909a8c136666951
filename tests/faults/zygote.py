"""A process that has imported everything and forks a child for each pass: a pass costs no start.

`python -m tests.faults.zygote` reads a JSON object a line: `rules` and `state` (paths), `at` (the step to
die at, or null) and `mutation` (a name of `mutations.py`, or null). It answers with one: `status`, the
`points` that were passed, and the `errors` of the pass. It has one thread, so that forking is safe.

::

    with Zygote(tmp_path) as zygote:
        zygote.ask(rules, state, at=17)
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mailrules import config as configuration
from mailrules.adapters.store import Store
from mailrules.house import House
from mailrules.once import run_once
from tests.faults.crash import DIED, Points, install
from tests.faults.mutations import MUTATIONS
from tests.lab.dovecot import PASSWORD

WRONG = 1
"""Exit status of a child that raised what nobody expected."""


@dataclass(frozen=True)
class Pass:
    """What a pass came to: whether it died at its step, the steps it made, what failed."""

    died: bool
    points: tuple[str, ...]
    errors: tuple[str, ...]


class Zygote:
    """The process, from outside. What its children say goes to `output`."""

    def __init__(self, directory: Path) -> None:
        self.output = directory / "zygote.log"

    def __enter__(self) -> Zygote:
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.zygote"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output, text=True,
                cwd=Path(__file__).parents[2], env={**os.environ, "LAB_PASSWORD": PASSWORD},
            )  # fmt: skip
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)

    def ask(self, rules: Path, state: Path, *, at: int | None = None, mutation: str | None = None) -> Pass:
        """One pass in a new process. Fails if it ended in any other way than it was told to."""
        assert self._process.stdin is not None and self._process.stdout is not None
        request = {"rules": str(rules), "state": str(state), "at": at, "mutation": mutation}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert answer["status"] in (0, DIED), (answer, self.output.read_text()[-4000:])
        return Pass(answer["status"] == DIED, tuple(answer["points"]), tuple(answer["errors"]))


def main() -> None:
    for line in sys.stdin:
        print(json.dumps(_fork(json.loads(line))), flush=True)


def _fork(request: dict[str, Any]) -> dict[str, Any]:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _child(request, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {"status": status, "points": [], "errors": [], **(json.loads(said) if said else {})}


def _child(request: dict[str, Any], report: int) -> None:
    """One pass, as `run --once` makes it. Does not return."""

    def say(points: list[str], errors: tuple[str, ...] = ()) -> None:
        with os.fdopen(os.dup(report), "wb") as pipe:
            pipe.write(json.dumps({"points": points, "errors": errors}).encode())

    try:
        points = Points(request["at"], last_words=say)
        install(points)
        if request["mutation"]:
            MUTATIONS[request["mutation"]]()
        store = Store.open(request["state"])
        house = House(configuration.load(Path(request["rules"])), store)
        house.begin()
        results = run_once(house, done=lambda _: None)
        store.close()
        say(points.passed, tuple(f"{where}: {error}" for result in results for where, error in result.errors))
    except BaseException:
        traceback.print_exc()
        os._exit(WRONG)
    os._exit(0)


if __name__ == "__main__":
    main()
