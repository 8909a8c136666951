"""P4: what one server does, or does not do, delays nobody else."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.conftest import need_dovecot
from tests.faults.conftest import Record
from tests.faults.hosts import BadHosts, Manner
from tests.faults.working import Launched
from tests.lab.ca import LabCA
from tests.lab.dovecot import Dovecot, Layout, message
from tests.lab.program import Program, account

RULES = "rules:\n  - {name: all, when: always, then: [{flag: $Done}]}\n"
ACCOUNTS = 70


def bad_accounts(hosts: list[str], port: int) -> str:
    return "".join(
        f"  bad{n}: {{host: {host}, port: {port}, security: none, username: u,"
        " password: {env: LAB_PASSWORD}}\n"
        for n, host in enumerate(hosts)
    )


def done(server: Dovecot, user: str) -> int:
    with server.session(user, "INBOX") as client:
        return len(client.uid("SEARCH", "KEYWORD", "$Done")[1][0].split())


def five_messages(program: Program, server: Dovecot, user: str) -> float:
    """Deliver them one by one; how long the slowest took to be acted on."""
    worst = 0.0
    for n in range(1, 6):
        time.sleep(0.5)
        began = time.monotonic()
        server.deliver(user, message(n))
        program.wait_for(lambda n=n: done(server, user) == n, timeout=10)  # type: ignore[misc]
        worst = max(worst, time.monotonic() - began)
    return worst


@pytest.mark.parametrize("manner", ["frozen", "drips"])
@pytest.mark.parametrize("spread", ["one host", "many hosts"])
def test_bad_servers_delay_nobody_else(
    manner: Manner, spread: str, dovecot: Dovecot, user: str, tmp_path: Path, record: Record
) -> None:
    """Seventy accounts whose servers hang: mail of an account beside them is acted on as ever."""
    with BadHosts(ACCOUNTS if spread == "many hosts" else 1, manner) as bad:
        hosts = bad.hosts if spread == "many hosts" else bad.hosts * ACCOUNTS
        # The good one comes last: it connects when all the others have gone ahead.
        text = "accounts:\n" + bad_accounts(hosts, bad.port) + account(dovecot, user) + RULES
        with Program(tmp_path, text) as program:
            program.start()
            stuck = ACCOUNTS if spread == "many hosts" else 2
            program.wait_for(lambda: bad.accepted >= stuck)
            program.wait_for(f"{user}/INBOX: watched from now on")
            worst = five_messages(program, dovecot, user)
            assert program.stop(timeout=60) == 0
    record("P4", 5, note=f"{ACCOUNTS} accounts, {spread}, {manner}: {worst:.1f} s at most")


@pytest.mark.dovecot
@pytest.mark.timeout(300)
def test_sessions_that_freeze_delay_no_other_on_their_host(
    lab_ca: LabCA, tmp_path: Path, record: Record
) -> None:
    """Seventy accounts freeze while they idle; one on the same host goes on as ever."""
    need_dovecot()
    with Dovecot(Layout(users=ACCOUNTS + 1), ca=lab_ca) as server:
        *others, good = [server.new_user() for _ in range(ACCOUNTS + 1)]
        text = "accounts:\n" + "".join(account(server, name) for name in (*others, good)) + RULES
        with Launched(tmp_path, text, {"sweep": 20}, environment={}) as program:
            program.start()
            program.wait_for(lambda: program.said().count("watched from now on") > ACCOUNTS, timeout=60)
            server.signal(signal.SIGSTOP)
            server.signal(signal.SIGCONT, user=good)
            assert program.worker is not None
            tasks = Path(f"/proc/{program.worker.pid}/task")
            # At the next renewal each waits 30 s for the answer to DONE.
            program.wait_for(lambda: len(list(tasks.iterdir())) > ACCOUNTS, timeout=40)
            worst = five_messages(program, server, good)
            program.kill()
    record("P4", 5, note=f"{ACCOUNTS} accounts, frozen in IDLE: {worst:.1f} s at most")
