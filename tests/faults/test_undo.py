"""An undo that is killed in the middle: whatever was begun is finished, and nothing is lost or done twice."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import FULL
from tests.faults.crash import DIED
from tests.faults.stage import NO_MOVE, NO_UIDPLUS
from tests.integration.test_undo import RULES, deliver, mail
from tests.lab.dovecot import Dovecot
from tests.lab.program import Program, account

POINTS = 200 if FULL else 8
DYING = """
import pathlib, sys
from tests.faults.crash import Points, install
steps = pathlib.Path(sys.argv[2])
points = Points(int(sys.argv[1]) or None, last_words=lambda passed: steps.write_text("\\n".join(passed)))
install(points)
from mailrules.cli.app import main
status = main(sys.argv[3:])
steps.write_text("\\n".join(points.passed))
sys.exit(status)
"""


def undo_dying(program: Program, at: int, run: int) -> list[str]:
    """`undo --run` in a process that dies at its n-th step (0: never). Gives the steps it passed."""
    steps = program.directory / "steps"
    done = subprocess.run(
        [sys.executable, "-c", DYING, str(at), str(steps), "undo", "--run", str(run), "--yes",
         "--config", str(program.config), "--state", str(program.state)],
        env=program.environment, cwd=Path(__file__).parents[2], capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode in (0, DIED), done.stderr
    return steps.read_text().splitlines()


@pytest.mark.timeout(3600 if FULL else 240)
def test_an_undo_that_dies(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """Wherever it dies, `undo` once more brings every message back once, with the flags it had."""
    program = Program(tmp_path, "accounts:\n" + account(dovecot, user) + RULES)
    program.run("run", "--once")
    expected: dict[str, frozenset[str]] = {}

    def judged(number: int) -> int:
        deliver(dovecot, user, f"invoice {number}", flags="(\\Flagged $Old)" if number % 2 else "")
        expected[f"invoice {number}"] = frozenset({"\\Flagged", "$Old"} if number % 2 else ())
        program.run("run", "--once")
        return max(e["run"] for e in program.log("--rule", "invoices", "--action", "move"))

    undo_dying(program, 0, judged(0))  # the first one writes down more than the others
    steps = undo_dying(program, 0, judged(1000))
    first = next(n for n, step in enumerate(steps, 1) if step.startswith("journal start_run"))
    last = next(n for n, step in enumerate(steps, 1) if step.startswith("journal end_run"))
    points = sorted({first + n * (last - first) // (POINTS - 1) for n in range(POINTS)})
    for number, at in enumerate(points, 1):
        run = judged(number)
        died = undo_dying(program, at, run)
        assert len(died) == at
        undo_dying(program, 0, run)
        assert mail(dovecot, user, "INBOX") == expected, died[-3:]
        assert mail(dovecot, user, "Accounting") == mail(dovecot, user, "Keep") == {}, died[-3:]
        assert all(e["undone"] for e in program.log() if e["run"] == run), died[-3:]
    with dovecot.session(user, "Trash") as client:  # each copy, once
        assert len(client.uid("SEARCH", "ALL")[1][0].split()) == len(expected)
    assert {e["state"] for e in program.log()} == {"done"}


@pytest.mark.parametrize("capability", [NO_MOVE, NO_UIDPLUS], ids=["no-MOVE", "no-UIDPLUS"])
def test_undo_on_a_server_that_lacks_much(
    capability: str, server_for: Callable[[str], Dovecot], tmp_path: Path
) -> None:
    """Where the server says no new UIDs, and moves nothing by itself, messages are found all the same."""
    server = server_for(capability)
    user = server.new_user()
    program = Program(tmp_path, "accounts:\n" + account(server, user) + RULES)
    program.run("run", "--once")
    deliver(server, user, "invoice 1", "invoice 2")
    program.run("run", "--once")
    program.run("undo", "--since", "1h", "--yes")
    assert mail(server, user, "INBOX") == {"invoice 1": frozenset(), "invoice 2": frozenset()}
    assert mail(server, user, "Accounting") == mail(server, user, "Keep") == {}
    assert all(e["undone"] for e in program.log("--action", "move") if e["arguments"]["mailbox"] != "INBOX")
