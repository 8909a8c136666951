"""mailrules as its users run it: a process with a rules.yaml and a state directory of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.lab.dovecot import PASSWORD, Dovecot


class Program:
    """Runs commands of mailrules in a directory of its own; a context manager that ends the worker."""

    def __init__(self, directory: Path, rules: str, *, environment: dict[str, str] | None = None) -> None:
        self.directory = directory
        self.config = directory / "rules.yaml"
        self.config.write_text(rules)
        self.state = directory / "state"
        runtime = directory / "run"
        runtime.mkdir(mode=0o700, exist_ok=True)
        self.environment = {
            **os.environ,
            "LAB_PASSWORD": PASSWORD,
            "XDG_RUNTIME_DIR": str(runtime),
            "NO_COLOR": "1",
            **(environment or {}),
        }
        self.worker: subprocess.Popen[bytes] | None = None
        self.output = directory / "worker.log"

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()

    def arguments(self, *arguments: str) -> list[str]:
        command, *rest = arguments
        changed = "LAB_CHANGES" in self.environment
        return [
            sys.executable, "-m", "tests.faults.launcher" if changed else "mailrules", command,
            "--config", str(self.config), "--state", str(self.state), *rest,
        ]  # fmt: skip

    def run(
        self, *arguments: str, timeout: float = 60, status: int | None = 0
    ) -> subprocess.CompletedProcess[str]:
        """One command, to its end. `status`: what it must exit with; None: anything."""
        done = subprocess.run(
            self.arguments(*arguments), capture_output=True, text=True, timeout=timeout,
            env=self.environment, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        if status is not None:
            assert done.returncode == status, (arguments, done.returncode, done.stdout, done.stderr)
        return done

    def json(self, *arguments: str, **options: Any) -> list[dict[str, Any]]:
        """The JSON objects that a command prints."""
        return [json.loads(line) for line in self.run(*arguments, "--json", **options).stdout.splitlines()]

    def log(self, *arguments: str) -> list[dict[str, Any]]:
        """The run log."""
        return self.json("log", *arguments)

    # -- the worker -----------------------------------------------------------------------------
    def start(self, *arguments: str) -> None:
        """Start `mailrules run`."""
        with self.output.open("ab") as output:
            self.worker = subprocess.Popen(
                self.arguments("run", *arguments), stdout=output, stderr=output,
                stdin=subprocess.DEVNULL, env=self.environment,
            )  # fmt: skip

    def stop(self, *, timeout: float = 20) -> int:
        """SIGTERM, and its exit status."""
        assert self.worker is not None
        self.worker.send_signal(signal.SIGTERM)
        status = self.worker.wait(timeout)
        self.worker = None
        return status

    def kill(self) -> None:
        """SIGKILL, as the kernel does when memory is short."""
        if self.worker is not None:
            self.worker.kill()
            self.worker.wait(10)
            self.worker = None

    def watching(self) -> bool:
        """Whether the worker says that it watches every mailbox of every account. Before it has started,
        the journal knows accounts, but not who watches them."""
        told = self.run("status", "--json", status=None)
        if told.returncode != 0:
            return False
        status = json.loads(told.stdout)
        accounts = status["accounts"]
        return bool(status["worker"] and accounts) and all(
            account["watching"] and all(mailbox["watching"] for mailbox in account["mailboxes"])
            for account in accounts
        )

    def said(self) -> str:
        """What the worker has logged so far."""
        return self.output.read_text(errors="replace") if self.output.exists() else ""

    def wait_for(self, what: str | Callable[[], bool], *, timeout: float = 20) -> None:
        """Until the worker has logged these words, or the function is true."""
        condition = what if callable(what) else lambda: what in self.said()
        deadline = time.monotonic() + timeout
        while not condition():
            if self.worker is not None and self.worker.poll() is not None:
                raise AssertionError(f"the worker ended with {self.worker.returncode}:\n{self.said()}")
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"waited {timeout} s in vain for {what!r}; the worker says:\n{self.said()}"
                )
            time.sleep(0.02)


def account(
    server: Dovecot, user: str, *, mailboxes: Iterable[str] = ("INBOX",), port: int = 0, **more: str
) -> str:
    """The YAML of an account on a lab server, without TLS, indented for `accounts:`."""
    lines = [
        f"  {user}:",
        f"    host: {server.host}",
        f"    port: {port or server.imap_port}",
        "    security: none",
        f"    username: {user}",
        f"    address: {user}@example.test",
        "    password: {env: LAB_PASSWORD}",
        f"    mailboxes: [{', '.join(mailboxes)}]",
        *(f"    {key}: {value}" for key, value in more.items()),
    ]
    return "\n".join(lines) + "\n"
