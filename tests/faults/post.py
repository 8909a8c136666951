"""Mail that keeps coming in while something else goes wrong."""

from __future__ import annotations

import itertools
import threading

from tests.faults.stage import Stage, numbered


class Post(threading.Thread):
    """Puts messages into the stages' INBOXes in turn, `rate` a second; a context manager that ends it.

    Each stage has a word that its messages have in their subject: `lab-WORD 17`.
    """

    def __init__(self, stages: list[tuple[str, Stage]], *, rate: float) -> None:
        super().__init__(name="post", daemon=True)
        self._stages = stages
        self._rate = rate
        self.count = 0
        self.pausing = threading.Event()
        """While it is set no more come."""
        self._ending = threading.Event()
        self._failed: BaseException | None = None

    def __enter__(self) -> Post:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ending.set()
        self.join(30)
        assert self._failed is None, self._failed

    def run(self) -> None:
        try:
            self._deliver()
        except BaseException as error:
            self._failed = error

    def _deliver(self) -> None:
        clients = {stage.user: stage.server.session(stage.user) for _, stage in self._stages}
        turns = itertools.cycle(self._stages)
        while not self._ending.wait(1 / self._rate):
            if self.pausing.is_set():
                continue
            word, stage = next(turns)
            self.count += 1
            raw = numbered(self.count, subject=f"lab-{word}")
            status, answer = clients[stage.user].append("INBOX", "", "", raw)
            assert status == "OK", answer
            stage.numbers.append(self.count)
        for client in clients.values():
            client.logout()
