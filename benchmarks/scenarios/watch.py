"""Many accounts watched by one process: what they hold, how soon it acts, how much it can do."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench
from benchmarks.contenders import ROOT
from benchmarks.crowd import Crowd
from benchmarks.lab import Lab
from benchmarks.report import Result, Target, at_most, size
from benchmarks.rules import fifty, for_mailrules
from tests.lab.ca import LabCA
from tests.lab.dovecot import PASSWORD

_REST = 20.0
_PATIENCE = 120.0
_GATHERING = 600.0
_OFFERED = 1500
"""Mails a second that are more than anybody is expected to take."""
_RULES = (
    for_mailrules(fifty())
    + "  - name: everything else\n    accounts: [CROWD]\n    when: always\n    then: [{move: Seen}]\n"
)
_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Watcher:
    """A program that watches `count` accounts of the crowd's server."""

    def __init__(self, folder: Path, crowd: Crowd, count: int) -> None:
        self.crowd = crowd
        self._count = count
        self._log = folder / "watcher.log"
        self._environment: dict[str, str] = dict(os.environ)

    def command(self) -> list[str]:
        raise NotImplementedError

    @contextmanager
    def running(self, *, core: int | None = None) -> Iterator[None]:
        """From the start until all accounts are watched, and to the end."""
        alone = ["taskset", "-c", str(core)] if core is not None else []
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [*alone, *self.command()], cwd=ROOT, env=self._environment,
                stdout=output, stderr=output, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        try:
            began = time.monotonic()
            while self.crowd.order("watched")["watched"] < self._count:
                if self._process.poll() is not None or time.monotonic() > began + _GATHERING:
                    raise RuntimeError(f"not all are watched:\n{self._log.read_text()[-2000:]}")
                time.sleep(0.1)
            self.connected = time.monotonic() - began
            yield
        finally:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def rss(self) -> int:
        return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * _PAGE

    def cpu(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / _TICK


class Idlers(Watcher):
    """The floor: moves what comes, and knows nothing."""

    def __init__(self, folder: Path, crowd: Crowd, ca: LabCA, count: int) -> None:
        super().__init__(folder, crowd, count)
        self._ca = ca

    def command(self) -> list[str]:
        more = [str(self.crowd.port), str(self._count), str(self._ca.ca_file), PASSWORD]
        return [sys.executable, "-m", "benchmarks.idlers", *more]


class Worker(Watcher):
    """`mailrules run`, perhaps with one more account on a Dovecot."""

    def __init__(self, folder: Path, crowd: Crowd, ca: LabCA, count: int, more: str = "") -> None:
        super().__init__(folder, crowd, count)
        (folder / "run").mkdir(mode=0o700, exist_ok=True)
        names = [f"u{number}" for number in range(count)]
        accounts = "".join(
            f"  {name}:\n    host: localhost\n    port: {crowd.port}\n    security: tls\n"
            f"    username: {name}\n    password: {{env: LAB_PASSWORD}}\n    mailboxes: [INBOX]\n"
            for name in names
        )
        rules = _RULES.replace("CROWD", ", ".join(names))
        self._paths = ["--config", str(folder / "rules.yaml"), "--state", str(folder / "state")]
        (folder / "rules.yaml").write_text("accounts:\n" + accounts + more + rules)
        self._environment = {
            **os.environ, "LAB_PASSWORD": PASSWORD, "SSL_CERT_FILE": str(ca.ca_file),
            "XDG_RUNTIME_DIR": str(folder / "run"), "PYTHONPATH": str(ROOT), "NO_COLOR": "1",
            "PYTHONDONTWRITEBYTECODE": "",
        }  # fmt: skip

    def command(self) -> list[str]:
        return self._command("run")

    def _command(self, command: str, *rest: str) -> list[str]:
        return [sys.executable, "-m", "mailrules", command, *self._paths, *rest]

    @contextmanager
    def sorting(self, account: str) -> Iterator[list[int]]:
        """`apply` on one account, again and again, until the block ends. Gives how each one ended."""
        ended: list[int] = []
        enough = threading.Event()

        def work() -> None:
            while not enough.is_set():
                command = self._command("apply", "--yes", "--over-brakes", "--account", account)
                done = subprocess.run(
                    command, cwd=ROOT, env=self._environment, capture_output=True, check=False
                )
                ended.append(done.returncode)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield ended
        finally:
            enough.set()
            thread.join()


@contextmanager
def _worker(*, accounts: int, lab: Lab | None = None, user: str = "") -> Iterator[Worker]:
    more = ""
    if lab is not None:
        more = (
            f"  backfill:\n    host: 127.0.0.1\n    port: {lab.imap_port}\n    security: none\n"
            f"    username: {user}\n    password: {{env: LAB_PASSWORD}}\n    mailboxes: [INBOX]\n"
        )
    with _crowd() as (folder, crowd, ca):
        yield Worker(folder, crowd, ca, accounts, more)


@contextmanager
def _crowd() -> Iterator[tuple[Path, Crowd, LabCA]]:
    with tempfile.TemporaryDirectory(prefix="mailrules-bench-") as name:
        ca = LabCA(Path(name) / "ca")
        files = ca.issue()
        with Crowd(files.cert, files.key) as crowd:
            yield Path(name), crowd, ca


def idle(bench: Bench) -> list[Result]:
    """Accounts over TLS in one process, and nothing comes."""
    count, rest = bench.sizes.accounts, min(_REST, 2 * bench.sizes.seconds)
    with _worker(accounts=1) as worker, worker.running():
        time.sleep(1)
        alone = worker.rss()
    with _worker(accounts=count) as worker, worker.running():
        time.sleep(3)  # what the start left over is collected
        used, began = worker.cpu(), time.monotonic()
        time.sleep(rest)
        share = (worker.cpu() - used) / (time.monotonic() - began)
        all_of_it, started = worker.rss(), worker.cpu()
        each = (all_of_it - alone) / max(1, count - 1)
        connected = worker.connected
    row = (
        f"{count:,}", size(alone), size(all_of_it), size(each), f"{share * 100:.2f} %", f"{connected:.1f}",
        f"{started:.1f}", f"{os.getloadavg()[0]:.0f}",
    )  # fmt: skip
    columns = (
        "accounts", "RSS with one", "RSS with all", "RSS each", "CPU at rest", "s until all are watched",
        "CPU s so far", "load",
    )  # fmt: skip
    targets = (
        at_most("≤ 50 KB RSS each", each, 50e3, size(each)),
        at_most("≤ 150 MB RSS in all", all_of_it, 150e6, size(all_of_it)),
        at_most("≤ 1 % CPU at rest", share, 0.01, f"{share * 100:.2f} %"),
    )
    title = f"{count:,} accounts idle over TLS in one process, at rest for {rest:.0f} s"
    return [Result("idle", title, columns, (row,), targets)]


_COLUMNS = ("what", "mails", "p50 ms", "p90 ms", "p99 ms", "most ms", "client CPU s", "not acted on", "load")


def latency(bench: Bench) -> list[Result]:
    """From arrival to action; the same while another account's mailbox is sorted."""
    sizes = bench.sizes
    lab = bench.lab()
    mailbox = lab.mailbox(sizes.messages)
    user = lab.copy(mailbox.user)
    rows = []
    with _crowd() as (folder, crowd, ca):
        idlers = Idlers(folder, crowd, ca, sizes.accounts)
        with idlers.running():
            floor = _deliver(idlers, sizes.rate, sizes.seconds)
        rows.append(("floor: moves all, unseen", *_figures(floor)))
    with _worker(accounts=sizes.accounts, lab=lab, user=user) as worker, worker.running():
        quiet = _deliver(worker, sizes.rate, sizes.seconds)
        rows.append(("mailrules", *_figures(quiet)))
        with worker.sorting("backfill") as ended:
            time.sleep(2)
            busy = _deliver(worker, sizes.rate, sizes.seconds)
        rows.append((f"mailrules, sorting {sizes.messages:,} elsewhere", *_figures(busy)))
    p50, p99, during = _quantile(quiet, 0.5), _quantile(quiet, 0.99), _quantile(busy, 0.99)
    targets = (
        at_most("p50 ≤ 5 ms", p50, 5, f"{p50:.1f} ms"),
        at_most("p99 ≤ 50 ms", p99, 50, f"{p99:.1f} ms"),
        at_most("during a backfill p99 ≤ 100 ms", during, 100, f"{during:.1f} ms"),
    )
    notes = (
        f"`apply` on the other account ran {len(ended)} times while mail came (exit status {set(ended)}). "
        "An arrival is the moment at which the server writes EXISTS, an action the moment at which it has "
        "read UID MOVE: the sweep, two FETCHes and the journal's transactions lie between.",
    )
    title = f"{sizes.rate} mails a second to {sizes.accounts:,} accounts over TLS, for {sizes.seconds:.0f} s"
    lab.drop(user)
    return [Result("latency", title, _COLUMNS, tuple(rows), targets, notes)]


def sustained(bench: Bench) -> list[Result]:
    """More mail than it can take, on one core."""
    sizes = bench.sizes
    seconds = sizes.seconds / 3
    with _worker(accounts=sizes.accounts) as worker, worker.running(core=0):
        flood = _deliver(worker, _OFFERED, seconds)
    done = len(flood["latencies"])
    rate = done / flood["seconds"] if done else 0.0
    columns = ("offered a second", "done a second", *_COLUMNS[1:])
    targets = (
        Target("≥ 400 mails a second judged, journaled and moved", f"{rate:.0f} a second", rate >= 400),
    )
    title = f"New mail to {sizes.accounts:,} accounts over TLS, mailrules on one core"
    rows = ((f"{_OFFERED}", f"{rate:.0f}", *_figures(flood)),)
    return [Result("sustained", title, columns, rows, targets)]


def _deliver(watcher: Watcher, rate: float, seconds: float) -> dict[str, Any]:
    used = watcher.cpu()
    answer = watcher.crowd.order("deliver", rate=rate, seconds=seconds, patience=_PATIENCE)
    return {**answer, "cpu": watcher.cpu() - used, "load": os.getloadavg()[0]}


def _quantile(answer: dict[str, Any], part: float) -> float:
    ordered: list[float] = answer["latencies"]
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] * 1000 if ordered else float("inf")


def _figures(answer: dict[str, Any]) -> tuple[str, ...]:
    quantiles = (f"{_quantile(answer, part):.1f}" for part in (0.5, 0.9, 0.99, 1))
    lost = answer["sent"] - len(answer["latencies"])
    return (f"{answer['sent']:,}", *quantiles, f"{answer['cpu']:.1f}", f"{lost:,}", f"{answer['load']:.0f}")
