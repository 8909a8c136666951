"""A real worker on a stage, and mail that keeps coming while things break.

::

    with working(stage) as program, Load(stage, rate=5) as load:
        with load.paused():         # nobody delivers now: the server may go away
            server.kill()
        ...
    stage.settle()                  # what is left is done in this process
    check(stage)
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mailrules.adapters.store import LogQuery, Store
from tests.faults.stage import Stage, number_of
from tests.lab.program import Program


class Launched(Program):
    """mailrules started by launcher.py, with `changes` to what is fixed in it."""

    def __init__(
        self,
        directory: Path,
        rules: str,
        changes: Mapping[str, Any],
        *,
        prefix: Sequence[str] = (),
        **options: Any,
    ) -> None:
        super().__init__(directory, rules, **options)
        self.prefix = prefix
        self.environment["LAB_CHANGES"] = json.dumps(changes)

    def arguments(self, *arguments: str) -> list[str]:
        return [*self.prefix, *super().arguments(*arguments)]


@contextmanager
def working(
    stage: Stage,
    *,
    changes: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
    rewrite: Callable[[str], str] = str,
) -> Iterator[Program]:
    """A worker that watches the stage's account; it is stopped decently at the end.

    `prefix`: a command that starts it. `rewrite`: what is different in its rules.yaml.
    """
    stage.baseline()
    stage.close()
    rules = rewrite((stage.directory / "rules.yaml").read_text())
    with Launched(
        stage.directory, rules, changes or {}, prefix=prefix, environment=dict(environment or {})
    ) as program:
        program.start()
        program.wait_for("lab/INBOX connected", timeout=60)
        yield program
        if program.worker is not None:
            assert program.stop(timeout=60) == 0, program.said()
        assert "Traceback" not in program.said(), program.said()


class Load:
    """Delivers `rate` messages a second in a thread of its own, straight to the server."""

    def __init__(self, stage: Stage, *, rate: float) -> None:
        self._stage, self._pause = stage, 1 / rate
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join(60)
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while not self._ended.wait(self._pause):
                with self._lock:
                    self._stage.deliver()
        except BaseException as error:
            self._error = error

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing is being delivered meanwhile."""
        with self._lock:
            yield


def handled(stage: Stage, program: Program, *, timeout: float) -> None:
    """Wait until the worker has done by itself all that the journal can be done with."""

    deadline = time.monotonic() + timeout
    while True:
        with Store.open(stage.state, read_only=True) as store:
            found = list(store.log(LogQuery()))
        known = {number_of(entry["subject"]) for entry in found}
        busy = sum(entry["state"] in ("planned", "running") for entry in found)
        left = set(stage.numbers) - known
        if not left and not busy:
            return
        assert time.monotonic() < deadline, (
            f"{len(left)} not judged, {busy} not done\n{program.said()[-4000:]}"
        )
        time.sleep(0.3)


def memory(program: Program) -> int:
    """The most memory that the worker has used, in MB."""
    assert program.worker is not None
    status = Path(f"/proc/{program.worker.pid}/status").read_text()
    match = re.search(r"VmHWM:\s+(\d+)", status)
    assert match is not None
    return int(match[1]) // 1024
