"""Who runs: mailrules, its peers, and the floor. Each is given a login and rules, and gives a command."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks import rules as said
from benchmarks.lab import Lab, Mailbox, write_moves
from benchmarks.proxy import Proxy
from tests.lab.dovecot import PASSWORD

ROOT = Path(__file__).parent.parent
_AUTOFILER = ROOT / ".lab" / "imapautofiler"
_AUTOFILER_VERSION = "1.14.0"


class Missing(Exception):
    """A peer that is not installed, and how to install it."""


@dataclass(frozen=True, slots=True)
class Job:
    """One run: whose mail, under which rules, with which files. `mailbox`: what was in it at first."""

    folder: Path
    lab: Lab
    user: str
    port: int
    rules: Sequence[said.Rule]
    mailbox: Mailbox
    second: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run cost. Seconds and bytes; None: was not counted."""

    name: str
    wall: float
    client: float
    server: float
    sent: int | None
    received: int | None
    trips: int | None
    rss: int
    moved: int
    load: float


@dataclass(frozen=True, kw_only=True)
class Contender:
    """`slow`: measured once, however often the others are."""

    name: str
    slow: bool = False

    def prepare(self, job: Job) -> None:
        """What is not measured: files, and what the program learned before."""

    def command(self, job: Job) -> list[str]:
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        return {}


@dataclass(frozen=True, kw_only=True)
class Floor(Contender):
    name: str = "floor"
    compress: bool = False

    def prepare(self, job: Job) -> None:
        write_moves(job.folder / "moves.json", None if job.second else job.mailbox)

    def command(self, job: Job) -> list[str]:
        script = str(Path(__file__).with_name("floor.py"))
        moves = str(job.folder / "moves.json")
        more = ["compress"] if self.compress else []
        return [sys.executable, "-S", "-E", script, str(job.port), job.user, PASSWORD, moves, *more]


@dataclass(frozen=True, kw_only=True)
class Mailrules(Contender):
    """`how`: the command and its options."""

    name: str = "mailrules apply"
    how: tuple[str, ...] = ("apply", "--yes", "--over-brakes")
    baseline: bool = False
    """The mailbox was empty when mailrules saw it first, so that all of its mail is new."""
    far: bool = False
    """As if the server were on another machine: then what comes in bulk comes compressed."""

    def prepare(self, job: Job) -> None:
        (job.folder / "run").mkdir(mode=0o700, exist_ok=True)
        (job.folder / "rules.yaml").write_text(
            "accounts:\n  bench:\n    host: 127.0.0.1\n"
            f"    port: {job.port}\n    security: none\n    username: {job.user}\n"
            "    password: {env: LAB_PASSWORD}\n    mailboxes: [INBOX]\n" + said.for_mailrules(job.rules)
        )
        if self.baseline and not job.second:
            job.lab.copy(job.mailbox.empty, job.user)
            subprocess.run(
                self._arguments(job, "run", "--once"), cwd=ROOT, check=True, capture_output=True,
                env={**os.environ, **self.environment()},
            )  # fmt: skip
            job.lab.settle()
            job.lab.copy(job.mailbox.user, job.user)

    def command(self, job: Job) -> list[str]:
        return self._arguments(job, *self.how)

    def _arguments(self, job: Job, command: str, *rest: str) -> list[str]:
        config, state = str(job.folder / "rules.yaml"), str(job.folder / "state")
        program = ["-c", _FAR] if self.far else ["-m", "mailrules"]
        return [sys.executable, *program, command, "--config", config, "--state", state, *rest]

    def environment(self) -> Mapping[str, str]:
        # As installed: compiled once, not at every start.
        compiled = {"PYTHONDONTWRITEBYTECODE": ""}
        return {"LAB_PASSWORD": PASSWORD, "NO_COLOR": "1", "PYTHONPATH": str(ROOT), **compiled}


_FAR = (
    "from mailrules.adapters.imap.wire import Guarded; Guarded.local = False; "
    "from mailrules.__main__ import main; raise SystemExit(main())"
)


@dataclass(frozen=True, kw_only=True)
class Imapfilter(Contender):
    name: str = "imapfilter, tuned"
    tuned: bool = True

    def prepare(self, job: Job) -> None:
        (job.folder / "config.lua").write_text(
            said.for_imapfilter(job.rules, user=job.user, password=PASSWORD, port=job.port, tuned=self.tuned)
        )

    def command(self, job: Job) -> list[str]:
        program = shutil.which("imapfilter")
        if program is None:
            raise Missing("imapfilter is not installed (Debian: apt install imapfilter)")
        return ["env", f"HOME={job.folder}", program, "-c", str(job.folder / "config.lua")]


@dataclass(frozen=True, kw_only=True)
class Imapautofiler(Contender):
    name: str = "imapautofiler"

    def prepare(self, job: Job) -> None:
        (job.folder / "config.yaml").write_text(
            said.for_imapautofiler(job.rules, user=job.user, password=PASSWORD, port=job.port)
        )

    def command(self, job: Job) -> list[str]:
        program = _AUTOFILER / "bin" / "imapautofiler"
        if not program.exists():
            venv.create(_AUTOFILER, with_pip=True, clear=True)
            subprocess.run(
                [str(_AUTOFILER / "bin" / "pip"), "-qq", "--disable-pip-version-check", "install",
                 f"imapautofiler=={_AUTOFILER_VERSION}"], check=True,
            )  # fmt: skip
        # By its Python: the first line of the program names the place where it was installed.
        return [str(_AUTOFILER / "bin" / "python"), str(program), "-c", str(job.folder / "config.yaml")]


APPLY = Mailrules()
FAR = Mailrules(name="mailrules apply, compressed", far=True)
ONCE = Mailrules(name="mailrules run --once", how=("run", "--once"), baseline=True)
TUNED = Imapfilter()
IDIOMATIC = Imapfilter(name="imapfilter, idiomatic", slow=True, tuned=False)
AUTOFILER = Imapautofiler(slow=True)
FLOOR = Floor()


def measure(contender: Contender, job: Job) -> Measured:
    """Run it once. A command that fails raises with its last words."""
    contender.prepare(job)
    command = contender.command(job)
    out, words = job.folder / "cost.json", job.folder / "output.txt"
    before = job.lab.bytes_of(job.user)
    used = job.lab.cpu()
    with words.open("wb") as output:
        subprocess.run(
            [sys.executable, "-S", "-E", str(Path(__file__).with_name("measured.py")), str(out), *command],
            cwd=ROOT, env={**os.environ, **contender.environment()}, stdout=output, stderr=output, check=True,
        )  # fmt: skip
    job.lab.settle()
    cost = json.loads(out.read_text())
    if cost["status"]:
        raise RuntimeError(f"{contender.name} ended with {cost['status']}:\n{words.read_text()[-2000:]}")
    after = job.lab.bytes_of(job.user)
    return Measured(
        name=contender.name, wall=cost["wall"], client=cost["cpu"], server=job.lab.cpu() - used,
        sent=after[0] - before[0], received=after[1] - before[1], trips=None,
        rss=cost["rss"], moved=job.lab.moved(job.user), load=cost["load"],
    )  # fmt: skip


def through(proxy: Proxy, contender: Contender, job: Job) -> Measured:
    """Run it once through a proxy, whose counts stand for what went over the wire."""
    proxy.counted()
    measured = measure(contender, replace(job, port=proxy.port))
    counted = proxy.counted()
    return replace(measured, sent=counted.sent, received=counted.received, trips=counted.trips)


@dataclass
class Runs:
    """All runs of all contenders, a list for each, in the order of the turns."""

    runs: dict[str, list[Measured]] = field(default_factory=dict)

    def add(self, measured: Measured) -> None:
        self.runs.setdefault(measured.name, []).append(measured)

    def median(self, name: str) -> Measured:
        """The middle of its runs, each figure for itself; between two, half-way."""
        those = self.runs[name]
        middle = {
            key: statistics.median(getattr(run, key) for run in those)
            for key in ("wall", "client", "server", "load")
        }
        return replace(those[-1], rss=max(run.rss for run in those), **middle)

    def walls(self, name: str) -> list[float]:
        return [run.wall for run in self.runs[name]]

    def ratios(self, one: str, other: str) -> list[float]:
        """Walls of one in walls of the other, turn by turn: never a quiet minute against a busy one."""
        return [mine / theirs for mine, theirs in zip(self.walls(one), self.walls(other), strict=False)]

    def __contains__(self, name: str) -> bool:
        return name in self.runs
