"""A connection being opened in a thread of its own, while its owner does other things."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Beginning:
    """Runs at once. The thread owns the connection until `wait` or `leave` returns."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._error: BaseException | None = None
        # A daemon: a command that gives the password may take a minute, and nobody may wait for it any more.
        self._thread = threading.Thread(target=self._run, name="mailrules-begin", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self._error = error

    def wait(self) -> None:
        """Until it is open, or has failed."""
        self._thread.join()

    def check(self) -> None:
        """Raises what kept it from being opened."""
        if self._error is not None:
            raise self._error

    def leave(self, abort: Callable[[], None], seconds: float) -> None:
        """It is not wanted any more: cut it off if it is not through yet, and wait at most so long."""
        if self._thread.is_alive():
            abort()
        self._thread.join(seconds)
