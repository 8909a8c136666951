"""T23, T24, T25: partitions, frozen servers, and an IDLE that never says anything."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest

from tests.conftest import need_dovecot, required
from tests.faults.checker import Verdict, check
from tests.faults.conftest import FULL
from tests.faults.lacking import Lacking
from tests.faults.stage import SCENARIOS, Stage
from tests.faults.working import handled, working
from tests.lab.ca import LabCA
from tests.lab.dovecot import Dovecot
from tests.lab.proxy import Connection, FaultProxy
from tests.lab.smtp import SmtpSink

Expect = Callable[[str, Verdict, str], None]
SHORT = {"sweep": 4, "idle_answer": 2, "timeout": 3}
"""Instead of 300, 30 and 60 seconds: the same ways, sooner."""
CHANGES = {} if FULL else SHORT
IN_COMMAND = 150 if FULL else 15  # seconds until it is found out
IDLE = 600 if FULL else 30


@pytest.fixture
def thawing(dovecot: Dovecot) -> Iterator[list[str]]:
    """Users whose frozen sessions are ended."""
    users: list[str] = []
    yield users
    for user in users:
        dovecot.signal(signal.SIGKILL, user=user)


def lost(program_said: Callable[[], str], before: int) -> Callable[[], bool]:
    return lambda: program_said().count("trying again in") > before


# -- an IDLE that lies --------------------------------------------------------------------------------------
@pytest.mark.timeout(600)
def test_idle_that_never_notifies(sink: SmtpSink, tmp_path: Path, expect_clean: Expect) -> None:
    """A server that accepts IDLE and never says anything: new mail is found by the next sweep."""
    with Lacking() as server:
        stage = Stage(cast(Dovecot, server), sink, tmp_path, SCENARIOS["move"])
        with working(stage, changes=CHANGES):
            time.sleep(1)
            stage.deliver(3)
            began = time.monotonic()
            deadline = 305 if FULL else 12
            while server.boxes["There"].mails == [] and time.monotonic() - began < deadline:
                time.sleep(0.1)
            took = time.monotonic() - began
            assert took < deadline
        stage.settle()
        expect_clean("T25", check(stage), f"found after {took:.0f} s; sweep each {300 if FULL else 4} s")


# -- frozen servers -----------------------------------------------------------------------------------------
@pytest.mark.timeout(900)
def test_a_server_that_freezes_while_we_idle(
    dovecot: Dovecot, sink: SmtpSink, tmp_path: Path, expect_clean: Expect, thawing: list[str]
) -> None:
    """The process at the other end stops, its kernel goes on: found out when IDLE is renewed."""
    stage = Stage(dovecot, sink, tmp_path, SCENARIOS["everything"])
    thawing.append(stage.user)
    with working(stage, changes=CHANGES) as program:
        stage.deliver()
        handled(stage, program, timeout=20)
        time.sleep(1)
        dovecot.signal(signal.SIGSTOP, user=stage.user)
        began = time.monotonic()
        stage.deliver(2)
        handled(stage, program, timeout=IDLE)
        took = time.monotonic() - began
    stage.settle()
    expect_clean("T24", check(stage), f"idle: acted on {took:.0f} s after the freeze")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("command", [b"UID FETCH", b"UID STORE", b"UID MOVE", b"SELECT"])
def test_a_server_that_freezes_in_a_command(
    command: bytes,
    dovecot: Dovecot,
    sink: SmtpSink,
    tmp_path: Path,
    expect_clean: Expect,
    thawing: list[str],
) -> None:
    """The process stops with our command unread: we give it up and finish on another connection."""
    with FaultProxy((dovecot.host, dovecot.imap_port)) as proxy:
        stage = Stage(dovecot, sink, tmp_path, SCENARIOS["everything"], imap_port=proxy.port)
        thawing.append(stage.user)
        frozen = threading.Event()

        def freeze(_: Connection) -> None:
            dovecot.signal(signal.SIGSTOP, user=stage.user)
            frozen.set()

        with working(stage, changes=CHANGES) as program:
            handled(stage, program, timeout=20)
            if command == b"SELECT":
                proxy.on(command, "c2s", freeze)
                proxy.cut()
            else:
                proxy.on(command, "c2s", freeze)
                stage.deliver(2)
            assert frozen.wait(20)
            began = time.monotonic()
            if command == b"SELECT":
                stage.deliver(2)
            handled(stage, program, timeout=IN_COMMAND)
            took = time.monotonic() - began
        stage.settle()
    expect_clean("T24", check(stage), f"in {command.decode()}: done {took:.0f} s after the freeze")


# -- partitions ---------------------------------------------------------------------------------------------
@pytest.mark.timeout(900)
@pytest.mark.parametrize("when", ["idle", "in a command"])
def test_nothing_comes_through_any_more(
    when: str, dovecot: Dovecot, sink: SmtpSink, tmp_path: Path, expect_clean: Expect
) -> None:
    """No byte passes and nobody is told: found out, and caught up with soon after it is mended."""
    with FaultProxy((dovecot.host, dovecot.imap_port)) as proxy:
        stage = Stage(dovecot, sink, tmp_path, SCENARIOS["everything"], imap_port=proxy.port)
        with working(stage, changes=CHANGES) as program:
            stage.deliver()
            handled(stage, program, timeout=20)
            before = program.said().count("trying again in")
            if when == "idle":
                proxy.stall()
            else:
                proxy.on(rb"UID STORE", "c2s", lambda _: close_gates(proxy))
            began = time.monotonic()
            stage.deliver(2)
            program.wait_for(lost(program.said, before), timeout=IDLE if when == "idle" else IN_COMMAND)
            detected = time.monotonic() - began
            time.sleep(max(0.0, began + (300 if FULL else 8) - time.monotonic()))
            proxy.unstall()
            healed = time.monotonic()
            handled(stage, program, timeout=30)
            took = time.monotonic() - healed
        stage.settle()
    expect_clean(
        "T23", check(stage), f"stall, {when}: found out after {detected:.0f} s, done {took:.0f} s after"
    )


def close_gates(proxy: FaultProxy) -> None:
    """As `stall`, in the proxy's own thread."""
    for faults in proxy._faults.values():
        faults.gate = faults.gate or asyncio.Event()


# -- a link that is down ------------------------------------------------------------------------------------
_nth = itertools.count(1)


class Link:
    """A network namespace and its only cable."""

    def __init__(self) -> None:
        nth = f"{os.getpid() % 100000}{next(_nth)}"
        self.name, self.here, there = f"mailrules-{nth}", f"mr{nth}a", f"mr{nth}b"
        net = f"10.{100 + os.getpid() % 100}.{os.getpid() // 100 % 250}"
        self.address = f"{net}.1"
        self.commands = (
            f"ip netns add {self.name}",
            f"ip link add {self.here} type veth peer name {there} netns {self.name}",
            f"ip addr add {self.address}/30 dev {self.here}",
            f"ip link set {self.here} up",
            f"ip -n {self.name} addr add {net}.2/30 dev {there}",
            f"ip -n {self.name} link set lo up",
            f"ip -n {self.name} link set {there} up",
        )

    def set(self, state: str) -> None:
        _ip(f"ip link set {self.here} {state}")


def _ip(command: str) -> None:
    subprocess.run(command.split(), check=True, capture_output=True, text=True)


@contextmanager
def cable() -> Iterator[Link]:
    """A namespace with a cable to here; skips, loudly, where that can't be made."""
    link = Link()
    words = ""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        words = "network namespaces need root and iproute2 (Debian: apt install iproute2)"
    try:
        if not words:
            for command in link.commands:
                _ip(command)
        if words:
            pytest.fail(words) if required("netns") else pytest.skip(words)
        yield link
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespace can be made here: {error.stderr.strip()}")
    finally:
        if not words:
            subprocess.run(["ip", "link", "del", link.here], check=False, capture_output=True)
            subprocess.run(["ip", "netns", "del", link.name], check=False, capture_output=True)


@pytest.mark.timeout(900)
@pytest.mark.dovecot
@pytest.mark.parametrize("when", ["idle", "at work"])
def test_a_link_that_is_down(
    when: str, lab_ca: LabCA, sink: SmtpSink, tmp_path: Path, expect_clean: Expect
) -> None:
    """The cable is pulled, while nothing happens or in the middle of work, over TLS: found out, caught up."""
    need_dovecot()
    with cable() as link:
        certificate = lab_ca.issue("link", names=(link.address,))
        with (
            Dovecot(ca=lab_ca, certificate=certificate) as server,
            FaultProxy((server.host, server.imaps_port), host=link.address) as proxy,
        ):
            stage = Stage(server, sink, tmp_path, SCENARIOS["move"])

            def through_the_cable(rules: str) -> str:
                return rules.replace(
                    f"host: {server.host}\n    port: {server.imap_port}\n    security: none",
                    f"host: {link.address}\n    port: {proxy.port}\n    security: tls",
                )

            with working(
                stage,
                changes=CHANGES,
                environment={"SSL_CERT_FILE": str(lab_ca.ca_file)},
                prefix=("ip", "netns", "exec", link.name),
                rewrite=through_the_cable,
            ) as program:
                stage.deliver()
                handled(stage, program, timeout=20)
                before = program.said().count("trying again in")
                if when == "at work":
                    stage.deliver(100)
                link.set("down")
                began = time.monotonic()
                stage.deliver(5)
                program.wait_for(lost(program.said, before), timeout=150 if FULL else 20)
                detected = time.monotonic() - began
                time.sleep(max(0.0, began + (300 if FULL else 8) - time.monotonic()))
                link.set("up")
                healed = time.monotonic()
                handled(stage, program, timeout=30)
                took = time.monotonic() - healed
            stage.settle()
            verdict = check(stage)
    words = f"link down, {when}: found out after {detected:.0f} s, done {took:.0f} s after"
    expect_clean("T23", verdict, words)
